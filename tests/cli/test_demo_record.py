"""What the recorder calls stale and void, by histories that were made up for it."""

from math import inf

import pytest

from acache.cli.demo.result import refresh_result, strategy_result

KEY, OTHER = 1, 2

# r and R: a read begins, ends; i and I: an invalidation is called, has returned; with the row's version.
HISTORIES = [
    ("read after the invalidation, old row", "i I5 r R4", True),
    ("read after the invalidation, much older row", "i I5 r R1", True),
    ("read after the invalidation, that row", "i I5 r R5", False),
    ("read after the invalidation, newer row", "i I5 r R6", False),
    ("read began before it returned", "r i I5 R4", False),
    ("read began between its call and its return", "i r I5 R4", False),
    ("no invalidation at all", "r R1", False),
    ("an older invalidation that returns later does not lower the floor", "i i I5 I4 r R4", True),
    ("the read never ended", "i I5 r", False),
]


@pytest.mark.parametrize(("steps", "stale"), [pytest.param(*row[1:], id=row[0]) for row in HISTORIES])
def test_stale_is_a_row_older_than_an_invalidation_that_had_returned(hand, recorder, steps, stale):
    read = None
    for step in steps.split():
        hand.now += 1
        verb, version = step[0], int(step[1:] or 0)
        if verb == "r":
            read = recorder.read_begins(KEY)
        elif verb == "R":
            recorder.read_ends(read, version)
        elif verb == "i":
            recorder.invalidation_begins(KEY)
        else:
            recorder.invalidation_returned(KEY, version)
    recorder.stop()
    assert read.stale is stale
    assert strategy_result("x", recorder).stale_reads == stale


def test_an_invalidation_makes_only_reads_of_its_own_key_stale(recorder):
    recorder.invalidation_begins(KEY)
    recorder.invalidation_returned(KEY, 5)
    read = recorder.read_begins(OTHER)
    recorder.read_ends(read, 1)
    assert not read.stale


def test_a_load_that_an_invalidation_meets_is_void_from_then_on(hand, recorder):
    met, other = recorder.load_begins(KEY), recorder.load_begins(OTHER)
    hand.now = 1
    recorder.invalidation_begins(KEY)
    hand.now = 2
    recorder.invalidation_returned(KEY, 2)
    after = recorder.load_begins(KEY)
    hand.now = 3
    for load in (met, other, after):
        recorder.load_ends(load)
    assert (met.span, met.valid_span) == ((0, 3), (0, 1))
    assert other.valid_span == (0, 3)
    assert after.valid_span == (2, 3)


def test_a_load_that_begins_between_the_call_and_the_return_of_an_invalidation_is_void(hand, recorder):
    recorder.invalidation_begins(KEY)
    hand.now = 1
    load, other = recorder.load_begins(KEY), recorder.load_begins(OTHER)
    recorder.invalidation_returned(KEY, 2)
    assert load.valid_span == (1, 1)
    assert other.valid_span == (1, inf)


def test_a_load_that_had_ended_is_not_void(hand, recorder):
    load = recorder.load_begins(KEY)
    hand.now = 1
    recorder.load_ends(load)
    recorder.invalidation_begins(KEY)
    recorder.invalidation_returned(KEY, 2)
    assert load.voided == inf


def test_two_loads_of_one_key_are_a_peak_of_two_unless_one_is_void(hand, recorder):
    first = recorder.load_begins(KEY)
    recorder.load_runs(first)
    hand.now = 1
    recorder.invalidation_begins(KEY)
    recorder.invalidation_returned(KEY, 2)
    second = recorder.load_begins(KEY)
    hand.now = 2
    recorder.load_ends(first)
    recorder.load_ends(second)
    recorder.stop()
    found = strategy_result("x", recorder)
    assert (found.peak_of_one_key, found.peak_of_one_key_not_void) == (2, 1)


def test_a_query_counts_when_it_gets_a_connection(hand, recorder):
    ran, waited = recorder.load_begins(KEY), recorder.load_begins(KEY)
    hand.now = 1
    recorder.load_runs(ran)
    hand.now = 2
    recorder.stop()
    recorder.load_ends(waited)
    found = strategy_result("x", recorder)
    assert (found.queries, found.queries_of_hottest_key, found.peak_of_one_key) == (1, 1, 2)


def test_an_unfinished_read_counts_with_its_age(hand, recorder):
    done = recorder.read_begins(KEY)
    hand.now = 1
    recorder.read_ends(done, 1)
    recorder.read_begins(KEY)
    hand.now = 4
    recorder.stop()
    assert sorted(recorder.latencies()) == [1, 3]
    found = strategy_result("x", recorder)
    assert (found.reads, found.unfinished_reads, found.p99_ms) == (1, 1, 3_000)
    assert found.reads_per_second == 0.25


# --- the refresh phase ------------------------------------------------------------------------------


def renewed_every(period, hand, recorder, *, loads=20, took=0.01):
    """A key that is loaded again *period* seconds after each load, and read four times a load."""
    for _ in range(loads):
        load = recorder.load_begins(KEY)
        recorder.load_runs(load)
        for _ in range(4):
            recorder.read_begins(KEY)
        hand.now += took
        recorder.load_ends(load)
        hand.now += period
    recorder.stop()


def test_loads_at_the_closed_forms_pace_pass(hand, recorder):
    renewed_every(0.49, hand, recorder)
    found = refresh_result(recorder, ttl=0.5)
    assert found.passed
    assert found.ratio == pytest.approx(1, abs=0.03)
    assert found.keys[0].measured_head_start_ms == pytest.approx(10)


@pytest.mark.parametrize("period", [0.25, 0.4, 0.6])
def test_loads_too_often_or_too_seldom_fail(hand, recorder, period):
    renewed_every(period, hand, recorder)
    assert not refresh_result(recorder, ttl=0.5).passed


def test_a_key_whose_loads_are_too_long_for_the_closed_form_is_not_judged(hand, recorder):
    renewed_every(0.1, hand, recorder, took=0.3)
    assert refresh_result(recorder, ttl=0.5).keys == ()


def test_a_key_that_was_loaded_twice_says_nothing(hand, recorder):
    renewed_every(0.49, hand, recorder, loads=2)
    found = refresh_result(recorder, ttl=0.5)
    assert (found.keys, found.passed) == ((), False)
