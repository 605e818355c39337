"""Figures: what is counted where, and what they say about the worth of caching."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache import Cache, ReadThrough
from acache._stats import SAMPLE_EVERY, Histogram, Stats, Tally, duration, judge, total
from acache.errors import LoadTimeout


@pytest.fixture
def slow(cache, clock):
    """A function whose load takes a tenth of a second, by the cache's clock."""

    @cache.cached("slow:{n}", ttl=60, beta=0)
    async def slow(n: int):
        clock.advance(0.1)
        return n

    return slow


# --- counting ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_every_read_is_a_hit_or_a_miss(cache, clock, load, turn):
    @cache.cached("k", ttl=10, stale_if_error=60, beta=0)
    async def get():
        return await load()

    tasks = [asyncio.create_task(get()) for _ in range(4)]
    await turn()
    load.gate.set()
    await asyncio.gather(*tasks)
    await get()
    load.error = ValueError()
    clock.advance(11)
    await get()
    clock.advance(60)
    with pytest.raises(ValueError):
        await get()
    load.gate.clear()
    lost = asyncio.create_task(get())
    await turn()
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    assert get.stats() == Stats(hits=1, misses=7, loads=4, coalesced=3, stale=1, errors=2)
    assert get.stats().hit_ratio == 1 / 8


@pytest.mark.asyncio
async def test_direct_calls_have_a_row_of_their_own_and_the_cache_sums_up(cache, slow, load):
    load.gate.set()
    await slow(1)
    await slow(1)
    await slow.invalidate(1)
    await cache.set("a", 1, ttl=60)
    await cache.set_many({"b": 1, "c": 2}, ttl=60)
    await cache.get("a")
    await cache.get_many(["a", "none"])
    await cache.get_or_load("d", load, ttl=60)
    await cache.invalidate("a", tags=["t"])
    async with cache.writing("e", "f") as writer:
        writer.commit("e", 1, ttl=60)
    with pytest.raises(LoadTimeout):
        load.gate.clear()
        await cache.get_or_load("g", load, ttl=60, timeout=0)
    assert slow.stats() == Stats(hits=1, misses=1, loads=1, invalidations=1)
    assert cache.stats() == Stats(
        hits=3,
        misses=4,
        loads=3,
        timeouts=1,
        sets=4,
        invalidations=2,
        entries=4,
        loading=1,
    )
    assert [row.name for row in cache.report().functions][1:] == ["direct calls"]


@pytest.mark.asyncio
async def test_a_batch_counts_reads_by_key_and_loads_by_call(cache):
    @cache.cached_many("n:{}", ttl=60)
    async def many(ids: list[int]):
        if 13 in ids:
            raise ValueError
        return dict.fromkeys(ids, 1)

    await many([1, 2, 3])
    await many([2, 3, 4])
    with pytest.raises(ValueError):
        await many([13, 14])
    assert many.stats() == Stats(hits=2, misses=6, loads=3, errors=1)


@pytest.mark.asyncio
async def test_figures_belong_to_one_cache(clock):
    one, two = Cache(clock=clock), Cache(clock=clock)
    async with one, two:
        await one.set("k", 1, ttl=60)
        assert (one.stats().sets, two.stats().sets) == (1, 0)


# --- judging ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_report_says_what_was_saved(cache, slow):
    await slow(1)
    for _ in range(SAMPLE_EVERY):
        await slow(1)
    (row,) = cache.report().functions
    assert (row.verdict, row.warnings) == ("worth it", ())
    assert row.load_mean == pytest.approx(0.1)
    assert row.load_p50 == pytest.approx(0.1, rel=0.1)
    assert row.time_saved == pytest.approx(0.1 * SAMPLE_EVERY)
    assert "worth it" in str(cache.report())
    assert "99.9%" in str(cache.report())
    head, line = str(cache.report()).splitlines()
    for column in ("coalesced", "early", "stale", "errors", "discarded", "load p99", "hit p99"):
        assert column in head
    assert len(line.split()) >= len(head.split()) - 4  # "load p50" and its like are one column


@pytest.mark.asyncio
async def test_a_report_flags_what_costs_more_than_it_saves(clock):
    class Dear:
        """A clock on which looking at it takes time: so each hit does."""

        time = clock.time

        def monotonic(self):
            clock.advance(0.001)
            return clock.monotonic()

    async with Cache(clock=Dear()) as cache:

        @cache.cached("k", ttl=10**6)
        async def get():
            return 1

        for _ in range(SAMPLE_EVERY + 1):
            await get()
        (row,) = cache.report().functions
        assert row.hit_p50 >= row.load_mean > 0
        assert row.verdict == "costs more than it saves"
        assert row.time_saved < 0


@pytest.mark.asyncio
async def test_without_hits_or_loads_nothing_can_be_said(cache, slow):
    (row,) = cache.report().functions
    assert row.verdict == "not enough data"
    await slow(1)
    (row,) = cache.report().functions
    assert row.verdict == "not enough data"


# --- what nothing invalidates -----------------------------------------------------------------------

WARNING = "kept until invalidated, and nothing has invalidated it yet"


def flagged(cache):
    return {row.name.rpartition(".")[2] for row in cache.report().functions if WARNING in row.warnings}


@pytest.fixture
def kept(cache):
    @cache.cached("user:{n}", ttl=None, tags=["team:{n}"])
    async def user(n: int):
        return n

    @cache.cached("user:{n}:posts", ttl=None)
    async def posts(n: int):
        return n

    @cache.cached_many("many:{}", ttl=None)
    async def many(ids: list[int]):
        return dict.fromkeys(ids, 1)

    @cache.cached("short:{n}", ttl=60)
    async def short(n: int):
        return n

    async def use():
        await user(1)
        await posts(1)
        await many([1])
        await short(1)
        return user, posts, many, short

    return use


@pytest.mark.asyncio
async def test_what_is_kept_until_invalidated_and_never_was_is_flagged(cache, kept):
    assert flagged(cache) == set(), "it may never be used"
    await kept()
    assert flagged(cache) == {"user", "posts", "many"}
    assert f"! {__name__}" in str(cache.report())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("invalidate", "left"),
    [
        (lambda cache: cache.invalidate("user:7"), {"posts", "many"}),
        (lambda cache: cache.invalidate(tags=["team:7"]), {"posts", "many"}),
        (lambda cache: cache.invalidate("user:7:posts"), {"user", "many"}),
        (lambda cache: cache.invalidate("many:3"), {"user", "posts"}),
        (lambda cache: cache.invalidate("short:1", "elsewhere", tags=["user:7"]), {"user", "posts", "many"}),
        (lambda cache: cache.clear(), set()),
    ],
)
async def test_one_invalidation_of_its_own_keys_or_tags_is_enough(cache, kept, invalidate, left):
    await kept()
    await invalidate(cache)
    assert flagged(cache) == left


@pytest.mark.asyncio
async def test_its_own_verb_and_a_block_count_as_well(cache, kept):
    user, posts, many, _ = await kept()
    await user.invalidate(1)
    assert flagged(cache) == {"posts", "many"}
    await many.invalidate([1])
    async with cache.writing(posts.key(1)):
        pass
    assert flagged(cache) == set()


@pytest.mark.asyncio
async def test_direct_calls_are_not_flagged(cache, load):
    load.gate.set()
    await cache.get_or_load("k", load, ttl=60)
    await cache.get_or_load("k", load, ttl=60)
    assert [row.warnings for row in cache.report().functions] == [()]


@pytest.mark.asyncio
async def test_a_pattern_that_reads_has_a_row_too(cache):
    class Source:
        async def load(self, ids):
            return dict.fromkeys(ids, 1)

    users = ReadThrough(cache, Source(), key="u:{}", tags=["t:{}"], ttl=None)
    await users.get(1)
    (row,) = cache.report().functions
    assert (row.name, row.stats.loads, row.warnings) == ("ReadThrough(u:{})", 1, (WARNING,))
    await cache.invalidate(tags=["t:5"])
    assert cache.report().functions[0].warnings == ()


# --- the parts --------------------------------------------------------------------------------------


def test_a_quantile_is_right_to_nine_percent_over_any_range():
    histogram = Histogram()
    assert (histogram.mean, histogram.quantile(0.5)) == (0, 0)
    values = [1e-9 * 1.5**n for n in range(60)]
    for value in values:
        histogram.add(value)
    for share in (0.25, 0.5, 0.9, 1.0):
        exact = values[round(share * len(values)) - 1]
        assert exact <= histogram.quantile(share) * 1.0001 <= max(exact * 1.1, 1.2e-8)
    assert histogram.mean == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "–"),
        (1.234, "1.23 s"),
        (0.0123, "12.3 ms"),
        (4.2e-5, "42 µs"),
        (3e-7, "300 ns"),
        (-0.5, "-500 ms"),
    ],
)
def test_durations_are_written_as_people_write_them(seconds, text):
    assert duration(seconds) == text


def test_hits_of_a_fast_path_are_kept_when_it_is_followed_no_more():
    tally, count = Tally("f"), 3
    counter = lambda: count  # noqa: E731
    tally.follow(counter)
    assert tally.all_hits == 3
    tally.unfollow(counter)
    tally.unfollow(counter)
    count = 100
    assert tally.all_hits == 3
    assert judge(tally, never_invalidated=False).stats.hits == 3


def test_a_total_is_a_sum():
    one, two = Tally("one"), Tally("two")
    one.hits, two.hits, two.loads = 1, 2, 3
    assert total([one, two], entries=5) == Stats(hits=3, loads=3, entries=5)


@given(st.lists(st.floats(0, 1e3), max_size=50), st.integers(0, 40))
def test_how_many_are_below_a_bound_is_exact(durations, octaves):
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    bound = 1e-8 * 2.0**octaves
    below = sum(seconds <= bound * (1 - 1e-9) for seconds in durations)
    at_most = sum(seconds <= bound * (1 + 1e-9) for seconds in durations)
    assert below <= histogram.below(octaves) <= at_most
