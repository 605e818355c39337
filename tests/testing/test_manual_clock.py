"""ManualClock: stands still, moves when told, and may be bound once."""

import math

import pytest

from acache.clock import Clock
from acache.testing import ManualClock
from acache.testing.clock import MONOTONIC_START, WALL_START


def test_it_satisfies_the_protocol_that_caches_ask_for():
    clock: Clock = ManualClock()
    assert (clock.time(), clock.monotonic()) == (WALL_START, MONOTONIC_START)


def test_the_two_readings_start_far_apart():
    assert WALL_START - MONOTONIC_START > 1e9


def test_advance_moves_both_readings():
    clock = ManualClock(wall=100.0, monotonic=5.0)
    clock.advance(2.5)
    clock.advance(0)
    assert (clock.time(), clock.monotonic()) == (102.5, 7.5)


def test_a_reading_that_was_bound_early_follows_later_moves():
    clock = ManualClock()
    time, monotonic = clock.time, clock.monotonic
    clock.advance(10)
    assert (time(), monotonic()) == (WALL_START + 10, MONOTONIC_START + 10)


@pytest.mark.parametrize("seconds", [-1.0, -1e-9, math.inf, math.nan])
def test_a_distance_that_is_not_forward_and_finite_is_refused(seconds):
    clock = ManualClock()
    with pytest.raises(ValueError, match="seconds must be finite"):
        clock.advance(seconds)
    assert clock.monotonic() == MONOTONIC_START


def test_skew_moves_the_wall_alone_in_either_direction():
    clock = ManualClock(wall=100.0, monotonic=5.0)
    clock.skew(-30)
    assert (clock.time(), clock.monotonic()) == (70.0, 5.0)
