"""What `explain` says where a remote store is: the entry, its tags, who holds the lease, what is pending."""

import asyncio

import pytest

from acache import Cache
from acache.testing.remote import MemoryRemote


async def answer():
    return "secret"


@pytest.mark.asyncio
async def test_a_remote_entry_is_told_without_its_value(open_cache, clock):
    cache, other = await open_cache(), await open_cache()
    await cache.get_or_load("k", answer, ttl=60, tags=["t", "u"], version="3", type=str)
    clock.advance(10)
    told = await other.explain("k")
    assert (told.where, told.verdict, told.remote, told.codec) == (
        ("remote",),
        "fresh",
        "an entry",
        "msgpack",
    )
    assert (told.age, told.fresh_for, told.tags, told.version) == (10, 50, ("t", "u"), "3")
    assert told.size > 50
    assert "secret" not in str(told) + repr(told)
    assert (other.stats().hits, other.stats().misses) == (0, 0)


@pytest.mark.asyncio
async def test_what_was_invalidated_is_told_by_the_tag_that_was(open_cache):
    cache = await open_cache(namespace="shop")
    await cache.get_or_load("k", answer, ttl=60, tags=["t", "u"], type=str)
    await cache.invalidate(tags=["u"])
    told = await cache.explain("k")
    assert (told.where, told.verdict, told.remote, told.outdated) == ((), "miss", "an entry", ("u",))
    await cache.clear()
    told = await cache.explain("k")
    assert (told.outdated, told.cleared) == (("u",), True)
    await cache.invalidate("k")
    assert (await cache.explain("k")).remote == "nothing"


@pytest.mark.asyncio
async def test_who_holds_the_lease_and_who_writes_is_told(open_cache, load, turn):
    cache, other = await open_cache(), await open_cache()
    loading = asyncio.create_task(cache.get_or_load("k", load, ttl=60))
    await turn()
    told = await other.explain("k")
    assert (told.where, told.remote, told.writers, told.held_for) == ((), "nothing", 0, 10)
    assert len(bytes.fromhex(told.holder)) == 16
    load.gate.set()
    await loading
    assert (await other.explain("k")).holder is None
    async with cache.writing("k"), other.writing("k"):
        assert (await other.explain("k")).writers == 2


@pytest.mark.asyncio
async def test_foreign_bytes_are_told_and_no_event_comes_of_asking(open_cache, server):
    cache = await open_cache()
    await cache._engine.authority._remote.store.set_many([])
    await cache.set("k", 1, ttl=60)
    [name] = server._state.entries
    server._state.entries[name] = (b"not ours", 1e9)
    events = []
    cache.subscribe(events.append)
    told = await cache.explain("k")
    assert (told.where, told.size) == ((), 8)
    assert told.remote == "refused: these bytes were not stored by acache"
    assert events == []


@pytest.mark.asyncio
async def test_a_store_that_is_away_and_what_it_has_not_heard_is_told(open_cache):
    cache = await open_cache()
    await cache.get_or_load("k", answer, ttl=60, type=str)
    cache._engine.authority._remote.store.network.down = True
    await cache.invalidate("k")
    told = await cache.explain("k")
    assert (told.where, told.remote, told.pending) == ((), "no answer", True)
    await cache.get_or_load("k", answer, ttl=60, type=str)
    assert (await cache.explain("k")).last_miss.startswith("the remote store is away")


@pytest.mark.asyncio
async def test_a_near_copy_counts_beside_the_remote_one(turn):
    async with Cache(MemoryRemote(), near=True) as cache:
        await turn()
        await cache.get_or_load("k", answer, ttl=60, type=str)
        assert (await cache.explain("k")).where == ("near", "remote")
