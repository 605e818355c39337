"""Figures from what was recorded. Pure: no clock, no randomness, no I/O."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil, exp, inf, log
from typing import Final

EULER: Final = 0.5772156649015329

Span = tuple[float, float]
"""When something began and when it ended, in seconds."""


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Return the smallest of *ordered* (ascending) that at least *fraction* of them do not exceed.

    0.0 where there is nothing to rank."""
    if not ordered:
        return 0.0
    return ordered[max(ceil(fraction * len(ordered)), 1) - 1]


def peak(spans: Iterable[Span]) -> int:
    """Return how many of *spans* overlapped at most; one that ends as another begins does not overlap it."""
    steps = sorted(step for begin, end in spans if begin < end for step in ((begin, 1), (end, -1)))
    return max(accumulate(change for _, change in steps), default=0)


def peak_of_one_key(spans: Iterable[tuple[int, Span]]) -> int:
    """Return the highest peak among the keys."""
    by_key: defaultdict[int, list[Span]] = defaultdict(list)
    for key, span in spans:
        by_key[key].append(span)
    return max((peak(of_key) for of_key in by_key.values()), default=0)


def buckets(moments: Iterable[float], *, width: float, count: int) -> tuple[int, ...]:
    """Return how many *moments* fall into each of *count* buckets of *width* seconds, counted from 0.

    The last bucket takes what comes after it."""
    filled = [0] * count
    for moment in moments:
        filled[min(int(moment / width), count - 1)] += 1
    return tuple(filled)


def entire_exponential_integral(x: float) -> float:
    """Return Ein(x) = ln(x) + Euler's constant + E1(x), the integral of (1 - exp(-u))/u from 0 to *x* ≥ 0.

    The power series below 1, where the logarithm and E1 cancel; Lentz's continued fraction of E1 above
    (Abramowitz and Stegun 5.1.11 and 5.1.22). Accurate to about 1e-12."""
    return _ein_series(x) if x < 1 else log(x) + EULER + _e1_fraction(x)


def _ein_series(x: float) -> float:
    total, power, k = 0.0, 1.0, 0
    while True:
        k += 1
        power *= -x / k
        term = -power / k
        total += term
        if abs(term) <= 1e-17 * abs(total):
            return total


def _e1_fraction(x: float) -> float:
    b, c, d = x + 1, inf, 1 / (x + 1)
    fraction, k = d, 0
    while True:
        k += 1
        b += 2
        d = 1 / (b - k * k * d)
        c = b - k * k / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            return fraction * exp(-x)


def head_start(*, rate: float, delta: float, beta: float = 1.0) -> float:
    """Return how long before expiry XFetch refreshes on average, in seconds.

    Reads are Poisson with *rate* per second, a load takes *delta* seconds. The closed form
    beta·delta·(ln(n·beta) + 0.5772 + E1(n·beta)), n = rate·delta, counts 0 where no draw fires."""
    return beta * delta * entire_exponential_integral(rate * delta * beta)


def expected_loads(*, elapsed: float, ttl: float, head: float) -> float:
    """Return how many loads a key needs if each one is renewed *head* seconds before its *ttl* ends.

    *elapsed* is the time between its first load and its last, hence the 1, without the time spent loading."""
    return 1 + elapsed / (ttl - head)
