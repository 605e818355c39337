"""Many callers of one cold key: what each of them costs, in time and memory."""

import argparse
import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from itertools import count

from acache import Cache, Policy, Singleflight
from benchmarks import _measure as measure
from benchmarks._table import Row, at_most

SUITE = "singleflight"
WAITERS = 10_000
AsyncFunction = Callable[[int], Awaitable[object]]


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    return await waiters(options.rounds) + await alone(options.rounds)


class Source:
    """Loads slowly, and counts."""

    def __init__(self) -> None:
        """Start at zero."""
        self.loads = 0

    async def __call__(self, key: int) -> int:
        """Load."""
        self.loads += 1
        await asyncio.sleep(0.01)
        return key


def stampede(function: AsyncFunction, keys: "count[int]", waiters: int) -> measure.Timed:
    """Return what calls *function* so many times at once with a new key; per caller, in processor time.

    Neither what other processes take counts nor the time that the load sleeps."""

    async def work() -> None:
        key = next(keys)
        await asyncio.gather(*(function(key) for _ in range(waiters)))

    return measure.Busy(work, waiters)


async def bare(key: int) -> int:
    """Be a task that steps twice: what any waiter takes."""
    await asyncio.sleep(0)
    return key


def beyond(times: dict[str, list[float]], name: str) -> list[float]:
    """Return what *name* takes beyond a bare task."""
    return [max(each - floor, 1e-9) for each, floor in zip(times[name], times["bare"], strict=True)]


async def waiters(rounds: int) -> list[Row]:
    """Measure what each of many concurrent callers of one cold key costs beyond a task that steps twice."""
    from async_lru import alru_cache

    source = Source()
    cache = Cache("memory://")

    @cache.cached("w:{key}", policy=Policy(ttl=300))
    async def ours(key: int) -> int:
        return await source(key)

    @alru_cache(maxsize=10_000, ttl=300)
    async def theirs(key: int) -> int:
        return await source(key)

    async def idle(key: int) -> int:
        await forever
        return key

    forever = asyncio.get_running_loop().create_future()
    keys = count()
    contestants = {
        name: stampede(function, keys, WAITERS)
        for name, function in (("bare", bare), ("acache", ours), ("async_lru", theirs))
    }
    times = await measure.interleaved(contestants, rounds)
    over = {name: beyond(times, name) for name in ("acache", "async_lru")}
    ratio, spread = measure.ratios(over["acache"], over["async_lru"])
    before = source.loads
    await asyncio.gather(*(ours(-1) for _ in range(WAITERS)))
    loaded = source.loads - before
    memory = {
        name: await _memory_per_waiter(each) for name, each in (("acache", ours), ("async_lru", theirs))
    }
    task = await _memory_per_waiter(idle, until=forever)
    await cache.aclose()
    return [
        *(measure.row(SUITE, f"waiter on a cold key, {name}", each, "µs") for name, each in over.items()),
        at_most(SUITE, "overhead of a waiter vs async_lru", ratio, 0.6, spread=spread),
        at_most(SUITE, f"loads for {WAITERS:,} waiters", loaded, 1, ""),
        at_most(SUITE, "memory of a waiter, its task included", memory["acache"], 1_300, "B"),
        Row(suite=SUITE, name="… of async_lru", value=memory["async_lru"], unit="B"),
        Row(suite=SUITE, name="… of a task that waits for nothing of its own", value=task, unit="B"),
    ]


async def alone(rounds: int) -> list[Row]:
    """Measure a call that nobody shares: what coalescing costs where it saves nothing."""
    flights = Singleflight()
    times = 3_000

    async def load() -> int:
        return 1

    async def coalesced() -> None:
        for _ in range(times):
            await flights.run("key", load)

    async def task() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(times):
            await loop.create_task(load())

    runs = {"Singleflight().run": measure.Busy(coalesced, times), "a task": measure.Busy(task, times)}
    found = await measure.interleaved(runs, rounds)
    return [
        measure.row(SUITE, f"a call that nobody shares, {name}", each, "µs", runs[name])
        for name, each in found.items()
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
