"""The wheel's promises: never too early, late by at most an eighth, few buckets, exact removal."""

from hypothesis import given
from hypothesis import strategies as st

from acache._entry import UNLINKED, Entry
from acache._expiry import Wheel

LIFETIMES = st.floats(min_value=1e-6, max_value=1e7)


def add(wheel, now, lifetime):
    entry = Entry.of(None, fresh_until=now + lifetime)
    wheel.add(entry, now)
    return entry


def take(wheel, now):
    """Return all that is due."""
    taken = []
    while (entry := wheel.due(now)) is not None:
        wheel.remove(entry)
        taken.append(entry)
    return taken


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=1e4), LIFETIMES), min_size=1))
def test_an_entry_is_due_after_it_expired_and_late_by_an_eighth_of_its_lifetime_at_most(steps):
    wheel = Wheel()
    now = 1_000.0
    waiting = {}
    for pause, lifetime in steps:
        now += pause
        for entry in take(wheel, now):
            assert entry.expires <= now
            del waiting[entry]
        assert all(now < latest for latest in waiting.values())
        entry = add(wheel, now, lifetime)
        waiting[entry] = entry.expires + max(lifetime / 8, 1 / 16) * 1.000001
    assert set(take(wheel, max(waiting.values()))) == set(waiting)
    assert wheel.next == float("inf")


@given(st.lists(st.tuples(LIFETIMES, st.booleans())))
def test_what_was_removed_is_never_due(steps):
    wheel = Wheel()
    kept = set()
    for lifetime, stays in steps:
        entry = add(wheel, 0.0, lifetime)
        if stays:
            kept.add(entry)
        else:
            wheel.remove(entry)
            assert entry.sooner is entry.later is UNLINKED
    assert set(take(wheel, 1e8)) == kept


def test_there_are_few_buckets_however_many_entries():
    wheel = Wheel()
    for number in range(20_000):
        now = number * 0.37
        take(wheel, now)
        add(wheel, now, 0.001 * 1.9 ** (number % 32))
    assert len(wheel._buckets) == len(wheel._times) <= 500


def test_the_shortest_lives_share_a_bucket():
    wheel = Wheel()
    for number in range(1, 1_000):
        add(wheel, 0.0, number * 6e-5)
    assert len(wheel._buckets) == 1


def test_nothing_is_due_before_the_first_bucket_is():
    wheel = Wheel()
    assert wheel.next == float("inf")
    add(wheel, 0.0, 300.0)
    entry = add(wheel, 0.0, 2.0)
    assert 2.0 < wheel.next <= 2.25
    assert wheel.due(wheel.next - 1e-9) is None
    assert wheel.due(wheel.next) is entry


def test_a_short_life_does_not_end_in_a_bucket_that_is_meant_for_long_ones():
    wheel = Wheel()
    long = add(wheel, 0.0, 8_192.0)
    short = add(wheel, 8_190.0, 2.5)
    assert long.later is not short
    assert take(wheel, 8_192.75) == [short]


def test_a_bucket_that_was_emptied_is_not_used_again():
    wheel = Wheel()
    add(wheel, 0.0, 10.0)
    time = wheel.next
    take(wheel, time)
    late = add(wheel, 0.0, 10.0)
    assert wheel.due(time) is late


def test_a_cleared_wheel_knows_nothing():
    wheel = Wheel()
    for lifetime in (100.0, 1.01, 1.0):
        add(wheel, 0.0, lifetime)
    wheel.clear()
    assert wheel.due(1e9) is None
    entry = add(wheel, 0.0, 1.0)
    assert take(wheel, 2.0) == [entry]
