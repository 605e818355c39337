"""Callers of a cached function who come while its key is loaded: the short way, with the same promises."""

import asyncio

import pytest

from acache import loading
from acache.errors import CacheClosed, LoadTimeout, RecursiveLoad

pytestmark = pytest.mark.asyncio


@pytest.fixture
def cached(cache, load):
    """Return `load` as a cached function of a number and of options."""

    def make(**options):
        @cache.cached("k:{n}", **{"ttl": 60, **options})
        async def function(n: object = 1) -> object:
            return await load()

        return function

    return make


def reading(function, number, *args):
    return [asyncio.create_task(function(*args)) for _ in range(number)]


async def test_they_share_the_load_and_are_counted(cached, clock, load, turn):
    function = cached()
    readers = reading(function, 3)
    await turn()
    clock.advance(2)
    load.gate.set()
    assert await asyncio.gather(*readers) == [1, 1, 1]
    stats = function.stats()
    assert (stats.misses, stats.loads, stats.coalesced, stats.hits) == (3, 1, 2, 0)
    assert stats.waited == 4


async def test_p1_who_comes_after_a_late_tag_was_invalidated_loads_again(cache, load, turn):
    @cache.cached("k", ttl=60)
    async def function() -> object:
        value = await load()
        loading().tags.add("late")
        return value

    load.value = "old"
    first = reading(function, 1)
    await turn()
    await cache.invalidate(tags=["late"])
    load.value = "new"
    joined = reading(function, 2)
    await turn()
    load.gate.set()
    assert await asyncio.gather(*first, *joined) == ["old", "new", "new"]
    assert load.runs == 2
    assert function.stats().misses + function.stats().hits == 3  # an eager load is over before the last reads


async def test_p3_each_leaves_alone_and_the_last_ends_the_load(cached, load, turn):
    readers = reading(cached(), 3)
    await turn()
    for reader in readers[:2]:
        reader.cancel()
    await turn()
    assert (load.running, readers[2].done()) == (1, False)
    readers[2].cancel()
    await turn()
    assert load.running == 0


async def test_p4_each_gets_an_error_of_its_own_and_is_counted(cached, load, turn):
    function = cached()
    load.error = ValueError("gone")
    readers = reading(function, 3)
    await turn()
    load.gate.set()
    errors = await asyncio.gather(*readers, return_exceptions=True)
    assert [repr(error) for error in errors] == ["ValueError('gone')"] * 3
    assert len(set(map(id, errors))) == 3
    assert (function.stats().misses, function.stats().coalesced, load.runs) == (3, 2, 1)


async def test_who_would_wait_for_itself_is_told(cache):
    @cache.cached("r:{n}", ttl=60)
    async def function(n: int) -> int:
        return await function(n)

    with pytest.raises(RecursiveLoad):
        await function(1)
    assert function.stats().misses == 2


async def test_who_waits_for_so_long_only_is_told(cached, load, turn):
    function = cached(timeout=0.001)
    with pytest.raises(LoadTimeout):
        await asyncio.gather(function(), function())
    load.gate.set()
    await turn()
    assert await function() == 1


@pytest.mark.parametrize("n", [1, "long" * 100], ids=["short key", "long key"])
async def test_beside_a_refresh_the_old_value_is_served(cached, clock, load, turn, n):
    function = cached(ttl=10, stale_while_revalidate=10)
    load.gate.set()
    await function(n)
    load.gate.clear()
    clock.advance(11)
    assert await asyncio.wait_for(asyncio.gather(function(n), function(n)), 5) == [1, 1]
    await turn()
    assert (load.runs, load.running, function.stats().stale) == (2, 1, 2)
    load.gate.set()


async def test_what_a_failed_load_leaves_them_is_counted_as_stale(cache, cached, clock, load, turn):
    function = cached(ttl=10, stale_if_error=10)
    load.gate.set()
    await function()
    load.gate.clear()
    clock.advance(11)
    readers = reading(function, 1)
    await turn()
    cache._engine.process.near.store.drop(function.key())  # for want of room, say
    readers += reading(function, 1)
    await turn()
    load.error = ValueError("away")
    load.gate.set()
    assert await asyncio.gather(*readers) == [1, 1]
    assert function.stats().stale == 2


async def test_a_closed_cache_is_told_to_them_too(cache, cached, load, turn):
    function = cached()
    readers = reading(function, 1)
    await turn()
    await cache.aclose()
    with pytest.raises(CacheClosed):
        await function()
    await asyncio.gather(*readers, return_exceptions=True)
    assert load.runs == 1


async def test_with_the_cache_disabled_they_share_all_the_same(cache, cached, load, turn):
    function = cached()
    load.gate.set()
    await function()
    load.gate.clear()
    with cache.disabled():
        readers = reading(function, 3)
        await turn()
        load.gate.set()
        assert await asyncio.gather(*readers) == [1, 1, 1]
    assert load.runs == 2
