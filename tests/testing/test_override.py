"""Other parts for a cache while a test runs, or none at all."""

import asyncio

import pytest

from acache import MISSING, Cache, MemoryStore, ReadThrough
from acache.errors import ConfigurationError
from acache.testing import ManualClock, override


class Source:
    def __init__(self):
        self.asked = []

    async def load(self, ids):
        self.asked.append(list(ids))
        return {number: f"row {number}" for number in ids}


@pytest.fixture
def app(cache):
    """An application: a function, a method, a batch function and a pattern over one cache."""

    class App:
        name = "app"

        def __init__(self):
            self.cache = cache
            self.loads = 0
            self.source = Source()
            self.rows = ReadThrough(cache, self.source, key="row:{}", ttl=60)

            @cache.cached("f:{n}", ttl=60, tags=["t"])
            async def function(n: int):
                self.loads += 1
                return self.loads

            @cache.cached_many("m:{}", ttl=60)
            async def many(ids: list[int]):
                self.loads += 1
                return dict.fromkeys(ids, self.loads)

            self.function, self.many = function, many

        @cache.cached("a:{self.name}:{n}", ttl=60)
        async def method(self, n: int):
            self.loads += 1
            return self.loads

        async def use(self):
            return [
                await self.function(1),
                await self.method(1),
                (await self.many([1]))[1],
                await self.rows.get(1),
                await self.cache.get_or_load("k", lambda: asyncio.sleep(0, "k"), ttl=60),
            ]

    return App()


# --- override ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_everything_over_the_cache_is_served_from_the_other_parts_and_back(app, cache):
    before = await app.use()
    assert before == await app.use()
    with override(cache) as same:
        assert same is cache
        inside = await app.use()
        assert inside[:3] == [4, 5, 6]
        assert await app.use() == inside
        await cache.invalidate("f:1", tags=["t"])
        await cache.set("only here", 1, ttl=60)
    assert await app.use() == before
    assert await cache.get("only here", MISSING) is MISSING
    assert app.source.asked == [[1], [1]]


@pytest.mark.asyncio
async def test_figures_begin_at_zero_inside_and_go_on_outside(app, cache):
    for _ in range(3):
        await app.function(1)
    with override(cache):
        assert app.function.stats().hits == cache.stats().hits == 0
        for _ in range(5):
            await app.function(1)
        assert (app.function.stats().hits, app.function.stats().loads) == (4, 1)
    assert (app.function.stats().hits, app.function.stats().loads) == (2, 1)
    await app.function(1)
    assert app.function.stats().hits == cache.stats().hits == 3


@pytest.mark.asyncio
async def test_it_takes_what_the_cache_takes(app, cache):
    store, clock = MemoryStore(max_entries=3), ManualClock()
    with override(cache, store=store, clock=clock, max_loads=1):
        first = await app.function(1)
        assert len(store) == 1
        clock.advance(61)
        assert await app.function(1) == first + 1
    with pytest.raises(TypeError, match="unknown option 'stor'"), override(cache, stor=store):
        pytest.fail("entered")
    with pytest.raises(ConfigurationError, match="namespace"), override(cache, namespace="a b"):
        pytest.fail("entered")
    assert await app.function(1) == first + 2


@pytest.mark.asyncio
async def test_overrides_nest_and_end_with_an_error(app, cache):
    outside = await app.function(1)
    with pytest.raises(KeyError), override(cache):
        inside = await app.function(1)
        with override(cache):
            assert await app.function(1) == 3
        assert await app.function(1) == inside == 2
        raise KeyError
    assert await app.function(1) == outside == 1


@pytest.mark.asyncio
async def test_what_is_decorated_inside_is_served_as_well_afterwards(cache):
    with override(cache):

        @cache.cached("late", ttl=60)
        async def late():
            return object()

        inside = await late()
    assert await late() is not inside
    assert await late() is await late()


@pytest.mark.asyncio
async def test_observers_hear_of_both(app, cache):
    seen = []
    cache.subscribe(seen.append)
    with override(cache):
        await cache.invalidate("inside")
    await cache.invalidate("outside")
    assert [event.keys for event in seen] == [("inside",), ("outside",)]


def test_a_cache_can_be_overridden_before_any_loop_runs():
    cache = Cache()

    @cache.cached("k", ttl=60)
    async def get():
        return object()

    async def twice():
        return await get() is await get()

    with override(cache):
        assert asyncio.run(twice())
    assert cache.stats().misses == 0
    assert asyncio.run(twice())


# --- disabled ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_disabled_cache_reads_and_stores_nothing(app, cache):
    before = await app.use()
    with cache.disabled():
        assert await app.use() != await app.use()
        assert await cache.get("f:1", MISSING) is MISSING
        assert await cache.get_many(["f:1"]) == {}
        await cache.set("new", 1, ttl=60)
        assert await cache.get("new", MISSING) is MISSING
    assert await app.use() == before
    assert await cache.get("new", MISSING) is MISSING


@pytest.mark.asyncio
async def test_loads_of_a_disabled_cache_are_still_coalesced(cache, load, turn):
    with cache.disabled():
        tasks = [asyncio.create_task(cache.get_or_load("k", load, ttl=60)) for _ in range(3)]
        await turn()
        load.gate.set()
        assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert load.runs == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.invalidate("f:1"),
        lambda cache: cache.invalidate(tags=["t"]),
        lambda cache: cache.clear(),
        lambda cache: cache.set("f:1", "ignored", ttl=60),
    ],
)
async def test_what_changes_in_a_disabled_cache_is_gone_afterwards(app, cache, change):
    assert await app.function(1) == 1
    with cache.disabled():
        await change(cache)
    assert await app.function(1) == 2


@pytest.mark.asyncio
async def test_disabling_nests_and_leaves_other_caches_alone(app, cache, clock):
    other = Cache(clock=clock)
    async with other:
        await other.set("k", 1, ttl=60)
        with cache.disabled():
            with cache.disabled():
                pass
            assert await app.function(1) != await app.function(1)
            assert await other.get("k") == 1


@pytest.mark.asyncio
async def test_a_load_that_ends_in_a_disabled_cache_is_not_stored(cache, load, turn):
    task = asyncio.create_task(cache.get_or_load("k", load, ttl=60))
    await turn()
    with cache.disabled():
        load.gate.set()
        assert await task == 1
    assert await cache.get("k", MISSING) is MISSING
