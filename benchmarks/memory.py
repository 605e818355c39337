"""The cache in one process, against its peers in the same process."""

import argparse
import asyncio
import gc
import logging
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import thread_time

from acache import Cache, Policy
from acache.testing.remote import MemoryRemote
from benchmarks import _measure as measure
from benchmarks import eviction
from benchmarks._table import Row, at_most

SUITE = "memory"
WAITERS = 10_000
AsyncFunction = Callable[[int], Awaitable[object]]


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    rows = await hits(options.rounds)
    rows += await near_hits(options.rounds)
    rows += await waiters(options.rounds)
    return rows + await eviction.run(options)


# --- a decorated hit --------------------------------------------------------------------------------


def peers() -> dict[str, AsyncFunction]:
    """Return the same function cached by each peer, all with a ttl where they have one."""
    import aiocache
    import asyncstdlib
    import cachebox
    import theine
    from async_lru import alru_cache
    from cashews import Cache as Cashews

    logging.getLogger("aiocache").setLevel(logging.ERROR)
    cashews = Cashews()
    cashews.setup("mem://")

    async def plain(user_id: int) -> int:
        return user_id

    return {
        "async_lru": alru_cache(maxsize=10_000, ttl=300)(plain),
        "cachebox": cachebox.cached(cachebox.TTLCache(10_000, 300))(plain),
        "asyncstdlib": asyncstdlib.lru_cache(maxsize=10_000)(plain),
        "theine": theine.Memoize(10_000, timedelta(seconds=300))(plain),
        "aiocache": aiocache.cached(ttl=300)(plain),
        "cashews unprotected": cashews(ttl="5m", key="user:{user_id}", protected=False)(plain),
        "cashews": cashews(ttl="5m", key="safe:{user_id}")(plain),
    }


async def hits(rounds: int) -> list[Row]:
    """Measure a decorated hit with everything on: key, ttl, XFetch guard, statistics, eviction mark."""
    cache = Cache("memory://?max_entries=10000")

    @cache.cached("user:{user_id}", ttl=300)
    async def ours(user_id: int) -> int:
        return user_id

    functions: dict[str, AsyncFunction] = {"acache": ours, **peers()}
    slow = {"aiocache", "cashews", "cashews unprotected"}
    contestants = {}
    for name, function in functions.items():
        await function(42)
        contestants[name] = measure.calls(function, 42, 2_000 if name in slow else 50_000)
    times = await measure.interleaved(contestants, rounds)
    rows = [
        Row(suite=SUITE, name=f"decorated hit, {name}", value=measure.median(each) * 1e9, unit="ns")
        for name, each in times.items()
    ]
    for name, limit in (
        ("async_lru", 0.5),
        ("cachebox", 0.5),
        ("aiocache", 1 / 20),
        ("cashews unprotected", 1 / 35),
    ):
        ratio, spread = measure.ratios(times["acache"], times[name])
        rows.append(at_most(SUITE, f"decorated hit vs {name}", ratio, limit, spread=spread))
    await cache.aclose()
    return rows


async def near_hits(rounds: int) -> list[Row]:
    """Measure a near hit in front of a remote store with a feed."""
    from async_lru import alru_cache

    cache = Cache(MemoryRemote(), near="memory://?max_entries=10000")

    @cache.cached("user:{user_id}", ttl=300)
    async def ours(user_id: int) -> int:
        return user_id

    @alru_cache(maxsize=10_000, ttl=300)
    async def theirs(user_id: int) -> int:
        return user_id

    async with cache:
        await asyncio.sleep(0.05)  # until the feed has answered its first ping
        await ours(42)
        await ours(42)
        await theirs(42)
        hits_before = ours.stats().hits
        times = await measure.interleaved(
            {"acache": measure.calls(ours, 42, 50_000), "async_lru": measure.calls(theirs, 42, 50_000)},
            rounds,
        )
        assert ours.stats().hits - hits_before >= rounds * 50_000
    ratio, spread = measure.ratios(times["acache"], times["async_lru"])
    return [at_most(SUITE, "near hit over a remote store vs async_lru", ratio, 0.5, spread=spread)]


# --- many waiters on one cold key -------------------------------------------------------------------


async def waiters(rounds: int) -> list[Row]:
    """Measure what each of many concurrent callers of one cold key costs beyond a task that steps twice."""
    from async_lru import alru_cache

    loads = 0

    async def load(key: int) -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return key

    cache = Cache("memory://")
    ours = cache.cached("w:{key}", policy=Policy(ttl=300))(load)
    theirs = alru_cache(maxsize=10_000, ttl=300)(load)

    async def bare(key: int) -> int:
        await asyncio.sleep(0)
        return key

    async def idle(key: int) -> int:
        await forever
        return key

    forever = asyncio.get_running_loop().create_future()

    number = 0

    def stampede(function: AsyncFunction) -> measure.Timed:
        async def run() -> float:
            nonlocal number
            number += 1
            start = thread_time()  # not what other processes take, nor the time that the load sleeps
            await asyncio.gather(*(function(number) for _ in range(WAITERS)))
            return (thread_time() - start) / WAITERS

        return run

    contestants = {"bare": stampede(bare), "acache": stampede(ours), "async_lru": stampede(theirs)}
    times = await measure.interleaved(contestants, rounds)
    over = {
        name: [max(each - floor, 1e-9) for each, floor in zip(times[name], times["bare"], strict=True)]
        for name in ("acache", "async_lru")
    }
    ratio, spread = measure.ratios(over["acache"], over["async_lru"])
    before = loads
    await asyncio.gather(*(ours(-1) for _ in range(WAITERS)))
    loaded = loads - before
    memory = {
        name: await _memory_per_waiter(each) for name, each in (("acache", ours), ("async_lru", theirs))
    }
    task = await _memory_per_waiter(idle, until=forever)
    await cache.aclose()
    return [
        Row(
            suite=SUITE,
            name="waiter on a cold key, acache",
            value=measure.median(over["acache"]) * 1e6,
            unit="µs",
        ),
        Row(
            suite=SUITE,
            name="waiter on a cold key, async_lru",
            value=measure.median(over["async_lru"]) * 1e6,
            unit="µs",
        ),
        at_most(SUITE, "overhead of a waiter vs async_lru", ratio, 0.6, spread=spread),
        at_most(SUITE, f"loads for {WAITERS:,} waiters", loaded, 1, ""),
        at_most(SUITE, "memory of a waiter, its task included", memory["acache"], 1_300, "B"),
        Row(suite=SUITE, name="… of async_lru", value=memory["async_lru"], unit="B"),
        Row(suite=SUITE, name="… of a task that waits for nothing of its own", value=task, unit="B"),
    ]


async def _memory_per_waiter(function: AsyncFunction, until: "asyncio.Future[None] | None" = None) -> float:
    """Return the bytes that each of many concurrent callers takes while it waits, its task included."""
    gc.collect()
    tracemalloc.start()
    tasks = [asyncio.ensure_future(function(-2)) for _ in range(WAITERS)]
    for _ in range(3):
        await asyncio.sleep(0)  # all of them have begun, and none has an answer
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    if until is not None:
        until.set_result(None)
    await asyncio.gather(*tasks)
    return size / WAITERS
