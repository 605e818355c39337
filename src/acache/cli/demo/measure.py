"""Figures from what was recorded. Pure: no clock, no randomness, no I/O."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil

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


def expected_loads(*, elapsed: float, ttl: float, head: float) -> float:
    """Return how many loads a key needs if each one is renewed *head* seconds before its *ttl* ends.

    *elapsed* is the time between its first load and its last, hence the 1, without the time spent loading."""
    return 1 + elapsed / (ttl - head)
