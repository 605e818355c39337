"""Hits in a remote store, against the bare client and its peers on the same server in the same run."""

import argparse
import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis

from acache import Cache
from acache_redis import RedisStore
from benchmarks import _elsewhere, _remote_costs
from benchmarks import _measure as measure
from benchmarks._readers import KEYS, READERS, Read, Readers, user
from benchmarks._server import valkey
from benchmarks._table import Row, at_least

SUITE = "redis"
TARGETS = {
    "bare": {1: 1.0, 10: 4.0, 100: 9.0, 1_000: 12.0},
    "cashews": {1: 2.5, 10: 8.0, 100: 20.0},
    "aiocache": {1: 1.3, 10: 5.0, 100: 11.0},
}


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    logging.getLogger("aiocache").setLevel(logging.ERROR)
    with valkey() as server:
        async with contestants(server.url) as reads:
            with one_core(server._process.pid):  # noqa: SLF001 - of the launcher of tests
                rows = await hits(reads, 1, options.rounds)
            rows += [row for count in READERS[1:] for row in await hits(reads, count, options.rounds)]
        rows += await near_hits(server.url, options.rounds)
        rows += await tagged_hits(server.url, options.rounds)
        rows += await asyncio.to_thread(_elsewhere.under_uvloop, server.url, options.rounds)
        rows += await _remote_costs.run(server.url, options.rounds)
    return rows + await _elsewhere.on_a_cluster(options.rounds)


@contextmanager
def one_core(server: int) -> Iterator[None]:
    """Let this process and the *server* share a core: who reads alone sleeps between any two reads.

    Waking an idle core of a virtual machine is charged to who slept, several times what a hit costs."""
    before = os.sched_getaffinity(0)
    for process in (0, server):
        os.sched_setaffinity(process, {min(before)})
    try:
        yield
    finally:
        for process in (0, server):
            os.sched_setaffinity(process, before)


@asynccontextmanager
async def contestants(url: str) -> AsyncIterator[dict[str, Read]]:
    """Yield a read of one user by each contestant, everything cached already."""
    import aiocache
    from cashews import Cache as Cashews

    place = urlsplit(url)
    pool = ConnectionPool.from_url(url, max_connections=2 * max(READERS))
    bare, cache, cashews = Redis(connection_pool=pool), Cache(RedisStore(url)), Cashews()
    cashews.setup(url, max_connections=2 * max(READERS))
    theirs = aiocache.cached(
        ttl=300,
        cache=aiocache.RedisCache,
        endpoint=place.hostname,
        port=place.port,
        pool_max_size=2 * max(READERS),
        key_builder=lambda _, user_id: f"aiocache:{user_id}",
    )

    async def load(user_id: int) -> dict[str, int | str]:
        return user(user_id)

    async def get(user_id: int) -> object:
        return await bare.get(f"bare:{user_id}")

    reads: dict[str, Read] = {
        "acache": cache.cached("user:{user_id}", ttl=300)(load),
        "bare": get,
        "cashews": cashews(ttl="5m", key="user:{user_id}")(load),
        "aiocache": theirs(load),
    }
    async with cache:
        for user_id in range(KEYS):
            await bare.set(f"bare:{user_id}", repr(user(user_id)))
            for read in reads.values():
                await read(user_id)
        yield reads
    await cashews.close()
    await theirs.cache.close()
    await bare.aclose()
    await pool.aclose()


async def hits(reads: dict[str, Read], count: int, rounds: int) -> list[Row]:
    """Measure *count* concurrent readers of hits."""
    most = {"acache": 10_000, "bare": 4_000}
    names = [name for name in reads if name == "acache" or count in TARGETS[name]]
    runs = {
        # Twenty turns at least: else what is measured is how long it takes to start a reader.
        name: Readers(reads[name], count, max(20 * count, most.get(name, 2_000) // (4 if count == 1 else 1)))
        for name in names
    }
    for each in runs.values():
        await each()  # opens the connections
        each.cpu.clear()
    times = await measure.interleaved(runs, rounds)
    what = f"{count:,} reader{'s' if count > 1 else ''}"
    rows = []
    for name in names:
        wall, cpu = measure.median(times[name]) * 1e6, measure.median(runs[name].cpu) * 1e6
        rows += [
            Row(suite=SUITE, name=f"hit, {what}, {name}", value=wall, unit="µs"),
            Row(suite=SUITE, name=f"hit, {what}, {name}, CPU of the client", value=cpu, unit="µs"),
        ]
    for name in names[1:]:
        limit = TARGETS[name][count]
        by_wall = measure.ratios(times[name], times["acache"])
        by_cpu = measure.ratios(runs[name].cpu, runs["acache"].cpu)
        # Judged by what the client's processor had to do: the other waits for whoever shares the machine.
        rows.append(at_least(SUITE, f"{what} vs {name}, by CPU", by_cpu[0], limit, spread=by_cpu[1]))
        rows.append(Row(suite=SUITE, name=f"{what} vs {name}", value=by_wall[0], unit="×", spread=by_wall[1]))
    return rows


async def near_hits(url: str, rounds: int) -> list[Row]:
    """Measure a hit in the near store against cashews' client-side cache."""
    from cashews import Cache as Cashews

    cashews = Cashews()
    cashews.setup(url, client_side=True)
    cache = Cache(RedisStore(url), near=True, namespace="near")

    @cache.cached("user:{user_id}", ttl=300)
    async def ours(user_id: int) -> dict[str, int | str]:
        return user(user_id)

    @cashews(ttl="5m", key="near:{user_id}")
    async def theirs(user_id: int) -> dict[str, int | str]:
        return user(user_id)

    async with cache:
        await _until_trusted(cache)
        for _ in range(3):
            await ours(42)
            await theirs(42)
        contestants = {"acache": measure.calls(ours, 42, 20_000), "cashews": measure.calls(theirs, 42, 500)}
        times = await measure.interleaved(contestants, rounds)
    await cashews.close()
    ratio, spread = measure.ratios(times["cashews"], times["acache"])
    return [
        Row(suite=SUITE, name="near hit, acache", value=measure.median(times["acache"]) * 1e6, unit="µs"),
        at_least(SUITE, "near hit vs cashews client-side", ratio, 30.0, spread=spread),
    ]


async def tagged_hits(url: str, rounds: int) -> list[Row]:
    """Measure what two tags cost a hit in the remote store."""
    cache = Cache(RedisStore(url), namespace="tags")

    @cache.cached("plain:{user_id}", ttl=300)
    async def plain(user_id: int) -> dict[str, int | str]:
        return user(user_id)

    @cache.cached("tagged:{user_id}", ttl=300, tags=["user:{user_id}", "users"])
    async def tagged(user_id: int) -> dict[str, int | str]:
        return user(user_id)

    async with cache:
        for read in (plain, tagged):
            for user_id in range(KEYS):
                await read(user_id)
        runs = {"plain": Readers(plain, 100, 10_000), "tagged": Readers(tagged, 100, 10_000)}
        await measure.interleaved(runs, rounds)
    ratio, spread = measure.ratios(runs["plain"].cpu, runs["tagged"].cpu)
    return [at_least(SUITE, "100 readers, two tags vs none, by CPU", ratio, 0.9, spread=spread)]


async def _until_trusted(cache: Cache) -> None:
    """Wait until the feed has answered its first ping."""
    near = cache._engine.process.near  # noqa: SLF001 - there is no public way to wait for it
    while near.trusted_until < 0:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
