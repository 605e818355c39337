"""`Cache(verify=...)`: hits that differ from a new load are told, by age; a writer at work is no finding."""

import asyncio

import pytest

from acache import Cache, ReadThrough
from acache._verifying import Verifier
from acache.events import Inconsistent
from acache.testing import ViolationFound, explore
from acache.testing.network import Network
from acache.testing.remote import LeasingRemote, MemoryRemote, PlainRemote
from acache.testing.server import MemoryServer


class Rows:
    """A source that suspends, and that fails on demand."""

    def __init__(self, sim):
        self.sim = sim
        self.value = 1
        self.failing = False
        self.loads = 0

    async def read(self):
        self.loads += 1
        await self.sim.switch()
        if self.failing:
            raise ValueError
        value = self.value
        await asyncio.sleep(self.sim.random.choice((0, 0.01)))
        return value

    async def load(self, ids):
        return dict.fromkeys(ids, await self.read())


STORES = {
    "local": lambda sim: {"store": "memory://"},
    "near": lambda sim: {"store": remote(sim, MemoryRemote), "near": True},
    "remote": lambda sim: {"store": remote(sim, MemoryRemote)},
    "leases": lambda sim: {"store": remote(sim, LeasingRemote)},
    "plain": lambda sim: {"store": remote(sim, PlainRemote)},
}


def remote(sim, kind):
    return kind(MemoryServer(rng=sim.random), network=Network(rng=sim.random))


def cache_of(sim, store, **options):
    parts = {"verify": 1.0, "max_staleness": 2.0, **STORES[store](sim), **options}
    cache = Cache(clock=sim.clock, rng=sim.random, ids=lambda: sim.random.randbytes(16), **parts)
    told = []
    cache.subscribe(lambda event: told.append(event) if isinstance(event, Inconsistent) else None)
    return cache, told


WAYS = ("cached", "cached_many", "read_through")


def reader_of(cache, rows, way):
    """Return an async function that reads the row through *cache*."""
    if way == "cached":

        @cache.cached("row", ttl=600, tags=["t"])
        async def row() -> int:
            return await rows.read()

        return row
    if way == "cached_many":

        @cache.cached_many("row:{}", ttl=600, tags=["t"])
        async def many(ids: list[int]) -> dict[int, int]:
            return await rows.load(ids)

        async def first():
            return (await many([1]))[1]

        return first
    users = ReadThrough(cache, rows, key="row:{}", ttl=600, tags=["t"], type=int)

    async def get():
        return await users.get(1)

    return get


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("store", STORES)
def test_a_source_that_changed_behind_the_cache_is_told(store, way):
    async def scenario(sim):
        cache, told = cache_of(sim, store)
        async with cache:
            rows = Rows(sim)
            read = reader_of(cache, rows, way)
            await read()
            await read()
            await asyncio.sleep(5)
            sim.check(cache.stats().verified == 1, "a good hit was not checked")
            rows.value = 2  # and nobody invalidates
            sim.check(await read() == 1, "a check changed what is cached")
            await asyncio.sleep(10)
            [event] = told
            sim.check(4 < event.age < 6, f"it was {event.age} s old")
            stats = cache.stats()
            sim.check((stats.verified, stats.inconsistent) == (2, 1), f"{stats}")
            sim.check(await read() == 1, "a check changed what is cached")

    explore(scenario, seeds=range(5))


def test_the_report_says_by_age():
    async def scenario(sim):
        cache, _ = cache_of(sim, "local")
        async with cache:
            rows = Rows(sim)
            read = reader_of(cache, rows, "cached")
            await read()
            for pause in (0.5, 20, 0.1):
                await asyncio.sleep(pause)
                await read()
                await asyncio.sleep(3)
                rows.value = 2
            [function] = cache.report().functions
            groups = [(group.up_to, group.checked, group.inconsistent) for group in function.checks]
            sim.check(groups == [(1.0, 1, 0), (60.0, 2, 2)], f"{groups}")
            sim.check(function.checks[1].rate == 1.0, "the rate is wrong")
            warning = "by age: 0 of 1 up to 1 s old, 2 of 2 up to 60 s old"
            sim.check(warning in str(cache.report()), str(cache.report()))

    explore(scenario, seeds=[0])


def racing(store, way, change):
    """Return a scenario: readers whose every hit is checked, and a writer who invalidates what he commits."""

    async def scenario(sim):
        cache, told = cache_of(sim, store)
        async with cache:
            rows = Rows(sim)
            read = reader_of(cache, rows, way)

            async def reads():
                for _ in range(8):
                    await read()
                    await asyncio.sleep(sim.random.choice((0, 0.01, 0.3)))

            async def writes():
                for _ in range(4):
                    await asyncio.sleep(sim.random.choice((0.01, 0.2)))
                    await change(sim, cache, rows)

            await asyncio.gather(reads(), reads(), writes())
            await asyncio.sleep(10)
            await read()
            await read()
            await asyncio.sleep(10)
            sim.check(cache.stats().verified, "nothing was checked")
            sim.check(not told, f"a false alarm: {told}")

    return scenario


async def commit_then_invalidate(sim, cache, rows):
    await sim.switch()
    rows.value += 1
    await asyncio.sleep(sim.random.choice((0, 0.01, 0.5)))
    await cache.invalidate(tags=["t"])


async def write_inside_a_fence(sim, cache, rows):
    async with cache.writing(tags=["t"]):
        await sim.switch()
        rows.value += 1
        await asyncio.sleep(sim.random.choice((0, 0.01, 0.5)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [commit_then_invalidate, write_inside_a_fence], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("store", STORES)
def test_a_writer_who_races_the_check_is_no_false_alarm(store, way, change):
    explore(racing(store, way, change), seeds=range(10))


async def _always(*_):
    return True


def test_without_the_second_look_a_writer_would_be_one(monkeypatch):
    monkeypatch.setattr(Verifier, "_stands", _always)
    with pytest.raises(ViolationFound, match="a false alarm"):
        explore(racing("local", "cached", commit_then_invalidate), seeds=range(50))


def test_what_brings_nothing_to_compare_counts_for_nothing():
    async def scenario(sim):
        cache, told = cache_of(sim, "local")
        async with cache:
            rows = Rows(sim)
            read = reader_of(cache, rows, "cached")
            await read()
            rows.failing = True
            await read()  # its check fails
            await asyncio.sleep(5)
            rows.failing = False
            await cache.get_or_load("adhoc", rows.read, ttl=60)
            await cache.get_or_load("adhoc", rows.read, ttl=60)  # whose loader may need its caller
            await cache.set("set", 1, ttl=60)
            await cache.get("set")  # which has no loader
            await asyncio.sleep(5)
            stats = cache.stats()
            sim.check((stats.verified, stats.inconsistent, told) == (0, 0, []), f"{stats}")
            sim.check(stats.loads == 2, "a check was counted as a load")

    explore(scenario, seeds=[0])


def test_checks_end_with_the_cache_and_are_bounded():
    async def scenario(sim):
        cache, _ = cache_of(sim, "local")
        loads = []

        @cache.cached("row:{number}", ttl=600)
        async def row(number: int) -> int:
            loads.append(number)
            if loads.count(number) > 1:
                await asyncio.sleep(1_000)
            return number

        for number in range(50):
            await row(number)
            await row(number)
        await asyncio.sleep(1)
        sim.check(len(loads) == 50 + 16, f"{len(loads) - 50} checks at once")
        await cache.aclose()  # a task that is left is a failure of the schedule

    explore(scenario, seeds=[0])


@pytest.mark.parametrize(("share", "expected"), [(1.0, 4096), (0.25, 1024), (1 / 4096, 1), (0.0, 0)])
def test_the_share_is_of_hits(share, expected):
    async def scenario(sim):
        cache, _ = cache_of(sim, "local", verify=share)
        async with cache:

            @cache.cached("row", ttl=600)
            async def row() -> int:
                return 1

            await row()
            for _ in range(4096):
                await row()
                if cache._engine.process.background:
                    await asyncio.sleep(0.001)
            stats = cache.stats()
            sim.check(stats.hits == 4096, f"{stats.hits} hits were counted")
            spread = 5 * expected**0.5
            sim.check(abs(stats.verified - expected) <= spread, f"{stats.verified} of 4096 hits were checked")

    explore(scenario, seeds=[0], max_steps=50_000)


def test_a_checked_hit_does_not_wait():
    async def scenario(sim):
        cache, _ = cache_of(sim, "local")
        async with cache:
            read = reader_of(cache, Rows(sim), "cached")
            await read()
            hit = read()
            with pytest.raises(StopIteration):
                hit.send(None)

    explore(scenario, seeds=[0])
