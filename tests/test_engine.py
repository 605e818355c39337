"""What a read does at each age of a value, and how long a caller waits."""

import asyncio
import itertools

import anyio
import pytest
import pytest_asyncio

from acache import MISSING, Cache, MemoryStore, Policy, loading
from acache._near import SLICE
from acache.errors import LoadCancelled, LoadTimeout, RecursiveLoad
from acache.events import (
    Cleared,
    HeadStartTooLong,
    Invalidated,
    LoadFailed,
    LoadFinished,
    RefreshFailed,
    SetDiscarded,
    StoreFailed,
)
from acache.testing import ManualClock


class Dice:
    """Random numbers as told; then the one that makes XFetch fire as early as it ever can."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return self.numbers.pop(0) if self.numbers else 1 - 2**-53


def read(cache, load, key="k", **options):
    return cache.get_or_load(key, load, **{"ttl": 60, **options})


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


# --- tags of many entries ---------------------------------------------------------------------------

CROWD = 4_500  # entries of one tag: some slices of them


@pytest_asyncio.fixture
async def crowd(cache):
    """The cache, with so many entries of one tag."""
    await cache.set_many({f"k{number}": number for number in range(CROWD)}, ttl=60, tags=["t"])
    return cache


@pytest.mark.asyncio
@pytest.mark.parametrize("writing", [False, True])
async def test_the_loop_runs_on_while_a_tag_of_many_entries_is_dropped(crowd, writing):
    async def drop():
        if not writing:
            return await crowd.invalidate(tags=["t"])
        async with crowd.writing(tags=["t"]):
            return None

    async def left():
        return len(await crowd.get_many([f"k{number}" for number in range(CROWD)]))

    dropping = asyncio.create_task(drop())
    held = [await left()]
    while not dropping.done():
        await asyncio.sleep(0)
        held.append(await left())
    steps = [before - after for before, after in itertools.pairwise([CROWD, *held])]
    assert held[-1] == 0
    assert max(steps) <= 2 * SLICE  # an eager task takes a slice, and so does the one that it starts


@pytest.mark.asyncio
async def test_what_is_stored_while_a_tag_of_many_entries_is_dropped_began_after_it(crowd, turn):
    gate = asyncio.Event()

    async def load():
        await gate.wait()
        return "old"

    reading = asyncio.create_task(read(crowd, load, tags=["t"]))
    await turn()
    dropping = asyncio.create_task(crowd.invalidate(tags=["t"]))
    await asyncio.sleep(0)
    gate.set()
    await dropping
    assert await reading == "old"
    assert await crowd.get("k") is None


@pytest.mark.asyncio
async def test_a_tag_of_many_entries_is_dropped_although_the_caller_is_cancelled(crowd, turn):
    dropping = asyncio.create_task(crowd.invalidate(tags=["t"]))
    await asyncio.sleep(0)
    dropping.cancel()
    await turn()
    assert dropping.cancelled()
    assert await crowd.get_many([f"k{number}" for number in range(CROWD)]) == {}


# --- stale while revalidate -------------------------------------------------------------------------

AGING = {"ttl": 10, "beta": 0, "stale_while_revalidate": 20, "stale_if_error": 40, "retry_after": 5}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("age", "served", "loads"),
    [(0, "old", 1), (9.9, "old", 1), (10, "old", 2), (29.9, "old", 2), (30, "new", 2), (50, "new", 2)],
)
async def test_what_is_served_at_each_age(cache, clock, load, turn, age, served, loads):
    @cache.cached("k", **AGING)
    async def get():
        return await load()

    load.value = "old"
    load.gate.set()
    assert await get() == "old"
    load.value = "new"
    clock.advance(age)
    assert await get() == served
    await turn()
    assert load.runs == loads
    assert await get() == ("new" if loads == 2 else "old")
    assert load.runs == loads
    assert get.stats().stale == (1 if 10 <= age < 30 else 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(("age", "served"), [(10, True), (29, True), (30, True), (49, True), (50, False)])
async def test_what_is_served_when_the_load_fails(cache, clock, load, turn, age, served):
    @cache.cached("k", **AGING)
    async def get():
        return await load()

    load.value = "old"
    load.gate.set()
    await get()
    load.error = ValueError("down")
    clock.advance(age)
    if served:
        assert await get() == "old"
    else:
        with pytest.raises(ValueError, match="down"):
            await get()
    await turn()
    assert load.runs == 2


@pytest.mark.asyncio
async def test_after_a_failed_load_the_next_attempt_waits(cache, clock, events, load, turn):
    load.gate.set()
    load.error = ValueError("down")
    await cache.set("k", "old", ttl=10, stale_if_error=100)
    clock.advance(10)
    options = {**AGING, "stale_while_revalidate": 0, "stale_if_error": 100}
    assert await read(cache, load, **options) == "old"
    clock.advance(4.9)
    assert await read(cache, load, **options) == "old"
    assert load.runs == 1
    clock.advance(0.1)
    assert await read(cache, load, **options) == "old"
    assert load.runs == 2
    clock.advance(5)
    load.error = None
    assert await read(cache, load, **options) == 1
    assert [event.served_stale for event in of(events, LoadFailed)] == [True, True]
    assert cache.stats().stale == 3


@pytest.mark.asyncio
async def test_an_error_that_nothing_could_cover_is_told_as_such(cache, clock, events, load):
    load.gate.set()
    load.error = ValueError("down")
    await cache.set("k", "old", ttl=10, stale_while_revalidate=50)
    clock.advance(30)
    with pytest.raises(ValueError):
        await read(cache, load, ttl=10)
    assert [event.served_stale for event in of(events, LoadFailed)] == [False]


@pytest.mark.asyncio
async def test_a_refresh_that_fails_is_not_tried_again_at_once(cache, clock, events, load, turn):
    load.gate.set()
    load.error = ValueError("down")
    await cache.set("k", "old", ttl=10, stale_while_revalidate=100)
    clock.advance(11)
    options = {"ttl": 10, "stale_while_revalidate": 100, "retry_after": 5, "refresh": "background"}
    for _ in range(3):
        assert await read(cache, load, **options) == "old"
        await turn()
    assert load.runs == 1
    clock.advance(5)
    assert await read(cache, load, **options) == "old"
    await turn()
    assert load.runs == 2
    assert [event.error for event in of(events, RefreshFailed)] == ["ValueError"] * 2


# --- who refreshes ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_with_refresh_caller_exactly_one_caller_waits(cache, clock, load, turn):
    await cache.set("k", "old", ttl=10, stale_while_revalidate=50)
    clock.advance(11)
    options = {"ttl": 10, "stale_while_revalidate": 50}  # get_or_load elects callers by default
    tasks = [asyncio.create_task(read(cache, load, **options)) for _ in range(10)]
    await turn()
    assert [task.done() for task in tasks] == [False] + [True] * 9
    assert [task.result() for task in tasks[1:]] == ["old"] * 9
    load.gate.set()
    assert await tasks[0] == 1
    assert load.runs == 1


@pytest.mark.asyncio
async def test_if_the_elected_caller_is_cancelled_the_next_is_elected(cache, clock, load, turn):
    await cache.set("k", "old", ttl=10, stale_while_revalidate=50)
    clock.advance(11)
    options = {"ttl": 10, "stale_while_revalidate": 50}
    first = asyncio.create_task(read(cache, load, **options))
    await turn()
    first.cancel()
    await turn()
    assert load.running == 0
    second = asyncio.create_task(read(cache, load, **options))
    await turn()
    assert not second.done()
    load.gate.set()
    assert await second == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("patience", [{"timeout": 0.001}, {"soft_timeout": 0.001}])
async def test_the_elected_caller_has_no_more_patience_than_others(cache, clock, load, turn, patience):
    await cache.set("k", "old", ttl=10, stale_while_revalidate=50)
    clock.advance(11)
    options = {"ttl": 10, "stale_while_revalidate": 50, **patience}
    assert await read(cache, load, **options) == "old"
    assert load.running == 1
    load.gate.set()
    await turn()
    assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_the_elected_caller_gets_the_old_value_if_its_load_fails(cache, clock, events, load):
    await cache.set("k", "old", ttl=10, stale_while_revalidate=50)
    clock.advance(11)
    load.error = ValueError("down")
    load.gate.set()
    assert await read(cache, load, ttl=10, stale_while_revalidate=50) == "old"
    assert [type(event) for event in events if isinstance(event, LoadFailed | LoadFinished)] == [LoadFailed]


@pytest.mark.asyncio
async def test_a_cache_may_say_that_ad_hoc_loads_refresh_in_the_background(clock, load, turn):
    async with Cache(clock=clock, policy=Policy(refresh="background", stale_while_revalidate=50)) as cache:
        await cache.set("k", "old", ttl=10)
        clock.advance(11)
        assert await read(cache, load, ttl=10) == "old"
        load.gate.set()
        await turn()
        assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_a_batch_read_elects_per_key(cache, clock, turn):
    gate, asked = asyncio.Event(), []

    async def load_many(keys):
        asked.append(keys)
        await gate.wait()
        return dict.fromkeys(keys, "new")

    await cache.set_many({"a": "old", "b": "old", "c": "old"}, ttl=10, stale_while_revalidate=50)
    clock.advance(11)
    options = {"ttl": 10, "stale_while_revalidate": 50}
    first = asyncio.create_task(cache.get_or_load_many(["a", "b"], load_many, **options))
    await turn()
    assert await cache.get_or_load_many(["a", "b"], load_many, **options) == {"a": "old", "b": "old"}
    gate.set()
    assert await first == {"a": "new", "b": "new"}
    assert asked == [["a", "b"]]


@pytest.mark.asyncio
async def test_a_failed_refresh_of_a_batch_leaves_the_old_values(cache, clock, events):
    async def load_many(keys):
        raise ValueError("down")

    await cache.set_many({"a": "old", "b": "old"}, ttl=10, stale_while_revalidate=50)
    clock.advance(11)
    options = {"ttl": 10, "stale_while_revalidate": 50}
    assert await cache.get_or_load_many(["a", "b"], load_many, **options) == {"a": "old", "b": "old"}
    assert cache.stats().errors == 1, "one load, whatever the number of keys"


# --- early refresh ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_slow_load_is_refreshed_early_and_once(clock, turn):
    runs = []

    async def load():
        runs.append(clock.monotonic())
        clock.advance(1)
        return len(runs)

    async with Cache(clock=clock, rng=Dice()) as cache:

        @cache.cached("k", ttl=60)
        async def get():
            return await load()

        assert await get() == 1
        clock.advance(60 - 38)
        assert await get() == 1
        await turn()
        assert len(runs) == 1
        clock.advance(2)
        served = await asyncio.gather(*(get() for _ in range(5)))
        assert served[0] == 1
        assert set(served) <= {1, 2}  # an eager task is done already
        await turn()
        assert (len(runs), await get()) == (2, 2)
        assert get.stats().early == 1


@pytest.mark.asyncio
async def test_without_beta_nothing_is_refreshed_early(clock, turn):
    async with Cache(clock=clock, rng=Dice()) as cache:

        @cache.cached("k", ttl=60, beta=0)
        async def get():
            clock.advance(10)

        await get()
        clock.advance(59.99)
        await get()
        await turn()
        assert get.stats().loads == 1


@pytest.mark.asyncio
async def test_a_head_start_over_half_of_the_ttl_is_told_once(clock, turn):
    seen = []
    async with Cache(clock=clock, rng=Dice()) as cache:
        cache.subscribe(seen.append)

        @cache.cached("k:{a}", ttl=60)
        async def get(a):
            clock.advance(5)

        for a in range(10):
            await get(a)
            clock.advance(1)
            await get(a)
            await turn()
        (told,) = of(seen, HeadStartTooLong)
        assert told.function.endswith("get")
        assert told.head_start == pytest.approx(59)
        (row,) = cache.report().functions
        assert "lower beta or raise the ttl" in row.warnings[0]


# --- patience ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_timeout_ends_the_wait_but_not_the_load(cache, load, turn):
    with pytest.raises(LoadTimeout):
        await read(cache, load, timeout=0)
    assert load.running == 1
    load.gate.set()
    await turn()
    assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_timeout_serves_an_old_value_where_there_is_one(cache, clock, load, turn):
    await cache.set("k", "old", ttl=1, stale_if_error=60)
    clock.advance(2)
    assert await read(cache, load, timeout=0.001, stale_if_error=60) == "old"
    assert load.running == 1
    assert cache.stats().timeouts == 0
    load.gate.set()
    await turn()
    assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_soft_timeout_matters_only_with_an_old_value(cache, clock, load, turn):
    waiting = asyncio.create_task(read(cache, load, soft_timeout=0))
    await turn()
    assert not waiting.done()
    await cache.set("other", "old", ttl=1, stale_if_error=60)
    clock.advance(2)
    assert await read(cache, load, "other", soft_timeout=0, stale_if_error=60) == "old"
    load.gate.set()
    assert await waiting == 1
    await turn()
    assert await cache.get("other") == 1


@pytest.mark.asyncio
async def test_after_soft_timeout_the_rest_of_timeout_is_waited(cache, load):
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(LoadTimeout):
        await read(cache, load, soft_timeout=0.01, timeout=0.03)
    assert loop.time() - start >= 0.029
    load.gate.set()


@pytest.mark.asyncio
async def test_a_batch_read_waits_its_timeout_once(cache, load, turn):
    async def load_many(keys):
        await load()
        return dict.fromkeys(keys, 1)

    keys = [f"k{number}" for number in range(20)]
    with pytest.raises(LoadTimeout):
        await asyncio.wait_for(cache.get_or_load_many(keys, load_many, ttl=60, timeout=0.05), 0.5)
    assert (cache.stats().timeouts, load.running) == (1, 1)
    load.gate.set()
    await turn()
    assert len(await cache.get_many(keys)) == 20


@pytest.mark.asyncio
async def test_a_batch_read_serves_old_values_after_its_soft_timeout(cache, clock, load, turn):
    async def load_many(keys):
        await load()
        return dict.fromkeys(keys, "new")

    await cache.set_many({"a": "old", "b": "old"}, ttl=1, stale_if_error=60)
    clock.advance(2)
    options = {"ttl": 60, "soft_timeout": 0.001, "stale_if_error": 60}
    assert await cache.get_or_load_many(["a", "b"], load_many, **options) == {"a": "old", "b": "old"}
    waiting = asyncio.create_task(cache.get_or_load_many(["a", "c"], load_many, **options))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    load.gate.set()
    assert await waiting == {"a": "new", "c": "new"}


@pytest.mark.asyncio
async def test_a_load_that_takes_too_long_is_cancelled(cache, events, load, turn):
    tasks = [asyncio.create_task(read(cache, load, max_load_time=0.001)) for _ in range(3)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in results] == [LoadTimeout] * 3
    assert "longer than max_load_time=0.001 s and was cancelled" in str(results[0])
    assert load.running == 0
    assert [event.error for event in of(events, LoadFailed)] == ["LoadTimeout"]
    load.gate.set()
    assert await read(cache, load) == 1


@pytest.mark.asyncio
async def test_a_timeout_of_the_loader_itself_is_its_error(cache):
    async def load():
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError) as caught:
        await read(cache, load)
    assert not isinstance(caught.value, LoadTimeout)


@pytest.mark.asyncio
async def test_no_limit_may_be_written_as_none_or_as_infinity(cache, load):
    load.gate.set()
    for number, limit in enumerate([None, float("inf")]):
        options = {"max_load_time": limit, "timeout": limit, "soft_timeout": limit}
        assert await read(cache, load, str(number), **options) == 1


@pytest.mark.asyncio
async def test_a_load_that_is_cancelled_from_within_is_a_failed_load(cache, clock, events):
    async def load(*_):
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    options = {"ttl": 1, "stale_while_revalidate": 5, "stale_if_error": 60}
    await cache.set_many({"k": "old", "row": "old"}, **options)
    for age in (2, 10):
        clock.advance(age)
        assert await read(cache, load, **options) == "old"
        assert await cache.get_or_load_many(["row"], load, **options) == {"row": "old"}
    assert cache.stats().errors == 4
    assert {event.error for event in of(events, LoadFailed)} == {"LoadCancelled"}
    with pytest.raises(LoadCancelled, match="the load of 'other' was cancelled from within"):
        await read(cache, load, "other", **options)


@pytest.mark.asyncio
async def test_a_scope_that_a_load_cancels_itself_is_its_own_affair(cache):
    async def load():
        with anyio.move_on_after(0):
            await asyncio.sleep(60)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await asyncio.sleep(60)
        return "done"

    assert await read(cache, load) == "done"


@pytest.mark.asyncio
async def test_an_elected_caller_gets_the_old_value_also_if_the_cache_is_closed(clock, load, turn):
    cache = Cache(clock=clock)
    await cache.set("k", "old", ttl=10, stale_while_revalidate=50)
    clock.advance(11)
    task = asyncio.create_task(read(cache, load, ttl=10, stale_while_revalidate=50))
    await turn()
    await cache.aclose()
    assert await task == "old"


@pytest.mark.asyncio
async def test_a_store_that_refuses_a_value_does_not_fail_the_read(clock, load):
    def weigh(key, value):
        raise ZeroDivisionError

    load.gate.set()
    seen = []
    async with Cache(MemoryStore(max_weight=5, weigh=weigh), clock=clock) as cache:
        cache.subscribe(seen.append)
        assert await read(cache, load) == 1
        assert [event.error for event in of(seen, StoreFailed)] == ["ZeroDivisionError"]
        assert [event.stored for event in of(seen, LoadFinished)] == [False]
        with pytest.raises(ZeroDivisionError):
            await cache.set("k", 1, ttl=60)
        assert await cache.get("k", MISSING) is MISSING


# --- recursion --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_load_that_waits_for_itself_is_refused(cache):
    @cache.cached("a:{n}", ttl=60)
    async def a(n: int):
        return await a(n)

    with pytest.raises(RecursiveLoad, match="the load of 'a:1' waits for its own result"):
        await asyncio.wait_for(a(1), 5)
    assert cache.stats().loading == 0


@pytest.mark.asyncio
async def test_a_circle_of_loads_is_refused_and_a_chain_is_not(cache):
    @cache.cached("a:{n}", ttl=60)
    async def a(n: int):
        return await asyncio.gather(b(n), c(n))

    @cache.cached("b:{n}", ttl=60)
    async def b(n: int):
        return await c(n) if n else await a(n)

    @cache.cached("c:{n}", ttl=60)
    async def c(n: int):
        await asyncio.sleep(0)
        return n

    with pytest.raises(RecursiveLoad):
        await asyncio.wait_for(a(0), 5)
    assert await a(1) == [1, 1], "a diamond is no circle"


@pytest.mark.asyncio
async def test_two_loads_that_come_to_wait_for_each_other_both_end(cache):
    both = asyncio.Barrier(2)

    @cache.cached("a", ttl=60)
    async def a():
        await both.wait()
        return await b()

    @cache.cached("b", ttl=60)
    async def b():
        await both.wait()
        return await a()

    results = await asyncio.wait_for(asyncio.gather(a(), b(), return_exceptions=True), 5)
    assert [type(result) for result in results] == [RecursiveLoad] * 2


@pytest.mark.asyncio
async def test_a_batch_that_asks_for_its_own_ids_is_refused_and_for_others_is_not(cache):
    @cache.cached_many("n:{}", ttl=60)
    async def down(ids: list[int]):
        below = await down([n - 2 for n in ids if n > 1])
        return {n: 1 + n % 2 + below.get(n - 2, 0) for n in ids}

    @cache.cached_many("loop:{}", ttl=60)
    async def around(ids: list[int]):
        return await around([(n + 1) % 3 for n in ids])

    assert await asyncio.wait_for(down([3, 4]), 5) == {3: 4, 4: 3}
    for ids in ([0], [0, 1]):
        with pytest.raises(RecursiveLoad):
            await asyncio.wait_for(around(ids), 5)


@pytest.mark.asyncio
async def test_a_batch_belongs_to_all_of_its_flights(cache):
    """The load of x waits for id 1, whose batch also loads id 2, which waits for x."""

    @cache.cached("x", ttl=60)
    async def x():
        return await many([1])

    @cache.cached_many("m:{}", ttl=60)
    async def many(ids: list[int]):
        return dict.fromkeys(ids, await x() if 2 in ids else 0)

    results = await asyncio.wait_for(asyncio.gather(x(), many([2]), return_exceptions=True), 5)
    assert RecursiveLoad in map(type, results)


@pytest.mark.asyncio
async def test_after_a_refused_circle_the_keys_load_as_before(cache):
    @cache.cached("a:{n}", ttl=60)
    async def a(n: int):
        return await a(n) if broken else n

    broken = True
    with pytest.raises(RecursiveLoad):
        await a(1)
    broken = False
    assert await a(1) == 1


@pytest.mark.asyncio
async def test_what_a_load_left_running_may_read_its_key(cache, load):
    left = []

    async def later():
        await load()
        return await read(cache, lambda: asyncio.sleep(0, "again"))

    async def first():
        left.append(asyncio.create_task(later()))
        loading().skip()
        return "first"

    assert await read(cache, first) == "first"
    load.gate.set()
    assert await left[0] == "again"


# --- without a loader -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_get_returns_what_is_fresh_and_nothing_else(cache, clock):
    await cache.set("k", "v", ttl=10, stale_while_revalidate=100)
    assert await cache.get("k") == "v"
    clock.advance(10)
    assert await cache.get("k", "default") == "default"
    assert await cache.get("none") is None
    assert await cache.get("none", MISSING) is MISSING


@pytest.mark.asyncio
async def test_set_replaces_value_tags_and_lifetime(cache, clock):
    await cache.set("k", 1, ttl=10, tags=["a"])
    await cache.set("k", 2, ttl=20, tags=["b"])
    await cache.invalidate(tags=["a"])
    clock.advance(15)
    assert await cache.get("k") == 2
    await cache.invalidate(tags=["b"])
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_many_are_set_and_got_at_once(cache):
    await cache.set_many({"a": 1, "b": None}, ttl=60, tags=["t"])
    assert await cache.get_many(key for key in ["b", "a", "c", "a"]) == {"b": None, "a": 1}
    assert (cache.stats().hits, cache.stats().misses) == (2, 1)
    await cache.invalidate(tags=["t"])
    assert await cache.get_many(["a", "b"]) == {}
    assert await cache.get_many([]) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [{"ttl": 0}, {"ttl": 0.0, "tags": ["t"]}])
async def test_setting_for_no_time_stores_nothing_and_drops_what_was(cache, options):
    await cache.set("k", "old", ttl=60)
    await cache.set_many({"k": "new", "other": 1}, **options)
    assert await cache.get_many(["k", "other"]) == {}
    assert cache.stats().entries == 0


@pytest.mark.asyncio
async def test_set_with_no_time_to_be_fresh_may_still_be_served_stale(cache, load):
    await cache.set("k", "stale", ttl=0, stale_if_error=60)
    load.error = ValueError()
    load.gate.set()
    assert await read(cache, load, stale_if_error=60) == "stale"


@pytest.mark.asyncio
async def test_clear_drops_everything(cache):
    await cache.set_many({"a": 1, "b": 2}, ttl=60)
    await cache.clear()
    assert await cache.get_many(["a", "b"]) == {}


@pytest.mark.asyncio
async def test_jitter_shortens_the_ttl(clock):
    async with Cache(clock=clock, rng=Dice(0.75)) as cache:
        await cache.set("k", 1, ttl=100, jitter=0.4)
        clock.advance(69.9)
        assert await cache.get("k") == 1
        clock.advance(0.2)
        assert await cache.get("k") is None


# --- events -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_happens_is_told(cache, events, load, turn):
    tasks = [asyncio.create_task(read(cache, load)) for _ in range(3)]
    await turn()
    load.gate.set()
    await asyncio.gather(*tasks)
    (finished,) = of(events, LoadFinished)
    assert (finished.key, finished.waiters, finished.stored, finished.seconds) == ("k", 3, True, 0)
    await cache.invalidate("a", "b", tags=["t"])
    assert of(events, Invalidated) == [Invalidated(keys=("a", "b"), tags=("t",))]
    await cache.clear()
    assert of(events, Cleared) == [Cleared()]


@pytest.mark.asyncio
async def test_a_value_that_came_too_late_is_told(cache, events, load, turn):
    task = asyncio.create_task(read(cache, load))
    await turn()
    await cache.invalidate("k")
    load.gate.set()
    await task
    assert [(event.key, event.reason) for event in of(events, SetDiscarded)] == [
        ("k", "it changed while it was loaded")
    ]
    assert [event.stored for event in of(events, LoadFinished)] == [False]
    assert cache.stats().discarded == 1


@pytest.mark.asyncio
async def test_an_invalidation_is_told_although_its_caller_was_cancelled(cache, events):
    task = asyncio.create_task(cache.invalidate("k"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert of(events, Invalidated) == [Invalidated(keys=("k",))]


@pytest.mark.asyncio
async def test_an_observer_that_raises_harms_nobody(cache, caplog, load):
    seen = []

    def broken(event):
        raise KeyError("observer")

    cache.subscribe(broken)
    cache.subscribe(seen.append)
    load.gate.set()
    assert await read(cache, load) == 1
    await cache.invalidate("k")
    async with cache.writing("k"):
        pass
    assert [type(event) for event in seen[-3:]] == [LoadFinished, Invalidated, Invalidated]
    assert "an observer of the cache failed on LoadFinished" in caplog.text


@pytest.mark.asyncio
async def test_an_observer_can_leave_twice(cache, events):
    leave = cache.subscribe(events.append)
    leave()
    leave()
    await cache.invalidate("k")
    assert len(events) == 1


# --- eviction ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_evictions_are_counted_and_passed_on(clock):
    evicted = []
    store = MemoryStore(max_entries=3)
    store.on_evict = lambda key, entry: evicted.append(key)
    async with Cache(store, clock=clock) as cache:
        for number in range(10):
            await cache.set(str(number), number, ttl=60)
        assert (cache.stats().evictions, len(evicted), cache.stats().entries) == (7, 7, 3)
        cache_again = Cache(store, clock=ManualClock())
        await cache_again.set("x", 1, ttl=60)
        assert (cache_again.stats().evictions, len(evicted)) == (1, 8)
        await cache_again.aclose()


# --- errors that are no Exception -------------------------------------------------------------------


class Verdict(BaseException):
    """As test runners raise it, past every `except Exception`."""


async def condemn(*_):
    await asyncio.sleep(0)
    raise Verdict("guilty")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda cache: cache.get_or_load("k", condemn, ttl=60), id="a load"),
        pytest.param(lambda cache: cache.get_or_load_many(["k"], condemn, ttl=60), id="a batch"),
    ],
)
async def test_an_error_that_is_no_exception_reaches_everybody_who_waits(cache, events, ask):
    asked = await asyncio.gather(*(ask(cache) for _ in range(3)), return_exceptions=True)
    assert [repr(error) for error in asked] == ["Verdict('guilty')"] * 3
    assert {event.error for event in events if isinstance(event, LoadFailed)} == {"Verdict"}
    assert cache.stats().errors > 0
