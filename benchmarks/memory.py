"""The cache in one process, against its peers in the same process."""

import argparse
import asyncio

from acache import Cache
from acache.testing.remote import MemoryRemote
from benchmarks import _forms, _misses
from benchmarks import _measure as measure
from benchmarks._peers import AsyncFunction, peers
from benchmarks._table import Row, at_most

SUITE = "memory"


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    rows = await hits(options.rounds)
    rows += await near_hits(options.rounds)
    rows += await _forms.hits(options.rounds)
    rows += await _forms.many(options.rounds)
    return rows + await _misses.run(options.rounds)


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
        measure.row(SUITE, f"decorated hit, {name}", each, "ns", contestants[name])
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
