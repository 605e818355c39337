"""The figures of the demo: against numeric integration, brute force and XFetch itself."""

import random
from itertools import pairwise
from math import ceil, exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache.cli.demo.measure import (
    buckets,
    expected_loads,
    peak,
    peak_of_one_key,
    percentile,
)
from acache.cli.xfetch import entire_exponential_integral, head_start


def integral(f, low, high, steps=20_000):
    """Simpson's rule."""
    h = (high - low) / steps
    inner = sum((4 if n % 2 else 2) * f(low + n * h) for n in range(1, steps))
    return h / 3 * (f(low) + inner + f(high))


# --- the closed form of XFetch ----------------------------------------------------------------------


@pytest.mark.parametrize("x", [1e-9, 0.01, 0.5, 0.999_999, 1.0, 1.000_001, 2.0, 7.5, 40.0])
def test_ein_is_the_integral_that_defines_it(x):
    assert entire_exponential_integral(x) == pytest.approx(
        integral(lambda u: (1 - exp(-u)) / u if u else 1.0, 0, x), rel=1e-9
    )


def test_ein_of_nothing_is_nothing():
    assert entire_exponential_integral(0.0) == 0.0


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("rate", [20.0, 200.0, 2_000.0])
def test_the_head_start_is_the_integral_of_the_odds_that_a_draw_has_fired(rate, beta):
    delta = 0.01
    # Reads at *rate* fire at s before expiry with odds exp(-s / (beta delta)): a thinned Poisson process.
    fired = integral(
        lambda s: 1 - exp(-rate * beta * delta * exp(-s / (beta * delta))), 0, 40 * beta * delta, 4_000
    )
    assert head_start(rate=rate, delta=delta, beta=beta) == pytest.approx(fired, rel=1e-6)


@pytest.mark.parametrize(("rate", "delta"), [(100.0, 0.01), (1_000.0, 0.01)])
def test_the_head_start_is_what_xfetch_does_under_poisson_reads(rate, delta):
    rng = random.Random(1)
    heads = [xfetch_head_start(rng, rate=rate, delta=delta, ttl=1.0) for _ in range(3_000)]
    assert sum(heads) / len(heads) == pytest.approx(head_start(rate=rate, delta=delta), rel=0.05)


def xfetch_head_start(rng, *, rate, delta, ttl):
    """How long before its expiry one value is refreshed by readers who draw; 0 if nobody does."""
    now = ttl - 40 * delta  # earlier no draw fires in practice
    while True:
        now += rng.expovariate(rate)
        if now >= ttl:
            return 0.0
        if now - delta * log(1 - rng.random()) >= ttl:
            return ttl - now


def test_a_value_renewed_ahead_of_its_expiry_needs_more_loads():
    assert expected_loads(elapsed=4.0, ttl=0.5, head=0.1) == pytest.approx(11)
    assert expected_loads(elapsed=4.0, ttl=0.5, head=0.0) == pytest.approx(9)


# --- percentiles, overlaps, buckets -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([], 0.5, 0.0),
        ([3.0], 0.0, 3.0),
        ([3.0], 0.99, 3.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0], 0.51, 2.0),
        (range(1, 101), 0.5, 50),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 1.0, 100),
    ],
)
def test_percentiles_by_nearest_rank(values, fraction, expected):
    assert percentile(list(values), fraction) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted), st.integers(0, 100))
def test_a_percentile_is_the_least_value_that_covers_its_fraction(ordered, hundredths):
    found = percentile(ordered, hundredths / 100)
    needed = ceil(hundredths / 100 * len(ordered))
    assert sum(value <= found for value in ordered) >= needed
    assert sum(value < found for value in ordered) < max(needed, 1)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(0, 1)], 1),
        ([(0, 1), (1, 2)], 1),  # one begins as the other ends
        ([(0, 2), (1, 3)], 2),
        ([(0, 9), (1, 2), (3, 4)], 2),
        ([(0, 1)] * 5, 5),
        ([(1, 1)] * 5, 0),  # void from the start
        ([(0, float("inf")), (5, 6)], 2),
    ],
)
def test_the_peak_is_how_many_spans_overlapped_at_most(spans, expected):
    assert peak(spans) == expected


SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted).map(tuple))


@given(SPANS)
def test_the_peak_is_what_counting_at_every_moment_finds(spans):
    assert peak(spans) == max((sum(a <= t + 0.5 < b for a, b in spans) for t in range(20)), default=0)


def test_the_peak_of_one_key_does_not_add_up_keys():
    assert peak_of_one_key([(1, (0, 9)), (2, (0, 9)), (2, (1, 2)), (3, (0, 9))]) == 2
    assert peak_of_one_key([]) == 0


@given(st.lists(st.floats(0, 10)))
def test_buckets_lose_nothing(moments):
    filled = buckets(moments, width=0.25, count=8)
    assert len(filled) == 8
    assert sum(filled) == len(moments)


def test_a_moment_falls_into_the_bucket_that_it_begins():
    assert buckets([0.0, 0.9, 1.0, 99.0], width=1.0, count=3) == (2, 1, 1)
    assert all(a == b for a, b in pairwise(buckets([0.5, 1.5, 2.5], width=1.0, count=3)))
