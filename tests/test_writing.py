"""The fence around a write to the source: what is stored is the database's value or nothing."""

import asyncio
from contextlib import suppress

import anyio
import pytest
import pytest_asyncio

from acache import MISSING, Cache, MemoryStore
from acache._entry import Entry
from acache.errors import CacheClosed, InvalidKey, InvalidPolicy, NoInvalidationPlan
from acache.events import Invalidated, SetDiscarded
from acache.testing.remote import MemoryRemote


@pytest_asyncio.fixture
async def cache(cache):
    """A cache of which, after each test, nothing is fenced."""
    yield cache
    assert claims(cache) == 0


def claims(cache):
    solo = cache._engine.authority
    return len(solo._key_claims) + len(solo._tag_claims)


async def answer():
    return "what the source holds"


async def get(cache, key="k"):
    return await cache.get(key, MISSING)


# --- committing -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_was_committed_is_stored_when_the_block_ends(cache, clock):
    await cache.set("k", "old", ttl=60)
    async with cache.writing("k", "other", tags=["t", "u"]) as writer:
        assert await get(cache) is MISSING
        writer.commit("k", "first", ttl=60)
        writer.commit("k", "new", ttl=30)
        assert await get(cache) is MISSING
    assert await get(cache) == "new"
    assert (await cache.explain("k")).tags == ("t", "u")
    clock.advance(31)
    assert await get(cache) is MISSING


@pytest.mark.asyncio
@pytest.mark.parametrize("ends", ["well", "badly"])
@pytest.mark.parametrize("tags", [[], ["t"]])
async def test_of_a_block_inside_a_block_neither_value_is_stored_for_the_source_may_hold_either(
    cache, tags, ends
):
    async with cache.writing("k", "other", tags=tags) as outer:
        outer.commit("k", "noted before", ttl=60)
        outer.commit("other", "its own", ttl=60, tags=[])
        with suppress(ZeroDivisionError):
            async with cache.writing("k", tags=tags) as inner:
                inner.commit("k", "of the inner one", ttl=60)
                assert ends == "well" or 1 / 0
        assert await cache.get_or_load("k", answer, ttl=60, tags=tags) == "what the source holds"
        assert await get(cache) is MISSING
    assert (await get(cache), await get(cache, "other")) == (MISSING, "its own")
    assert await cache.get_or_load("k", answer, ttl=60, tags=tags) == "what the source holds"
    assert await get(cache) == "what the source holds"


@pytest.mark.asyncio
async def test_a_commit_may_carry_some_of_the_tags(cache):
    async with cache.writing("a", "b", tags=["t", "u"]) as writer:
        writer.commit("a", 1, ttl=60, tags=["t"])
        writer.commit("b", 2, ttl=60, tags=[])
    await cache.invalidate(tags=["u"])
    assert await cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
    await cache.invalidate(tags=["t"])
    assert await cache.get_many(["a", "b"]) == {"b": 2}


@pytest.mark.asyncio
async def test_without_a_commit_the_keys_are_dropped(cache):
    await cache.set_many({"k": 1, "tagged": 2, "free": 3}, ttl=60)
    await cache.set("tagged", 2, ttl=60, tags=["t"])
    async with cache.writing("k", tags=["t"]):
        pass
    assert await cache.get_many(["k", "tagged", "free"]) == {"free": 3}


@pytest.mark.asyncio
async def test_none_can_be_committed_and_no_time_to_live_is_no_commit(cache):
    async with cache.writing("k", "gone") as writer:
        writer.commit("k", None, ttl=60)
        writer.commit("gone", 1, ttl=0)
    assert await get(cache) is None
    assert await get(cache, "gone") is MISSING
    assert cache.stats().sets == 1


@pytest.mark.asyncio
async def test_long_keys_and_tags_are_one_everywhere(cache):
    key, tag = "k" * 300, "t" * 300
    async with cache.writing(key, tags=[tag]) as writer:
        writer.commit(key, 1, ttl=60, tags=[tag])
    assert await get(cache, key) == 1
    await cache.invalidate(tags=[tag])
    assert await get(cache, key) is MISSING


@pytest.mark.asyncio
async def test_a_commit_of_something_else_is_refused_and_nothing_is_stored(cache):
    for wrong, words in [
        (lambda writer: writer.commit("other", 1, ttl=60), "'other': it is not among the keys"),
        (lambda writer: writer.commit("k", 1, ttl=60, tags=["x"]), r"tags \['x'\] are not among those"),
    ]:
        with pytest.raises(ValueError, match=words):
            async with cache.writing("k", tags=["t"]) as writer:
                writer.commit("k", "noted", ttl=60)
                wrong(writer)
        assert await get(cache) is MISSING


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("commit", "error", "words"),
    [
        (lambda w: w.commit("k", 1), NoInvalidationPlan, "commit: say how long"),
        (lambda w: w.commit("k", 1, ttl=-1), InvalidPolicy, "ttl"),
        (lambda w: w.commit("k", 1, ttll=1), TypeError, "unknown option 'ttll'; did you mean 'ttl'"),
        (lambda w: w.commit("k", 1, ttl=1, tags="t"), TypeError, r"tags takes an iterable"),
        (lambda w: w.commit(3, 1, ttl=1), TypeError, "a key is a str, not int"),
        (lambda w: w.commit("", 1, ttl=1), InvalidKey, "empty"),
    ],
)
async def test_a_commit_that_makes_no_sense_is_refused_where_it_stands(cache, commit, error, words):
    async with cache.writing("k") as writer:
        writer.commit("k", "good", ttl=60)
        with pytest.raises(error, match=words):
            commit(writer)
    assert await get(cache) == "good", "what was noted before stands"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("keys", "tags", "error"),
    [((3,), (), TypeError), (("",), (), InvalidKey), (("k",), "t", TypeError), ((["k"],), (), TypeError)],
)
async def test_a_fence_of_what_is_no_key_is_refused_and_not_entered(cache, keys, tags, error):
    with pytest.raises(error):
        async with cache.writing(*keys, tags=tags):
            pytest.fail("entered")


# --- how a block ends -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_after_an_exception_nothing_is_stored(cache, load):
    await cache.set("k", "old", ttl=60)
    with pytest.raises(KeyError, match="mine"):
        async with cache.writing("k") as writer:
            writer.commit("k", "new", ttl=60)
            raise KeyError("mine")
    assert await get(cache) is MISSING


@pytest.mark.asyncio
async def test_after_a_cancellation_inside_nothing_is_stored(cache, turn):
    async def write():
        async with cache.writing("k") as writer:
            writer.commit("k", "new", ttl=60)
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await turn()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert await get(cache) is MISSING


@pytest.mark.asyncio
@pytest.mark.parametrize("steps", range(8))
async def test_wherever_it_is_cancelled_no_fence_and_no_old_value_is_left(cache, turn, steps):
    await cache.set("k", "old", ttl=60)
    wrote = False

    async def write():
        nonlocal wrote
        async with cache.writing("k", tags=["t"]) as writer:
            await asyncio.sleep(0)
            wrote = True
            writer.commit("k", "new", ttl=60)

    task = asyncio.create_task(write())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await turn()
    assert claims(cache) == 0
    found = await get(cache)
    assert found in ({"new", MISSING} if wrote else {"old", MISSING})
    await cache.set("k", "later", ttl=60)
    assert await get(cache) == "later"


@pytest.mark.asyncio
@pytest.mark.parametrize("steps", range(6))
async def test_a_cancel_scope_around_a_block_leaves_no_fence(cache, turn, steps):
    with anyio.CancelScope() as scope:
        loop = asyncio.get_running_loop()

        def later(left):
            if left:
                loop.call_soon(later, left - 1)
            else:
                scope.cancel()

        later(steps)
        async with cache.writing("k") as writer:
            writer.commit("k", "new", ttl=60)
    await turn()
    assert claims(cache) == 0


@pytest.mark.asyncio
async def test_a_cache_that_is_closed_inside_ends_the_block_all_the_same(clock):
    async with Cache(clock=clock) as cache:
        with pytest.raises(CacheClosed):
            async with cache.writing("k") as writer:
                writer.commit("k", "new", ttl=60)
                await cache.aclose()
                await cache.get("k")
        assert claims(cache) == 0
    async with cache:
        assert await get(cache) is MISSING


# --- other writers ----------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("first_out", ["first", "second"])
async def test_of_two_writers_at_once_neither_stores(cache, events, first_out):
    first, second = cache.writing("k", tags=["t"]), cache.writing("k")
    one = await first.__aenter__()
    two = await second.__aenter__()
    one.commit("k", "one", ttl=60)
    two.commit("k", "two", ttl=60)
    for block in (first, second) if first_out == "first" else (second, first):
        await block.__aexit__(None, None, None)
        assert await get(cache) is MISSING
    assert [type(event) for event in events] == [SetDiscarded, Invalidated] * 2
    assert "another writer" in events[0].reason
    async with cache.writing("k") as writer:
        writer.commit("k", "alone", ttl=60)
    assert await get(cache) == "alone", "a taint ends with the last claim"


@pytest.mark.asyncio
async def test_a_writer_who_came_and_went_inside_another_taints_it(cache):
    async with cache.writing("k") as outer:
        async with cache.writing("k") as inner:
            inner.commit("k", "inner", ttl=60)
        assert await get(cache) is MISSING
        outer.commit("k", "outer", ttl=60)
    assert await get(cache) is MISSING


@pytest.mark.asyncio
async def test_a_tag_that_two_writers_share_keeps_both_from_storing(cache):
    async with cache.writing("a", tags=["shared"]) as one, cache.writing("b", tags=["shared", "own"]) as two:
        one.commit("a", 1, ttl=60)
        two.commit("b", 2, ttl=60, tags=["own"])
    assert await cache.get_many(["a", "b"]) == {"b": 2}, "only what carries the shared tag"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.invalidate("k"),
        lambda cache: cache.invalidate(tags=["t"]),
        lambda cache: cache.set("k", "other", ttl=60),
        lambda cache: cache.set("k", "other", ttl=0),
        lambda cache: cache.clear(),
    ],
)
async def test_a_change_inside_a_block_taints_it(cache, change):
    async with cache.writing("k", tags=["t"]) as writer:
        writer.commit("k", "new", ttl=60)
        await change(cache)
        assert await get(cache) is MISSING
    assert await get(cache) is MISSING


@pytest.mark.asyncio
async def test_a_change_of_something_else_taints_nothing(cache):
    async with cache.writing("k", tags=["t"]) as writer:
        await cache.invalidate("other", tags=["other"])
        await cache.set("another", 1, ttl=60)
        async with cache.writing("third") as third:
            third.commit("third", 3, ttl=60)
        writer.commit("k", "new", ttl=60)
    assert await cache.get_many(["k", "another", "third"]) == {"k": "new", "another": 1, "third": 3}


@pytest.mark.asyncio
async def test_set_under_a_fence_stores_nothing_also_by_tag(cache):
    async with cache.writing("k", tags=["t"]):
        await cache.set_many({"k": 1, "free": 2}, ttl=60)
        await cache.set("tagged", 3, ttl=60, tags=["t"])
        assert await cache.get_many(["k", "free", "tagged"]) == {"free": 2}


@pytest.mark.asyncio
async def test_a_load_under_a_fence_is_coalesced_but_not_kept(cache, events, load, turn):
    async with cache.writing("k"):
        tasks = [asyncio.create_task(cache.get_or_load("k", load, ttl=60)) for _ in range(3)]
        await turn()
        load.gate.set()
        assert await asyncio.gather(*tasks) == [1] * 3
    assert load.runs == 1
    assert [event.reason for event in events if isinstance(event, SetDiscarded)] == [
        "a writer is at work on it"
    ]


@pytest.mark.asyncio
async def test_a_batch_under_a_fence_keeps_the_rows_that_are_free(cache):
    @cache.cached_many("n:{}", ttl=60, tags=["tag:{}"])
    async def many(ids: list[int]):
        return dict.fromkeys(ids, "row")

    async with cache.writing("n:1", tags=["tag:2"]):
        assert len(await many([1, 2, 3])) == 3
    assert await cache.get_many(["n:1", "n:2", "n:3"]) == {"n:3": "row"}


# --- telling ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_block_is_told_when_it_ends_also_if_its_caller_is_cancelled_at_the_end(cache, events, turn):
    async def write():
        async with cache.writing("k", tags=["t"]):
            asyncio.current_task().cancel()

    task = asyncio.create_task(write())
    await asyncio.gather(task, return_exceptions=True)
    await turn()
    assert events == [Invalidated(keys=("k",), tags=("t",))]


@pytest.mark.asyncio
async def test_nothing_is_committed_to_a_disabled_cache(cache):
    with cache.disabled():
        async with cache.writing("k") as writer:
            writer.commit("k", "new", ttl=60)
    assert await get(cache) is MISSING


@pytest.mark.asyncio
async def test_a_commit_after_the_block_is_refused(cache):
    async with cache.writing("k") as writer:
        pass
    with pytest.raises(ValueError, match="has ended"):
        writer.commit("k", "lost", ttl=60)


@pytest.mark.asyncio
async def test_a_block_whose_cache_closes_while_a_large_tag_is_dropped_does_not_begin(server, clock):
    store = MemoryRemote(server)
    near = MemoryStore(max_entries=5_000, clock=clock)
    cache = Cache(store, near=near, clock=clock)
    entered = []

    async def write():
        async with cache.writing("k", tags=["t"]):
            entered.append(True)

    async with cache:
        for n in range(4_000):
            near.put(f"k{n}", Entry.of(n, born=0.0, fresh_until=1e9, tags=("t",)))
        writing = asyncio.create_task(write())
        await asyncio.sleep(0)
    with pytest.raises(CacheClosed):
        await writing
    assert not entered
