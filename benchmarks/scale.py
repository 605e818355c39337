"""How costs grow: more entries, more waiters, more processes, more entries that one tag drops."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from itertools import count
from random import Random
from statistics import median
from time import perf_counter, thread_time
from typing import Any

from redis.asyncio import Redis

from acache import Cache
from acache_redis import RedisStore
from benchmarks import _measure as measure
from benchmarks._server import valkey
from benchmarks._table import Row, at_most
from benchmarks.singleflight import Source, bare, beyond, stampede
from benchmarks.stampede import LOAD, OWN, READERS, Process, process

SUITE = "scale"
ENTRIES = (1_000, 10_000, 100_000, 1_000_000)
WAITERS = (1, 10, 100, 1_000, 10_000)
PROCESSES = (1, 2, 4, 8)
TAGGED = (1, 10, 100, 1_000, 10_000, 100_000)
HITS, MISSES = 20_000, 2_000
HELD = 20  # milliseconds for which the loop may be held
FEW = 3  # rounds of what takes seconds each


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    rows: list[Row] = []
    for number in ENTRIES:
        rows += await entries(number, min(options.rounds, FEW))
    rows += await waiters(options.rounds)
    rows += await processes(options.rounds)
    for number in TAGGED:
        rows += await tagged_here(number, min(options.rounds, FEW))
    return rows + await tagged_there(min(options.rounds, FEW))


# --- entries ----------------------------------------------------------------------------------------


async def entries(number: int, rounds: int) -> list[Row]:
    """Read any of so many entries through a cached function, and load others into the full cache."""
    async with Cache(f"memory://?max_entries={number}") as cache:
        await cache.set_many({f"user:{n}": n for n in range(number)}, ttl=3_600)

        @cache.cached("user:{user_id}", ttl=3_600)
        async def get_user(user_id: int) -> int:
            return user_id

        @cache.cached("new:{user_id}", ttl=3_600)
        async def new_user(user_id: int) -> int:
            return user_id

        ids = Random(number).choices(range(number), k=HITS)
        fresh = count()

        async def hits() -> None:
            for user_id in ids:
                await get_user(user_id)

        async def misses() -> None:
            for _ in range(MISSES):
                await new_user(next(fresh))

        await hits()
        hit = await measure.interleaved({"a hit": measure.Busy(hits, HITS)}, rounds)
        miss = await measure.interleaved({"a miss that evicts": measure.Busy(misses, MISSES)}, rounds)
    named = {**hit, **miss}
    return [measure.row(SUITE, f"{number:,} entries: {name}", each, "ns") for name, each in named.items()]


# --- waiters ----------------------------------------------------------------------------------------


async def waiters(rounds: int) -> list[Row]:
    """Let more and more callers wait for one load; what each takes beyond a bare task."""
    from async_lru import alru_cache

    rows = []
    source = Source()
    async with Cache("memory://") as cache:
        ours = cache.cached("w:{key}", ttl=300)(source.__call__)
        theirs = alru_cache(maxsize=10_000, ttl=300)(source.__call__)
        keys = count()
        for number in WAITERS:
            runs = {
                name: _repeated(function, keys, number)
                for name, function in (("bare", bare), ("acache", ours), ("async_lru", theirs))
            }
            times = await measure.interleaved(runs, rounds)
            plural = "s" if number > 1 else ""
            rows += [
                measure.row(SUITE, f"{number:,} waiter{plural}: {name}", beyond(times, name), "µs")
                for name in ("acache", "async_lru")
            ]
    return rows


def _repeated(function: Callable[[int], Awaitable[object]], keys: "count[int]", number: int) -> measure.Timed:
    """Return a stampede, repeated where it is too short to be timed once."""
    times = max(1, 300 // number)

    async def run() -> float:
        return median([await stampede(function, keys, number)() for _ in range(times)])

    return run


# --- processes --------------------------------------------------------------------------------------


async def processes(rounds: int) -> list[Row]:
    """Let more and more processes read one cold key at once."""
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        server = stack.enter_context(valkey())
        redis = await stack.enter_async_context(Redis.from_url(server.url))
        fleet: list[Process] = []
        for number in PROCESSES:
            while len(fleet) < number:
                fleet.append(await stack.enter_async_context(process(server.url)))
            rows += await _cold_key(fleet, redis, rounds)
    return rows


async def _cold_key(fleet: list[Process], redis: Redis, rounds: int) -> list[Row]:
    number = len(fleet)
    await asyncio.gather(
        *(each.ask("stampede", key=f"warm:{number}", readers=1, seconds=0) for each in fleet)
    )
    commands, seconds, loads = [], [], []
    for turn in range(rounds):
        await redis.config_resetstat()
        order = {"key": f"cold:{number}:{turn}", "readers": READERS, "seconds": LOAD}
        answers = await asyncio.gather(*(each.ask("stampede", **order) for each in fleet))
        stats = await redis.info("commandstats")
        commands.append(sum(stat["calls"] for name, stat in stats.items() if name not in OWN))
        seconds.append(max(a["ended"] for a in answers) - min(a["began"] for a in answers))
        loads.append(sum(answer["loads"] for answer in answers))
    what = f"{number} process{'es' if number > 1 else ''}"
    return [
        Row(suite=SUITE, name=f"{what}: loads, at worst", value=max(loads)),
        Row(suite=SUITE, name=f"{what}: commands", value=median(commands)),
        measure.row(SUITE, f"{what}: ms until all have it", seconds, "ms"),
    ]


# --- tags -------------------------------------------------------------------------------------------


async def tagged_here(number: int, rounds: int) -> list[Row]:
    """Drop so many entries of one process by their tag: an index is walked, hits pay nothing."""
    seconds, steps = [], []
    async with Cache(f"memory://?max_entries={number + 1}") as cache:
        for _ in range(rounds):
            await cache.set_many(dict.fromkeys(map(str, range(number)), 1), ttl=3_600, tags=["all"])
            start = thread_time()
            steps.append(await longest_step(cache.invalidate(tags=["all"])))
            seconds.append(thread_time() - start)
    name = f"{number:,} tagged: acache, in process"
    rows = [measure.row(SUITE, name, seconds, "µs")]
    if number == TAGGED[-1]:
        rows.append(at_most(SUITE, f"{name}, longest step", median(steps) * 1e3, HELD, unit="ms"))
    return rows


async def longest_step(work: Coroutine[Any, Any, object]) -> float:
    """Return the most processor time that *work* kept from the loop in one go."""
    task, longest = asyncio.create_task(work), 0.0
    while not task.done():
        start = thread_time()
        await asyncio.sleep(0)
        longest = max(longest, thread_time() - start)
    await task
    return longest


async def tagged_there(rounds: int) -> list[Row]:
    """Drop so many entries of a remote store by their tag: one version is replaced."""
    rows = []
    with valkey() as server:
        async with Cache(RedisStore(server.url), namespace="scale") as cache:
            for number in TAGGED:
                seconds = []
                for _ in range(rounds):
                    for first in range(0, number, 1_000):
                        names = map(str, range(first, min(first + 1_000, number)))
                        await cache.set_many(dict.fromkeys(names, 1), ttl=3_600, tags=["all"])
                    start = perf_counter()
                    await cache.invalidate(tags=["all"])
                    seconds.append(perf_counter() - start)
                    assert await cache.get("0") is None
                rows.append(measure.row(SUITE, f"{number:,} tagged: in Redis", seconds, "µs"))
    return rows
