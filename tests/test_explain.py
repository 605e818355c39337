"""Where a key is, and why the last read went as it did."""

import asyncio

import pytest


@pytest.mark.asyncio
async def test_what_is_cached_is_told_without_its_value(cache, clock):
    @cache.cached("k:{n}", ttl=60, tags=["t", "u"], version="3")
    async def get(n: int):
        clock.advance(2)
        return "secret"

    await get(1)
    clock.advance(10)
    told = await cache.explain("k:1")
    assert (told.key, told.where, told.verdict) == ("k:1", ("near",), "fresh")
    assert (told.age, told.fresh_for, told.load_time) == (12, 50, 2)
    assert (told.tags, told.version, told.loading, told.waiters) == (("t", "u"), "3", False, 0)
    assert told.last_miss == "not cached: never stored, or evicted"
    assert "secret" not in repr(told) + str(told)
    assert "age: 12" in str(told)


@pytest.mark.asyncio
async def test_looking_leaves_no_trace(cache):
    await cache.set("k", 1, ttl=60)
    before = cache.stats()
    entry = cache._engine.process.near.store.lookup("k")
    await cache.explain("k")
    await cache.explain("none")
    assert (cache.stats(), entry.used) == (before, False)


@pytest.mark.asyncio
async def test_what_is_not_cached_is_told_with_who_waits_for_it(cache, load, turn):
    told = await cache.explain("k")
    assert (told.where, told.verdict, told.age, told.last_miss) == ((), "miss", None, None)
    tasks = [asyncio.create_task(cache.get_or_load("k", load, ttl=60)) for _ in range(3)]
    await turn()
    told = await cache.explain("k")
    assert (told.loading, told.waiters) == (True, 3)
    load.gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.asyncio
async def test_until_invalidated_has_no_end_and_what_expired_says_since_when(cache, clock):
    await cache.set("for ever", 1, ttl=None)
    assert (await cache.explain("for ever")).fresh_for is None
    await cache.set("k", 1, ttl=10, stale_if_error=60)
    clock.advance(15)
    told = await cache.explain("k")
    assert (told.verdict, told.fresh_for) == ("expired", -5)


@pytest.mark.asyncio
async def test_after_a_failed_load_it_says_when_the_next_may_come(cache, clock, load):
    await cache.set("k", 1, ttl=1, stale_if_error=60)
    clock.advance(2)
    load.error = ValueError()
    load.gate.set()
    await cache.get_or_load("k", load, ttl=1, stale_if_error=60, retry_after=7)
    clock.advance(3)
    assert (await cache.explain("k")).retry_in == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cache, clock: asyncio.sleep(0), None),
        (lambda cache, clock: cache.invalidate("k"), "invalidated"),
        (lambda cache, clock: cache.invalidate(tags=["t"]), "invalidated"),
        (lambda cache, clock: cache.clear(), "invalidated"),
        (lambda cache, clock: asyncio.sleep(0, clock.advance(20)), "expired"),
        (lambda cache, clock: cache.set("k", 1, ttl=60, version="1"), "stored by version '1', wanted None"),
    ],
)
async def test_why_the_last_read_missed(cache, clock, load, change, reason):
    load.gate.set()
    await cache.set("k", 1, ttl=10, tags=["t"], stale_if_error=60)
    await change(cache, clock)
    await cache.get_or_load("k", load, ttl=60, tags=["t"])
    assert (await cache.explain("k")).last_miss == reason


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cache, clock: cache.invalidate("k"), "invalidated"),
        (lambda cache, clock: asyncio.sleep(0, clock.advance(20)), "expired"),
    ],
)
async def test_a_plain_get_says_why_it_missed_too(cache, clock, change, reason):
    await cache.set("k", 1, ttl=10, stale_if_error=60)
    await change(cache, clock)
    assert await cache.get("k") is None
    assert (await cache.explain("k")).last_miss == reason


@pytest.mark.asyncio
async def test_it_says_how_many_are_writing(cache):
    async with cache.writing("k"), cache.writing("k"), cache.writing("other"):
        told = await cache.explain("k")
        assert (told.writers, told.where, told.remote, told.holder) == (2, (), None, None)
    assert (await cache.explain("k")).writers == 0
