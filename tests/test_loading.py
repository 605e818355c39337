"""What a loader may say about its value, from inside the load."""

import asyncio
from datetime import timedelta

import pytest

from acache import MISSING, loading
from acache.errors import InvalidKey, InvalidPolicy


def read(cache, load, key="k", **options):
    return cache.get_or_load(key, load, **{"ttl": 60, **options})


def saying(say, value="v"):
    async def load():
        result = say(loading())
        await asyncio.sleep(0)
        return value if result is None else result

    return load


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ttl", "alive", "gone"), [(5, 4.9, 5), (timedelta(minutes=2), 119, 120), (60.0, 59, 60)]
)
async def test_it_may_set_the_ttl(cache, clock, ttl, alive, gone):
    await read(cache, saying(lambda load: setattr(load, "ttl", ttl)), beta=0)
    clock.advance(alive)
    assert await cache.get("k") == "v"
    clock.advance(gone - alive)
    assert await cache.get("k") is None


@pytest.mark.asyncio
async def test_a_ttl_of_none_is_until_invalidated_and_of_zero_is_not_at_all(cache, clock):
    await read(cache, saying(lambda load: setattr(load, "ttl", None)), "for ever")
    await read(cache, saying(lambda load: setattr(load, "ttl", 0)), "not at all")
    assert await cache.get("not at all", MISSING) is MISSING
    clock.advance(10**9)
    assert await cache.get("for ever") == "v"


@pytest.mark.asyncio
@pytest.mark.parametrize("ttl", [-1, float("nan"), float("inf"), "60", True])
async def test_a_ttl_that_makes_no_sense_is_an_error_of_the_load(cache, ttl):
    with pytest.raises(InvalidPolicy, match="ttl"):
        await read(cache, saying(lambda load: setattr(load, "ttl", ttl)))
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_it_may_add_tags(cache):
    await read(cache, saying(lambda load: load.tags.update(["b", "a"])), tags=["t"])
    assert (await cache.explain("k")).tags == ("t", "a", "b")
    await cache.invalidate(tags=["a"])
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_tags_of_the_call_cannot_be_taken_away(cache):
    def say(load):
        assert load.tags == {"t"}
        load.tags.clear()

    await read(cache, saying(say), tags=["t"])
    assert (await cache.explain("k")).tags == ("t",)


@pytest.mark.asyncio
async def test_a_long_tag_is_one_tag_everywhere(cache):
    long = "t" * 300
    await read(cache, saying(lambda load: load.tags.add(long)))
    await cache.invalidate(tags=[long])
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("tag", "error", "words"),
    [(7, TypeError, "a tag is a str, not int"), ("", InvalidKey, "empty"), ("t" * 1025, InvalidKey, "1025")],
)
async def test_what_can_be_no_tag_is_an_error_of_the_load(cache, tag, error, words):
    async def load_many(keys):
        loading().tags.add(tag)
        return dict.fromkeys(keys, 1)

    with pytest.raises(error, match=words):
        await read(cache, saying(lambda load: load.tags.add(tag)))
    with pytest.raises(error, match=words):
        await asyncio.wait_for(cache.get_or_load_many(["a", "b"], load_many, ttl=60), 5)
    with pytest.raises(AttributeError, match="tags"):
        await read(cache, saying(lambda load: setattr(load, "tags", "team:7")))


@pytest.mark.asyncio
async def test_it_may_serve_without_storing(cache):
    assert await read(cache, saying(lambda load: load.skip())) == "v"
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_skipping_leaves_the_old_value_alone(cache, clock):
    await cache.set("k", "old", ttl=1, stale_if_error=60)
    clock.advance(2)
    assert await read(cache, saying(lambda load: load.skip()), stale_if_error=60) == "v"

    async def fail():
        raise ValueError

    assert await read(cache, fail, stale_if_error=60) == "old"


@pytest.mark.asyncio
async def test_it_knows_the_value_that_it_replaces(cache, clock):
    seen = []
    load = saying(lambda load: seen.append(load.current))
    await read(cache, load)
    await cache.set("k", "old", ttl=10, tags=["t"], stale_if_error=60)
    clock.advance(15)
    await read(cache, load, stale_if_error=60)
    assert seen[0] is None
    assert (seen[1].value, seen[1].age, seen[1].tags) == ("old", 15, ("t",))


@pytest.mark.asyncio
async def test_what_was_not_modified_is_prolonged_with_its_tags(cache, clock):
    def say(load):
        if load.current is None:
            load.tags.add("late")
            return {"the": "value"}
        return load.not_modified()

    load = saying(say)
    first = await read(cache, load, ttl=10, tags=["t"], stale_if_error=60)
    clock.advance(11)
    assert await read(cache, load, ttl=10, tags=["t"], stale_if_error=60) is first
    clock.advance(9)
    assert await cache.get("k") is first
    assert (await cache.explain("k")).tags == ("t", "late")
    await cache.invalidate(tags=["late"])
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_what_was_not_modified_may_have_been_invalidated_meanwhile(cache, clock, load, turn):
    async def loader():
        await load()
        return loading().not_modified()

    await cache.set("k", "old", ttl=1, stale_if_error=60, tags=["late"])
    clock.advance(2)
    task = asyncio.create_task(read(cache, loader, stale_if_error=60))
    await turn()
    await cache.invalidate(tags=["late"])
    load.gate.set()
    assert await task == "old", "it was asked for before"
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_not_modified_without_a_value_is_an_error(cache):
    with pytest.raises(LookupError, match=r"nothing is cached; look at load.current first"):
        await read(cache, saying(lambda load: load.not_modified()))


@pytest.mark.asyncio
async def test_each_load_has_its_own_say(cache, clock):
    async def inner():
        loading().ttl = 5
        return "inner"

    async def outer():
        said = loading()
        await read(cache, inner, "inner")
        assert loading() is said
        said.ttl = 50
        return "outer"

    await read(cache, outer, "outer")
    clock.advance(6)
    assert await cache.get_many(["inner", "outer"]) == {"outer": "outer"}


@pytest.mark.asyncio
async def test_what_a_load_calls_directly_speaks_for_it(cache, clock):
    @cache.cached("part", ttl=60)
    async def part():
        loading().ttl = 5

    async def whole():
        await asyncio.create_task(part.uncached())
        return "whole"

    await read(cache, whole)
    clock.advance(6)
    assert await cache.get("k", MISSING) is MISSING


def test_outside_of_a_load_it_does_nothing():
    load = loading()
    load.ttl = 5
    load.tags.add("t")
    load.skip()
    assert load.current is None
    assert loading().tags == set()
    with pytest.raises(LookupError):
        load.not_modified()
    with pytest.raises(InvalidPolicy):
        load.ttl = -1
