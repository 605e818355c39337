"""P1 to P4, P8 and P9 to the letter, for a cache that lives in one process."""

import asyncio
import gc
import traceback
import weakref
from random import Random

import anyio
import pytest

from acache import MISSING, Cache, MemoryStore, loading
from acache.errors import LoadCancelled, LoadTimeout
from acache.events import LoadFailed, RefreshFailed


def read(cache, load, key="k", **options):
    return cache.get_or_load(key, load, **{"ttl": 60, **options})


def reading(cache, load, count=1, **options):
    return [asyncio.create_task(read(cache, load, **options)) for _ in range(count)]


# --- P1: no stale set -------------------------------------------------------------------------------


async def by_invalidate(cache):
    await cache.invalidate("k")


async def by_tag(cache):
    await cache.invalidate(tags=["t"])


async def by_clear(cache):
    await cache.clear()


async def by_set(cache):
    await cache.set("k", "set", ttl=60)


async def by_set_many(cache):
    await cache.set_many({"other": 0, "k": "set"}, ttl=60)


async def by_writing(cache):
    async with cache.writing("k"):
        pass


async def by_writing_a_tag(cache):
    async with cache.writing(tags=["t"]):
        pass


async def by_committing(cache):
    async with cache.writing("k", tags=["t"]) as writer:
        writer.commit("k", "set", ttl=60)


async def by_failing_to_write(cache):
    with pytest.raises(ValueError):
        async with cache.writing("k"):
            raise ValueError


async def by_setting_for_no_time(cache):
    await cache.set("k", "gone", ttl=0)


CHANGES = [
    by_invalidate,
    by_tag,
    by_clear,
    by_set,
    by_set_many,
    by_writing,
    by_writing_a_tag,
    by_committing,
    by_failing_to_write,
    by_setting_for_no_time,
]
STORES = (by_set, by_set_many, by_committing)


@pytest.mark.asyncio
@pytest.mark.parametrize("change", CHANGES)
async def test_p1_a_load_that_began_before_a_change_is_served_to_its_waiters_and_stored_by_nobody(
    cache, load, turn, change
):
    load.value = "old"
    waiting = reading(cache, load, 3, tags=["t"])
    await turn()
    await change(cache)
    load.value = "new"
    load.gate.set()
    assert await asyncio.gather(*waiting) == ["old"] * 3
    wanted = "set" if change in STORES else "new"
    assert await read(cache, load, tags=["t"]) == wanted
    assert await cache.get("k") == wanted


@pytest.mark.asyncio
@pytest.mark.parametrize("change", [change for change in CHANGES if change not in STORES])
async def test_p1_a_reader_who_comes_after_a_change_does_not_join_the_old_load(cache, load, turn, change):
    load.value = "old"
    old = reading(cache, load, tags=["t"])
    await turn()
    await change(cache)
    load.value = "new"
    new = reading(cache, load, 2, tags=["t"])
    await turn()
    assert load.running == 2, "nor waits for it"
    load.gate.set()
    assert await asyncio.gather(*old, *new) == ["old", "new", "new"]
    assert (load.runs, await cache.get("k")) == (2, "new")


@pytest.mark.asyncio
@pytest.mark.parametrize("change", CHANGES)
async def test_p1_what_was_cached_before_a_change_is_gone(cache, load, change):
    load.gate.set()
    load.value = "old"
    assert await read(cache, load, tags=["t"]) == "old"
    await change(cache)
    load.value = "new"
    assert await read(cache, load, tags=["t"]) == ("set" if change in STORES else "new")


@pytest.mark.asyncio
@pytest.mark.parametrize("change", CHANGES)
async def test_p1_a_refresh_that_began_before_a_change_is_not_stored(cache, clock, load, turn, change):
    await cache.set("k", "cached", ttl=60, tags=["t"], stale_while_revalidate=60)
    clock.advance(61)
    load.value = "old"
    options = {"stale_while_revalidate": 60, "tags": ["t"], "refresh": "background"}
    assert await read(cache, load, **options) == "cached"
    await turn()
    assert load.running == 1
    await change(cache)
    load.gate.set()
    load.value = "new"
    await turn()
    assert await read(cache, load, **options) == ("set" if change in STORES else "new")


@pytest.mark.asyncio
async def test_p1_no_stale_value_survives_an_invalidation_that_races_with_a_failing_load(cache, clock, load):
    await cache.set("k", "old", ttl=1, stale_if_error=60)
    clock.advance(2)
    await cache.invalidate("k")
    load.error = ValueError("down")
    load.gate.set()
    with pytest.raises(ValueError):
        await read(cache, load, stale_if_error=60)


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["fails", "takes too long"])
async def test_p1_no_old_value_covers_for_a_load_after_its_late_tag_was_invalidated(
    cache, clock, load, turn, ending
):
    await cache.set("k", "old", ttl=1, stale_if_error=60, tags=["late"])
    clock.advance(2)
    before = reading(cache, load, stale_if_error=60)
    await turn()
    await cache.invalidate(tags=["late"])
    if ending == "fails":
        after = reading(cache, load, stale_if_error=60)
        await turn()
        load.error = ValueError("down")
        load.gate.set()
        assert await before[0] == "old"
        with pytest.raises(ValueError):
            await after[0]
    else:
        with pytest.raises(LoadTimeout):
            await read(cache, load, stale_if_error=60, soft_timeout=0, timeout=0.001)
        load.gate.set()
        assert await before[0] == 1


@pytest.mark.asyncio
async def test_p1_an_invalidation_of_another_key_harms_no_load(cache, load, turn):
    waiting = reading(cache, load, tags=["t"])
    await turn()
    await cache.invalidate("other", tags=["other"])
    await cache.set("another", 1, ttl=60, tags=["t"])
    load.gate.set()
    await asyncio.gather(*waiting)
    assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_p1_a_load_for_which_a_late_tag_was_invalidated_is_not_stored(cache, load, turn):
    async def loader():
        value = await load()
        loading().tags.add("late")
        return value

    waiting = reading(cache, loader)
    await turn()
    await cache.invalidate(tags=["late"])
    load.gate.set()
    assert await waiting[0] == 1
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_p1_who_joins_after_a_late_tag_was_invalidated_loads_again(cache, load, turn):
    async def loader():
        value = await load()
        loading().tags.add("late")
        return value

    load.value = "old"
    first = reading(cache, loader)
    await turn()
    await cache.invalidate(tags=["late"])
    load.value = "new"
    joined = reading(cache, loader, 2)
    await turn()
    load.gate.set()
    assert await asyncio.gather(*first, *joined) == ["old", "new", "new"]
    assert (load.runs, await cache.get("k")) == (2, "new")


@pytest.mark.asyncio
async def test_p1_who_joins_a_batch_after_a_late_tag_was_invalidated_loads_again(cache, load, turn):
    async def load_many(keys):
        value = await load()
        loading().tags.add("late")
        return dict.fromkeys(keys, value)

    load.value = "old"
    first = asyncio.create_task(cache.get_or_load_many(["a", "b"], load_many, ttl=60))
    await turn()
    await cache.invalidate(tags=["late"])
    load.value = "new"
    second = asyncio.create_task(cache.get_or_load_many(["b", "c"], load_many, ttl=60))
    await turn()
    load.gate.set()
    assert await first == {"a": "old", "b": "old"}
    assert await second == {"b": "new", "c": "new"}
    assert await cache.get_many(["a", "b", "c"]) == {"b": "new", "c": "new"}


@pytest.mark.asyncio
async def test_p1_a_load_inside_a_block_is_served_and_not_kept(cache, load):
    load.gate.set()
    load.value = "before"
    async with cache.writing("k"):
        assert await read(cache, load) == "before"
        assert await cache.get("k", MISSING) is MISSING
    load.value = "after"
    assert await read(cache, load) == "after"


@pytest.mark.asyncio
async def test_p1_a_reader_after_a_block_does_not_join_a_load_that_began_inside(cache, load, turn):
    async with cache.writing("k"):
        load.value = "before"
        inside = reading(cache, load)
        await turn()
    load.value = "after"
    outside = reading(cache, load)
    await turn()
    load.gate.set()
    assert await asyncio.gather(*inside, *outside) == ["before", "after"]
    assert await cache.get("k") == "after"


@pytest.mark.asyncio
async def test_p1_a_late_tag_that_is_fenced_keeps_a_load_from_being_stored(cache, load):
    async def loader():
        loading().tags.add("late")
        return "value"

    async with cache.writing(tags=["late"]):
        assert await read(cache, loader) == "value"
        assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_p1_a_cancelled_invalidation_goes_on(cache):
    await cache.set("k", "old", ttl=60)
    task = asyncio.create_task(cache.invalidate("k"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_p1_an_abandoned_load_that_swallows_its_cancellation_stores_nothing(cache, turn):
    finish = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await finish.wait()
        return "abandoned"

    (task,) = reading(cache, stubborn)
    await turn()
    task.cancel()
    await turn()
    assert await read(cache, lambda: asyncio.sleep(0, "newer")) == "newer"
    finish.set()
    await turn()
    assert await cache.get("k") == "newer"


@pytest.mark.asyncio
async def test_p1_random_changes_and_loads_never_leave_an_old_value(cache, turn):
    """One writer of a counter, many readers: nobody reads a count older than the last change that ended."""
    rng = Random(3)
    source = done = 0

    async def pause():
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)

    async def loader():
        await pause()
        value = source
        await pause()
        if rng.random() < 0.5:
            loading().tags.add("late")
        return value

    async def write():
        nonlocal source, done
        for _ in range(150):
            await pause()
            kind = rng.randrange(5)
            if kind == 0:
                async with cache.writing("k", tags=["t"]) as writer:
                    await pause()
                    source += 1
                    value = source
                    await pause()
                    writer.commit("k", value, ttl=60)
            elif kind == 1:
                source += 1
                await cache.set("k", source, ttl=60, tags=["t"])
            else:
                source += 1
                changes = [by_invalidate, by_clear, by_tag]
                await changes[kind - 2](cache)
            done = source

    async def read_on():
        while writer.done() is False:
            await pause()
            least = done
            call = asyncio.ensure_future(read(cache, loader, tags=["t"]))
            if rng.random() < 0.2:
                await asyncio.sleep(0)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            else:
                assert await call >= least

    writer = asyncio.create_task(write())
    await asyncio.gather(writer, *(read_on() for _ in range(5)))
    await turn()
    assert await read(cache, loader, tags=["t"]) == source


# --- P2: one load -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_p2_ten_thousand_misses_of_one_key_are_one_load(cache, load, turn):
    asyncio.get_running_loop().set_debug(False)  # it costs seconds
    waiting = reading(cache, load, 10_000)
    await turn()
    load.gate.set()
    assert set(await asyncio.gather(*waiting)) == {1}
    assert load.runs == 1
    assert (cache.stats().loads, cache.stats().misses, cache.stats().coalesced) == (1, 10_000, 9_999)


@pytest.mark.asyncio
async def test_p2_holds_across_every_way_to_read_a_key(cache, load, turn):
    @cache.cached("k:{name}", ttl=60)
    async def one(name: str):
        return await load()

    @cache.cached_many("k:{}", ttl=60)
    async def many(names: list[str]):
        return dict.fromkeys(names, await load())

    async def load_many(keys):
        return dict.fromkeys(keys, await load())

    calls = [
        one("a"),
        many(["a"]),
        cache.get_or_load("k:a", load, ttl=60),
        cache.get_or_load_many(["k:a"], load_many, ttl=60),
        one.refresh("a"),
        many.refresh(["a"]),
    ]
    tasks = [asyncio.create_task(call) for call in calls]
    await turn()
    load.gate.set()
    assert await asyncio.gather(*tasks) == [1, {"a": 1}, 1, {"k:a": 1}, 1, {"a": 1}]
    assert load.runs == 1


@pytest.mark.asyncio
async def test_p2_a_refresh_in_the_background_is_one_load_however_many_read(cache, clock, load, turn):
    await cache.set("k", "old", ttl=1, stale_while_revalidate=60)
    clock.advance(2)
    options = {"ttl": 1, "stale_while_revalidate": 60, "refresh": "background"}
    assert await asyncio.gather(*reading(cache, load, 50, **options)) == ["old"] * 50
    await turn()
    assert load.runs == 1
    load.gate.set()
    await turn()
    assert await read(cache, load, **options) == 1


# --- P3: cancellation is private --------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("victim", range(4))
async def test_p3_cancelling_any_caller_neither_fails_nor_restarts_the_load_of_another(
    cache, load, turn, victim
):
    waiting = reading(cache, load, 4)
    await turn()
    waiting[victim].cancel()
    await turn()
    load.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results.pop(victim), asyncio.CancelledError)
    assert (results, load.runs) == ([1, 1, 1], 1)
    assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_p3_if_every_waiter_was_cancelled_the_load_is_too(cache, load, turn):
    waiting = reading(cache, load, 4)
    await turn()
    for task in waiting:
        task.cancel()
    await turn()
    assert (load.runs, load.running, cache.stats().loading) == (1, 0, 0)


@pytest.mark.asyncio
async def test_p3_callers_cancelled_in_the_tick_of_their_call_leave_a_clean_field(cache, load, turn):
    waiting = reading(cache, load, 3)
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    load.gate.set()
    assert await asyncio.wait_for(read(cache, load), 5) == 1


@pytest.mark.asyncio
async def test_p3_a_caller_cancelled_before_its_first_step_changes_nothing(cache, load, turn):
    first, second = reading(cache, load, 2)
    first.cancel()
    await turn()
    load.gate.set()
    assert await second == 1
    assert load.runs == 1


@pytest.mark.asyncio
async def test_p3_one_that_merely_timed_out_keeps_the_load_running_and_stored(cache, load, turn):
    with pytest.raises(LoadTimeout, match="not loaded within 0.001 s; the load goes on"):
        await read(cache, load, timeout=0.001)
    (patient,) = reading(cache, load)
    await turn()
    patient.cancel()
    await turn()
    assert load.running == 1
    load.gate.set()
    await turn()
    assert (await cache.get("k"), load.runs, cache.stats().timeouts) == (1, 1, 1)


@pytest.mark.asyncio
async def test_p3_holds_for_scopes_and_groups_around_a_caller(cache, load, turn):
    (patient,) = reading(cache, load)
    await turn()
    with anyio.move_on_after(0.001):
        await read(cache, load)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await read(cache, load)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(cache, load), 0.001)
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(read(cache, load))
            await turn()
            raise ValueError
    with pytest.raises(ExceptionGroup):
        async with anyio.create_task_group() as group:
            group.start_soon(read, cache, load)
            await turn()
            raise ValueError
    load.gate.set()
    assert (await patient, load.runs) == (1, 1)


@pytest.mark.asyncio
async def test_p3_background_refreshes_belong_to_the_cache(cache, clock, load, turn):
    await cache.set("k", "old", ttl=1, stale_while_revalidate=60)
    clock.advance(2)
    options = {"ttl": 1, "stale_while_revalidate": 60, "refresh": "background"}
    (caller,) = reading(cache, load, **options)
    await turn()
    assert caller.result() == "old"
    (joined,) = reading(cache, load, ttl=1)  # has nothing to serve: waits for the refresh
    await turn()
    joined.cancel()
    await turn()
    assert load.running == 1
    load.gate.set()
    await turn()
    assert (await cache.get("k"), load.runs) == (1, 1)


@pytest.mark.asyncio
async def test_p3_holds_in_batches(cache, load, turn):
    async def load_many(keys):
        return dict.fromkeys(keys, await load())

    @cache.cached_many("k:{}", ttl=60)
    async def many(ids: list[int]):
        return dict.fromkeys(ids, await load())

    one, two, three = (asyncio.create_task(many(ids)) for ids in ([1, 2], [2, 3], [3, 4]))
    await turn()
    assert load.runs == 1
    one.cancel()
    await turn()
    load.gate.set()
    assert (await two, await three) == ({2: 1, 3: 1}, {3: 1, 4: 1})
    assert load.runs == 1
    lost = asyncio.create_task(cache.get_or_load_many(["x", "y"], load_many, ttl=60))
    load.gate.clear()
    await turn()
    lost.cancel()
    await turn()
    assert (load.runs, load.running) == (2, 0)


@pytest.mark.asyncio
@pytest.mark.one_loop  # an eager task is a step ahead of its batch
async def test_p3_a_batch_cancelled_before_it_departed_calls_no_loader(cache, load, turn):
    async def load_many(keys):
        return dict.fromkeys(keys, await load())

    lost = asyncio.create_task(cache.get_or_load_many(["x"], load_many, ttl=60))
    await asyncio.sleep(0)
    lost.cancel()
    await turn()
    assert load.runs == 0


# --- P4: errors are shared, not kept ----------------------------------------------------------------


@pytest.mark.asyncio
async def test_p4_every_waiter_sees_the_error_and_the_next_call_loads_again(cache, load, turn):
    load.error = ValueError("boom")
    waiting = reading(cache, load, 20)
    await turn()
    load.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [(type(error), str(error)) for error in results] == [(ValueError, "boom")] * 20
    assert load.runs == 1
    load.error = None
    assert await read(cache, load) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["one", "batch", "batch of many keys", "error that cannot be copied"])
async def test_p4_each_of_a_hundred_tracebacks_is_readable_and_does_not_grow(cache, way):
    class Slotted(Exception):
        __slots__ = ()

    async def fails(*_):
        await asyncio.sleep(0)
        raise (Slotted if way == "error that cannot be copied" else ValueError)("boom")

    @cache.cached_many("n:{}", ttl=60)
    async def many(ids: list[int]):
        return await fails()

    async def ask(number):
        try:
            if way == "one":
                await read(cache, fails)
            else:
                await many([number if way == "batch of many keys" else 1])
        except (ValueError, Slotted) as error:
            return "".join(traceback.format_exception(error))

    texts = await asyncio.gather(*map(ask, range(100)))
    assert {text.count("in fails") for text in texts} == {1}
    assert {text.count("in ask") for text in texts} == {1}
    assert max(len(text.splitlines()) for text in texts) < 60


@pytest.mark.asyncio
async def test_p4_a_failed_refresh_of_a_fresh_value_is_an_event_never_an_error(cache, events, load, turn):
    @cache.cached("k", ttl=60)
    async def get():
        return await load()

    load.gate.set()
    assert await get() == 1
    load.error = ValueError("boom")
    assert await get.refresh() == 1
    assert await get() == 1
    (failed,) = [event for event in events if isinstance(event, LoadFailed)]
    assert (failed.error, failed.served_stale, str(failed.cause)) == ("ValueError", True, "boom")


@pytest.mark.asyncio
async def test_p4_a_failed_refresh_in_the_background_is_an_event(cache, clock, events, load, turn):
    await cache.set("k", "old", ttl=1, stale_while_revalidate=60)
    clock.advance(2)
    load.error = ValueError("boom")
    load.gate.set()
    options = {"ttl": 1, "stale_while_revalidate": 60, "refresh": "background"}
    assert await read(cache, load, **options) == "old"
    await turn()
    assert [event.error for event in events if isinstance(event, RefreshFailed)] == ["ValueError"]
    assert await read(cache, load, **options) == "old"


@pytest.mark.asyncio
async def test_p4_a_load_that_is_cancelled_from_within_is_an_error_for_all(cache, turn):
    async def load_many(keys):
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def loader():
        return await load_many([])

    results = await asyncio.gather(*reading(cache, loader, 3), return_exceptions=True)
    assert [type(error) for error in results] == [LoadCancelled] * 3
    both = [cache.get_or_load_many([key, "both"], load_many, ttl=60) for key in "ab"]
    results = await asyncio.wait_for(asyncio.gather(*both, return_exceptions=True), 5)
    assert [type(error) for error in results] == [LoadCancelled] * 2
    assert await read(cache, lambda: asyncio.sleep(0, "again")) == "again"


# --- P8: nothing unsafe by default ------------------------------------------------------------------


@pytest.mark.asyncio
async def test_p8_no_value_shows_in_what_is_printed(cache, events, load):
    secret = "hunter2"
    load.gate.set()
    load.value = secret
    await read(cache, load, tags=["t"])
    await cache.set("other", secret, ttl=60)
    async with cache.writing("k") as writer:
        writer.commit("k", secret, ttl=60)
        shown = [repr(writer)]
    load.error = ValueError(secret)
    with pytest.raises(ValueError):
        await read(cache, load, "failing")
    shown += map(repr, [cache, *events, await cache.explain("k"), cache.stats(), cache.report()])
    shown += map(str, [await cache.explain("k"), cache.report()])
    assert not [text for text in shown if secret in text]


@pytest.mark.asyncio
async def test_p8_keys_of_different_arguments_differ(cache):
    seen = []

    @cache.cached(ttl=60)
    async def get(a, b=None):
        seen.append((a, b))
        return len(seen)

    calls = [(1,), ("1",), (1.0,), (True,), (None,), ("",), ("None",), ("a", "b"), ("a:b",), (("a", "b"),)]
    results = [await get(*call) for call in calls]
    assert len(set(results)) == len(calls)
    assert [await get(*call) for call in calls] == results


# --- P9: nothing leaks ------------------------------------------------------------------------------


def sizes(cache):
    process, solo = cache._engine.process, cache._engine.authority
    store = process.near.store
    return {
        "flights": len(process.flights),
        "tasks": len(process.background),
        "open batches": len(process.loads._open),
        "slots": process.slots.queued,
        "key claims": len(solo._key_claims),
        "tag claims": len(solo._tag_claims),
        "entries": len(store),
        "tags": len(store._tagged),
        "tasks of the loop": len(asyncio.all_tasks()),
    }


@pytest.mark.asyncio
async def test_p9_thousands_of_mixed_operations_leave_nothing_behind(clock, turn):
    rng = Random(5)
    store = MemoryStore(max_entries=50)
    async with Cache(store, clock=clock, rng=Random(1), max_loads=5, max_queue=100) as cache:

        @cache.cached("u:{number}", ttl=5, tags=["u:{number}", "all"], stale_while_revalidate=5, beta=1.0)
        async def one(number: int):
            loading().tags.add(f"late:{number % 7}")
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                raise ValueError
            return number

        @cache.cached_many("m:{}", ttl=5, tags=["m:{}"])
        async def many(numbers: list[int]):
            await asyncio.sleep(0)
            if rng.random() < 0.2:
                raise ValueError
            return {number: await one(number) for number in numbers if number % 3}

        async def write(number):
            async with cache.writing(f"u:{number}", tags=["all"]) as writer:
                await asyncio.sleep(0)
                writer.commit(f"u:{number}", number, ttl=5)

        async def work():
            number = rng.randrange(300)
            kind = rng.randrange(8)
            if kind < 3:
                await one(number)
            elif kind == 3:
                await many(range(number, number + 5))
            elif kind == 4:
                await cache.invalidate(f"u:{number}", tags=[f"late:{number % 7}"])
            elif kind == 5:
                await write(number)
            elif kind == 6:
                await cache.get_or_load(f"x:{number}", lambda: one(number), ttl=3, timeout=0)
            else:
                await cache.set(f"u:{number}", number, ttl=2, tags=[f"s:{number}"])

        asyncio.get_running_loop().set_debug(False)  # it costs minutes
        for _ in range(60):
            tasks = [asyncio.create_task(work()) for _ in range(50)]
            for task in tasks:
                if rng.random() < 0.3:
                    await asyncio.sleep(0)
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            clock.advance(1)
        await turn()
        found = sizes(cache)
        assert found.pop("entries") <= 50
        assert found.pop("tags") <= 200
        assert found.pop("tasks of the loop") == 1
        assert found == dict.fromkeys(found, 0)
        await cache.clear()
        assert (len(store), len(store._tagged)) == (0, 0)


@pytest.mark.asyncio
async def test_p9_what_is_remembered_of_misses_and_failures_is_bounded(cache, clock):
    process = cache._engine.process
    for number in range(10_000):
        process.hold_off(f"k{number}", clock.monotonic() + 60)
        process.note_miss(f"k{number}", "expired")
        assert len(process.retry_at) <= 4_096
        assert len(process.misses) <= 4_096
    assert "k9999" in process.retry_at
    assert process.misses["k9999"] == "expired"


@pytest.mark.asyncio
async def test_p9_of_failures_those_that_still_count_are_kept(cache, clock):
    process = cache._engine.process
    for number in range(4_096):
        process.hold_off(f"k{number}", clock.monotonic() + (60 if number == 7 else 1))
    clock.advance(2)
    process.hold_off("new", clock.monotonic() + 1)
    assert set(process.retry_at) == {"k7", "new"}


@pytest.mark.asyncio
async def test_p9_many_cancelled_joins_leave_no_waiter(cache, load, turn):
    (patient,) = reading(cache, load)
    await turn()
    flight = cache._engine.process.flights.get("k")
    for _ in range(20):
        joins = reading(cache, load, 50)
        await asyncio.sleep(0)
        for task in joins:
            task.cancel()
        await asyncio.gather(*joins, return_exceptions=True)
    assert (flight.waiting, flight.waits_for) == (1, [])
    load.gate.set()
    await patient


@pytest.mark.asyncio
async def test_p9_waits_of_a_long_load_are_not_collected(cache, turn):
    sizes = []

    async def long():
        for number in range(100):
            await cache.get_or_load(f"part {number}", lambda: asyncio.sleep(0, 1), ttl=60)
            sizes.append(len(flight().waits_for))
        return 1

    def flight():
        return cache._engine.process.flights.get("k")

    await read(cache, long)
    assert max(sizes) == 0


@pytest.mark.asyncio
async def test_p9_instances_with_cached_methods_are_collected(cache, turn):
    class Repo:
        def __init__(self, tenant):
            self.tenant = tenant

        @cache.cached("repo:{self.tenant}:{number}", ttl=60)
        async def get(self, number: int):
            return number

    gone = []
    for tenant in range(10):
        repo = Repo(tenant)
        assert await repo.get(1) == 1
        assert await repo.get(1) == 1
        gone.append(weakref.ref(repo))
    del repo
    await turn()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 10


@pytest.mark.asyncio
async def test_p9_an_error_keeps_nothing_of_its_load_alive(cache, turn):
    class Heavy:
        pass

    kept = []
    # A timer that comes before that of `max_load_time`, which stays in the loop behind it.
    earlier = asyncio.get_running_loop().call_later(30, kept.clear)

    async def fails():
        heavy = Heavy()
        kept.append(weakref.ref(heavy))
        raise ValueError

    with pytest.raises(ValueError):
        await read(cache, fails)
    await turn()
    gc.collect()
    assert kept[0]() is None
    earlier.cancel()
