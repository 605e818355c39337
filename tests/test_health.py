"""What a cache says of itself: its health, what it guarantees, and when loads and waits begin and end."""

import asyncio

import pytest

from acache import Cache
from acache.events import LeaseAwaited, LoadAwaited, LoadEnded, LoadStarted
from acache.testing.network import Network
from acache.testing.remote import MemoryRemote


def told_to(cache, *kinds):
    events = []
    cache.subscribe(lambda event: events.append(event) if isinstance(event, kinds) else None)
    return events


# --- health -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_cache_of_one_process_has_no_remote_store_to_ail(cache):
    await cache.set("k", 1, ttl=60)
    health = cache.health()
    assert (health.remote, health.near_trusted, health.near_lag, health.entries) == ("none", True, None, 1)
    assert cache.stats().entries == 1


@pytest.mark.asyncio
async def test_an_outage_and_what_is_pending_show_until_they_end(open_cache, clock):
    network = Network()
    cache = await open_cache(network)
    assert cache.health().remote == "up"
    network.down = True
    await cache.invalidate("a", tags=["b"])
    assert (cache.health().remote, cache.health().pending_invalidations) == ("down", 2)
    network.down = False
    async with asyncio.timeout(10):
        while cache.health().pending_invalidations:
            clock.advance(1)
            await asyncio.sleep(0)
    assert cache.health().remote == "up"


@pytest.mark.parametrize("near", [False, True])
def test_what_a_cache_guarantees_depends_on_its_parts(near):
    held = Cache(MemoryRemote(), near=near).guarantees
    assert held["P1 no stale set"].startswith("holds in every process of the fleet")
    assert ("max_staleness" in held["P1 no stale set"]) is near
    assert held["P5 reads survive the cache"] == "holds"
    assert "not signed" in held["P8 nothing unsafe by default"]


def test_a_store_without_leases_guarantees_one_process():
    class Plain:
        async def get_many(self, keys): ...
        async def set_many(self, items): ...
        async def delete_many(self, keys): ...
        async def aclose(self): ...

    held = Cache(Plain(), signing_keys=[b"k" * 32]).guarantees
    assert held["P2 one load"] == "holds in this process"
    assert held["P8 nothing unsafe by default"] == "holds; entries are signed"


# --- events -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_each_wait_and_the_one_load_are_told(cache):
    events = told_to(cache, LoadAwaited, LoadStarted, LoadEnded)

    @cache.cached("k:{n}", ttl=60)
    async def load(n: int) -> int:
        await asyncio.sleep(0)
        return n

    await asyncio.gather(load(1), load(1), load(1))
    await load(1)
    assert [type(event).__name__ for event in events].count("LoadAwaited") == 3
    started, ended = (event for event in events if not isinstance(event, LoadAwaited))
    assert (started.keys, ended.keys, ended.error) == (("k:1",), ("k:1",), None)
    assert isinstance(started, LoadStarted)
    assert isinstance(ended, LoadEnded)


@pytest.mark.asyncio
async def test_a_batch_load_is_told_once_with_all_its_keys(cache):
    events = told_to(cache, LoadStarted, LoadEnded)

    @cache.cached_many("k:{}", ttl=60)
    async def load(ids: list[int]) -> dict[int, int]:
        return dict.fromkeys(ids, 0)

    await asyncio.gather(load([1, 2]), load([2, 3]))
    assert [event.keys for event in events] == [("k:1", "k:2", "k:3")] * 2


@pytest.mark.asyncio
async def test_a_load_that_fails_or_is_cancelled_ends_all_the_same(cache):
    events = told_to(cache, LoadEnded)
    begun = asyncio.Event()

    async def fails():
        raise KeyError

    async def hangs():
        begun.set()
        await asyncio.Event().wait()

    with pytest.raises(KeyError):
        await cache.get_or_load("a", fails, ttl=60)
    waiting = asyncio.create_task(cache.get_or_load("b", hangs, ttl=60))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    while len(events) < 2:
        await asyncio.sleep(0)
    assert [event.error for event in events] == ["KeyError", "CancelledError"]


@pytest.mark.asyncio
async def test_the_wait_for_another_process_is_told_and_counted(open_cache, clock):
    one, other = await open_cache(), await open_cache()
    events = told_to(other, LeaseAwaited, LoadStarted)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def load():
        begun.set()
        await may_end.wait()
        return "v"

    first = asyncio.create_task(one.get_or_load("k", load, ttl=60, type=str))
    await begun.wait()
    second = asyncio.create_task(other.get_or_load("k", load, ttl=60, type=str))
    while not other.stats().loading:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    clock.advance(0.25)
    may_end.set()
    assert await asyncio.gather(first, second) == ["v", "v"]
    assert [(event.key, event.seconds) for event in events] == [("k", 0.25)]
    (direct,) = other.report().functions
    assert (direct.lease_time.count, direct.lease_time.total) == (1, 0.25)


@pytest.mark.asyncio
async def test_coalesced_reads_count_how_long_they_waited(cache, clock):
    may_end = asyncio.Event()

    @cache.cached("k", ttl=60)
    async def load() -> int:
        await may_end.wait()
        return 1

    readers = [asyncio.create_task(load()) for _ in range(4)]
    while not cache.stats().loading:
        await asyncio.sleep(0)
    clock.advance(2)
    may_end.set()
    await asyncio.gather(*readers)
    assert (load.stats().coalesced, load.stats().waited) == (3, 6.0)
