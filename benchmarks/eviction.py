"""The memory store: its hit ratio, its speed, its pauses, its memory."""

import argparse
import gc
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from time import monotonic, thread_time

from acache import Cache
from acache._entry import Entry
from acache._memory import MemoryStore
from acache.testing import ManualClock
from benchmarks import _hit_ratio
from benchmarks import _measure as measure
from benchmarks._hit_ratio import Trace, zipf
from benchmarks._table import Row, at_most

SUITE = "eviction"
MILLION = 1_000_000
SLICE = 1_000  # entries that one call reclaims


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    rows = _hit_ratio.run(options.traces)
    rows += await speed(options.rounds)
    rows += pauses()
    rows.append(at_most(SUITE, "1M entries with ttl: beside key and value", memory(), 300, unit="B each"))
    return rows


# --- speed ------------------------------------------------------------------------------------------


async def speed(rounds: int) -> list[Row]:
    """Read through stores with eviction: get, on a miss set. Each round goes on where the last stopped."""
    from cachetools import LRUCache, TTLCache

    capacity, reads = 10_000, 20_000
    trace = zipf((rounds + 5) * reads, 100_000)

    def through(read: Callable[[Trace], None]) -> measure.Timed:
        chunks = iter([trace[start : start + reads] for start in range(0, len(trace), reads)])
        for _ in range(5):
            read(next(chunks))  # to fill it

        async def once() -> float:
            chunk = next(chunks)
            start = thread_time()
            read(chunk)
            return (thread_time() - start) / reads

        return once

    def ours(chunk: Trace, store: MemoryStore) -> None:
        lookup, put = store.lookup, store.put
        for key in chunk:
            entry = lookup(key)
            if entry is not None:
                entry.used = True
            else:
                put(key, Entry.of(key))

    def ours_with_ttl(chunk: Trace, store: MemoryStore) -> None:
        lookup, put = store.lookup, store.put
        for key in chunk:
            entry = lookup(key)
            if entry is not None and monotonic() < entry.calm_until:
                entry.used = True
            else:
                now = monotonic()
                put(key, Entry.of(key, born=now, fresh_until=now + 300.0))

    def theirs(chunk: Trace, cache: MutableMapping[str, str]) -> None:
        get = cache.get
        for key in chunk:
            if get(key) is None:
                cache[key] = key

    plain, timed = MemoryStore(capacity), MemoryStore(capacity)
    lru: MutableMapping[str, str] = LRUCache(capacity)
    ttl: MutableMapping[str, str] = TTLCache(capacity, 300)
    times = await measure.interleaved(
        {
            "acache": through(lambda chunk: ours(chunk, plain)),
            "acache with ttl": through(lambda chunk: ours_with_ttl(chunk, timed)),
            "cachetools.LRUCache": through(lambda chunk: theirs(chunk, lru)),
            "cachetools.TTLCache": through(lambda chunk: theirs(chunk, ttl)),
        },
        rounds,
    )
    rows = [
        Row(suite=SUITE, name=f"read-through, zipf, {name}", value=measure.median(each) * 1e9, unit="ns")
        for name, each in times.items()
    ]
    ratio, spread = measure.ratios(times["acache"], times["cachetools.LRUCache"])
    rows.append(at_most(SUITE, "read-through vs LRUCache", ratio, 1.0, spread=spread))
    ratio, spread = measure.ratios(times["acache with ttl"], times["cachetools.TTLCache"])
    rows.append(at_most(SUITE, "read-through with ttl vs TTLCache", ratio, 1.0, spread=spread))
    ratio, spread = measure.ratios(times["acache with ttl"], times["cachetools.LRUCache"])
    rows.append(
        Row(suite=SUITE, name="… vs LRUCache, which has no ttl", value=ratio, unit="×", spread=spread)
    )
    return rows + await speed_of_functions(rounds)


async def speed_of_functions(rounds: int) -> list[Row]:
    """Do the same through cached async functions, whose misses are loads, each in a task of its own."""
    from async_lru import alru_cache

    capacity, reads = 10_000, 5_000
    trace = zipf((rounds + 10) * reads, 100_000)

    async def load(key: str) -> str:
        return key

    def through(function: Callable[[str], Awaitable[str]]) -> measure.Timed:
        chunks = iter([trace[start : start + reads] for start in range(0, len(trace), reads)])

        async def once() -> float:
            chunk = next(chunks)
            start = thread_time()
            for key in chunk:
                await function(key)
            return (thread_time() - start) / reads

        return once

    async with Cache(f"memory://?max_entries={capacity}") as cache:
        contestants = {
            "acache": through(cache.cached("{key}", ttl=300)(load)),
            "async_lru": through(alru_cache(maxsize=capacity, ttl=300)(load)),
        }
        await measure.interleaved(contestants, 10)  # to fill them
        times = await measure.interleaved(contestants, rounds)
    ratio, spread = measure.ratios(times["acache"], times["async_lru"])
    name = "read-through of cached async functions vs async_lru"
    return [Row(suite=SUITE, name=name, value=ratio, unit="×", spread=spread)]


# --- pauses -----------------------------------------------------------------------------------------


def longest(calls: Iterator[None]) -> float:
    """Return how long the longest step of *calls* held the processor, in milliseconds.

    What other processes of a busy machine take meanwhile is not counted."""
    worst = 0.0
    start = thread_time()
    for _ in calls:
        now = thread_time()
        worst = max(worst, now - start)
        start = thread_time()
    return worst * 1e3


def pauses() -> list[Row]:
    """Measure the longest call while a million entries come, expire in one instant, and are reclaimed."""
    gc.collect()
    gc.disable()
    clock = ManualClock()
    store = MemoryStore(MILLION, clock=clock)

    def fill() -> Iterator[None]:
        soon = clock.monotonic() + 60.0
        for number in range(MILLION):
            store.put(
                f"user:{number}",
                Entry.of(number, born=number * 1e-6, fresh_until=soon + number * 1e-9, delta=0.01),
            )
            yield

    def reclaim() -> Iterator[None]:
        while store.reclaim(SLICE):
            yield

    def put_among_the_expired() -> Iterator[None]:
        for number in range(20_000):
            store.put(f"new:{number}", Entry.of(number))
            yield

    def clear() -> Iterator[None]:
        store.clear()
        yield
        while store.reclaim(SLICE):
            yield

    def million(name: str, calls: Iterator[None], limit: float | None = None) -> Row:
        name, value = f"1M entries: {name}", longest(calls)
        if limit is None:
            return Row(suite=SUITE, name=name, value=value, unit="ms")
        return at_most(SUITE, name, value, limit, unit="ms")

    rows = [million("longest put while filling (the dict grows)", fill())]
    gc.freeze()
    clock.advance(3_600)
    rows.append(million("longest put once all expired", put_among_the_expired(), 10))
    rows.append(million(f"longest reclaim of {SLICE:,}", reclaim(), 10))
    million("", fill())
    start = thread_time()
    gc.collect()
    collection = (thread_time() - start) * 1e3
    rows.append(Row(suite=SUITE, name="1M entries: a full collection, beside", value=collection, unit="ms"))
    rows.append(million("clear, then reclaim", clear()))
    gc.unfreeze()
    gc.enable()
    return rows


# --- memory -----------------------------------------------------------------------------------------


def memory() -> float:
    """Return the resident bytes that an entry takes beside key and value, in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.eviction"], check=True, capture_output=True, text=True
    )
    return float(told.stdout)


def resident() -> int:
    """Return the bytes of this process that are in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def bytes_per_entry() -> float:
    """Fill a store with loaded, untagged entries that have a ttl, each of their numbers an own object."""
    gc.disable()
    keys = [f"user:{number}" for number in range(MILLION)]
    values = [object()] * MILLION
    store = MemoryStore(MILLION)
    before = resident()
    start = monotonic()
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        born = start + number * 1e-6
        store.put(
            key,
            Entry.of(value, born=born, fresh_until=born + 300.0 + number * 1e-6, delta=0.01 + number * 1e-9),
        )
    return (resident() - before) / MILLION


if __name__ == "__main__":
    print(bytes_per_entry())
