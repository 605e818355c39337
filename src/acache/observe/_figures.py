"""The figures of a cache that are worth watching: name, unit, meaning, and where each comes from.

Knows no exporter. Figures are per function, never per key: keys are without bound and may be personal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from acache import WriteBehind
from acache._health import Health
from acache._stats import FunctionReport

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure(Generic[T]):
    """One figure of a T; None where there is nothing to say."""

    name: str
    unit: str  # as UCUM writes it: "s", or a word in braces; "1" for yes or no
    text: str
    read: Callable[[T], float | None]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram of a function: the attribute of its report, and where buckets of exporters end."""

    name: str
    attribute: str
    text: str
    octaves: range  # a bucket ends at 10 ns · 2^octave


# Each only grows.
FUNCTION: Final[tuple[Figure[FunctionReport], ...]] = (
    Figure("hits", "{read}", "Reads served without waiting for a load.", lambda f: f.stats.hits),
    Figure("misses", "{read}", "Reads that waited for a load.", lambda f: f.stats.misses),
    Figure("stale", "{read}", "Reads served with a value past its ttl.", lambda f: f.stats.stale),
    Figure("coalesced", "{read}", "Reads that joined another's load.", lambda f: f.stats.coalesced),
    Figure("coalesced_wait", "s", "Time that coalesced reads waited, in sum.", lambda f: f.stats.waited),
    Figure("timeouts", "{read}", "Reads that gave up waiting.", lambda f: f.stats.timeouts),
    Figure("loads", "{load}", "Loads that were started.", lambda f: f.stats.loads),
    Figure("early", "{load}", "Loads that XFetch started before expiry.", lambda f: f.stats.early),
    Figure("load_errors", "{load}", "Loads that failed.", lambda f: f.stats.errors),
    Figure(
        "discarded",
        "{load}",
        "Loaded values not stored, because the key or a tag changed meanwhile.",
        lambda f: f.stats.discarded,
    ),
    Figure("verified", "{hit}", "Hits that were checked against a new load.", lambda f: f.stats.verified),
    Figure(
        "inconsistent", "{hit}", "Checked hits that differed from a new load.", lambda f: f.stats.inconsistent
    ),
    Figure("invalidations", "{call}", "Calls of a function's invalidate().", lambda f: f.stats.invalidations),
    Figure(
        "time_saved", "s", "Hits times what a load takes longer than a hit.", lambda f: max(0.0, f.time_saved)
    ),
)

CACHE: Final[tuple[Figure[Health], ...]] = (
    Figure("entries", "{entry}", "Entries in the local store.", lambda h: h.entries),
    Figure("loading", "{load}", "Loads under way.", lambda h: h.loading),
    Figure(
        "remote_up",
        "1",
        "1 while the remote store answers, 0 while its circuit breaker is open.",
        lambda h: None if h.remote == "none" else float(h.remote == "up"),
    ),
    Figure(
        "near_trusted",
        "1",
        "1 while near copies are served, 0 while the feed is too late to trust them.",
        lambda h: None if h.remote == "none" else float(h.near_trusted),
    ),
    Figure("near_lag", "s", "Time since every change had been heard of.", lambda h: h.near_lag),
    Figure(
        "pending_invalidations",
        "{name}",
        "Keys and tags whose invalidation has not reached the remote store.",
        lambda h: h.pending_invalidations,
    ),
)

BACKLOG: Final[tuple[Figure[WriteBehind[Any, Any]], ...]] = (
    Figure("backlog", "{write}", "Writes that have not reached the source.", lambda p: p.backlog.pending),
    Figure("backlog_age", "s", "Age of the oldest of them.", lambda p: p.backlog.oldest_age),
    Figure("backlog_retrying", "{write}", "Writes whose last try failed.", lambda p: p.backlog.retrying),
    Figure("dead_letters", "{write}", "Writes refused for their data.", lambda p: p.backlog.dead),
)

# 4 times apart: 10 µs to 43 s; for hits 80 ns to 5 ms; for ages 2.6 ms to 2 weeks, 16 times apart.
DISTRIBUTIONS: Final = (
    Distribution("load_duration", "load_time", "How long loads took.", range(10, 33, 2)),
    Distribution("lease_wait", "lease_time", "How long loads waited for others'.", range(10, 33, 2)),
    Distribution("hit_duration", "hit_time", "How long one hit in 1,024 took.", range(3, 20, 2)),
    Distribution("hit_age", "hit_age", "Age of what one hit in 1,024 served.", range(18, 47, 4)),
)
