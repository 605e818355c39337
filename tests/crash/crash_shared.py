"""Processes that share one journal in a server are killed, and the server; the others go on."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from crash_figures import Figures
from crash_steps import (
    BACKENDS,
    SHARED,
    WORKERS,
    Open,
    compare,
    count_dead,
    database_in,
    finished,
    heard,
    kill_soon,
    launcher,
    slow_table,
)
from crash_world import Teller, Worker, Write, behind

from acache import Cache, WriteBehind
from acache.errors import JournalFailed
from acache_redis import RedisJournal, RedisStore

VALKEY = BACKENDS / "acache-redis/tests/valkey_server.py"


def shared(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Kill processes that share a journal in a server, and now and then the server; the others go on.

    Each has keys of its own, which it also reads, and all write some keys together."""
    figures = Figures()
    path = database_in(folder)
    open_ = partial(slow_table, path, version_column="version")
    share = SHARED // (WORKERS + 1)
    lanes = itertools.cycle(range(n * share, (n + 1) * share) for n in range(WORKERS))
    common = range(WORKERS * share, SHARED)
    with launcher(VALKEY).valkey("--appendonly", "yes", "--appendfsync", "always") as server:

        def start() -> Worker:
            seed = rng.random()
            return Worker(folder, partial(_write_shared, server.url, open_, next(lanes), common, seed))

        workers = [start() for _ in range(WORKERS)]  # the last ones are alive
        try:
            while figures.kills < kills:
                for worker in workers[-WORKERS:]:
                    worker.wait_until_it_works()
                if figures.kills % 6 == 5:
                    server.kill()
                    server.start()
                    figures.kills += 1
                kill_soon(workers[-WORKERS], rng, 0.2, figures)
                workers.append(start())
        finally:  # or they would go on for ever
            for worker in workers[-WORKERS:]:
                kill_soon(worker, rng, 0.03, figures)
        end = time.monotonic_ns()
        recovery = Worker(folder, partial(_flush_shared, server.url, open_))
        figures.failed += not recovery.join()
        writes = [write for worker in workers for write in heard(worker, figures)]
        compare(figures, writes, path, [end])
        figures.dead += asyncio.run(count_dead(RedisJournal(server.url)))
        return finished(figures, folder, path, {(each.key, each.value): each.ended for each in writes})


@asynccontextmanager
async def _sharing(url: str, open_: Open) -> AsyncIterator[WriteBehind]:
    """Open the pattern over the journal in the server; what a dead process had claimed is free soon."""
    journal = RedisJournal(url, timeout=20)
    cache = Cache(RedisStore(url, timeout=20))
    async with cache, open_() as table, behind(cache, table, journal=journal, claim_ttl=0.5) as rows:
        yield rows


async def _write_shared(url: str, open_: Open, keys: range, common: range, seed: float, tell: Teller) -> None:
    """Write for ever, whatever becomes of the server; read back what nobody else writes."""
    rng = random.Random(seed)
    last = dict.fromkeys(keys, 0)

    async def writer(key: int) -> None:
        while True:
            began = time.monotonic_ns()
            try:
                await rows.put(key, {"id": key, "value": began})
            except JournalFailed:
                tell.refused()
                await asyncio.sleep(0.01)
                continue
            if key in last:
                last[key] = began
            tell.acknowledged(Write(key, began, began, time.monotonic_ns()), rows.backlog.pending)

    async def reader() -> None:
        while True:
            key = rng.choice(keys)
            floor = last[key]
            try:
                found = await rows.get(key)
            except JournalFailed:
                await asyncio.sleep(0.01)
                continue
            if (found["value"] if found else 0) < floor:
                tell.stale()
            await asyncio.sleep(0.001)

    async with _sharing(url, open_) as rows:
        await asyncio.gather(*map(writer, (*keys, *common)), reader())


async def _flush_shared(url: str, open_: Open, tell: Teller) -> None:
    """Flush what all of them left, once their claims have ended."""
    del tell
    async with _sharing(url, open_) as rows:
        await rows.flush()
