"""Count what a cached function does and judge whether caching it pays. Pure: figures in, figures out."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, log2
from typing import Any, Final, Literal

SAMPLE_EVERY: Final = 1024  # hits per timed hit

_BUCKETS_PER_OCTAVE: Final = 8
_SMALLEST: Final = 1e-8  # seconds; below it durations are not told apart


class Histogram:
    """Durations in buckets that grow by 9 %: a quantile is right to that, whatever the range."""

    __slots__ = ("_buckets", "count", "total")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        bucket = ceil(log2(seconds / _SMALLEST) * _BUCKETS_PER_OCTAVE) if seconds > _SMALLEST else 0
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds

    @property
    def mean(self) -> float:
        """The mean in seconds, 0 while empty."""
        return self.total / self.count if self.count else 0.0

    def below(self, octaves: int) -> int:
        """Return how many were at most 10 ns · 2^octaves, exactly: buckets end there."""
        last = octaves * _BUCKETS_PER_OCTAVE
        return sum(count for bucket, count in self._buckets.items() if bucket <= last)

    def quantile(self, share: float) -> float:
        """Return the duration below which *share* (0 to 1) of them lie; 0 while empty."""
        rank = share * self.count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return float(_SMALLEST * 2.0 ** (bucket / _BUCKETS_PER_OCTAVE))
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts since the start. `hits` are reads served without waiting for a load."""

    hits: int = 0
    misses: int = 0
    loads: int = 0
    coalesced: int = 0  # reads that waited for somebody else's load
    waited: float = 0.0  # seconds that these waited, all together
    early: int = 0  # refreshes before expiry (XFetch)
    stale: int = 0  # reads served with a value past its ttl
    errors: int = 0  # loads that failed
    timeouts: int = 0  # reads that gave up waiting
    discarded: int = 0  # loaded values not stored because something changed meanwhile
    sets: int = 0
    invalidations: int = 0
    verified: int = 0  # hits that were checked against a new load (`verify`)
    inconsistent: int = 0  # ... and differed from it
    evictions: int = 0
    entries: int = 0  # in the local store now
    loading: int = 0  # loads that run now

    @property
    def hit_ratio(self) -> float:
        """Hits over reads, 0 before the first."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0


class Tally:
    """The running figures of one cached function, or of the cache's direct calls."""

    __slots__ = (
        "_counters",
        "checks",
        "coalesced",
        "discarded",
        "early",
        "errors",
        "head_start",
        "head_starts",
        "hit_age",
        "hit_time",
        "hits",
        "invalidations",
        "lease_time",
        "load_time",
        "loads",
        "misses",
        "name",
        "sets",
        "stale",
        "timeouts",
        "ttl",
        "waited",
        "warned",
    )

    def __init__(self, name: str, *, ttl: float | None = None) -> None:
        """Start at zero for the function *name*, whose values live *ttl* seconds."""
        self.name = name
        self.ttl = ttl
        self.hits = 0  # those that took the slow path; the fast ones are counted where they happen
        self._counters: list[Callable[[], int]] = []  # of the generated hit paths
        self.misses = self.loads = self.coalesced = self.early = self.stale = 0
        self.errors = self.timeouts = self.discarded = self.sets = self.invalidations = 0
        self.load_time = Histogram()
        self.hit_time = Histogram()
        self.hit_age = Histogram()  # of the values that the timed hits served
        self.lease_time = Histogram()  # that loads waited for another process's
        self.waited = 0.0  # seconds that coalesced reads waited, all together
        self.head_start = 0.0
        self.head_starts = 0
        self.warned = False
        self.checks = [[0, 0] for _ in AGES]  # checked and inconsistent hits, by age

    def follow(self, counter: Callable[[], int]) -> None:
        """Add to the hits what a generated hit path counts from now on, beginning at zero."""
        self._counters.append(counter)

    def unfollow(self, counter: Callable[[], int]) -> None:
        """Keep what *counter* says now, if it was followed, and ask it no more."""
        if counter in self._counters:
            self._counters.remove(counter)
            self.hits += counter()

    @property
    def all_hits(self) -> int:
        """Hits of both paths."""
        return self.hits + sum(counter() for counter in self._counters)

    def started_early(self, head_start: float) -> bool:
        """Note a refresh *head_start* seconds before expiry; say whether to warn, which is once."""
        self.early += 1
        self.head_start += head_start
        self.head_starts += 1
        mean = self.head_start / self.head_starts
        too_long = self.ttl is not None and self.head_starts >= MIN_HEAD_STARTS and mean > self.ttl / 2
        warn = too_long and not self.warned
        self.warned = self.warned or warn
        return warn

    def verified(self, age: float, *, consistent: bool) -> None:
        """Note that a hit *age* seconds old was checked."""
        checks = self.checks[bisect_left(AGES, age)]
        checks[0] += 1
        checks[1] += not consistent

    def snapshot(self) -> Stats:
        """Return the figures now."""
        return Stats(
            hits=self.all_hits,
            misses=self.misses,
            loads=self.loads,
            coalesced=self.coalesced,
            waited=self.waited,
            early=self.early,
            stale=self.stale,
            errors=self.errors,
            timeouts=self.timeouts,
            discarded=self.discarded,
            sets=self.sets,
            invalidations=self.invalidations,
            verified=sum(checked for checked, _ in self.checks),
            inconsistent=sum(differed for _, differed in self.checks),
        )


AGES: Final = (1.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0, inf)  # seconds: the groups of checked hits
MIN_HEAD_STARTS: Final = 5  # early refreshes before their mean says anything


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedHits:
    """Hits up to an age that were checked against a new load (`verify`)."""

    up_to: float  # seconds; inf in the last group
    checked: int
    inconsistent: int

    @property
    def rate(self) -> float:
        """The share that differed."""
        return self.inconsistent / self.checked


Worth = Literal["worth it", "costs more than it saves", "not enough data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionReport:
    """What caching one function did. Times in seconds."""

    name: str
    stats: Stats
    load_mean: float
    load_p50: float
    load_p99: float
    hit_p50: float  # sampled, one hit in 1,024
    hit_p99: float
    time_saved: float  # hits · (mean load - mean hit)
    verdict: Worth
    warnings: tuple[str, ...] = ()
    checks: tuple[CheckedHits, ...] = ()  # by age, those groups that have any
    # The distributions behind these, as they are now and go on; for exporters.
    load_time: Histogram = field(default_factory=Histogram, repr=False)
    hit_time: Histogram = field(default_factory=Histogram, repr=False)
    hit_age: Histogram = field(default_factory=Histogram, repr=False)
    lease_time: Histogram = field(default_factory=Histogram, repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """What caching did, per function. Printing it shows a table."""

    functions: tuple[FunctionReport, ...] = field(default=())

    def __str__(self) -> str:
        """Return the table."""
        rows = [_HEAD, *(_row(function) for function in self.functions)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        notes = [f"! {f.name}: {warning}" for f in self.functions for warning in f.warnings]
        return "\n".join([*(line.rstrip() for line in lines), *notes])


_COUNTS: Final = ("hits", "misses", "coalesced", "loads", "errors", "early", "stale", "discarded")
_HEAD: Final = (
    "function",
    *_COUNTS,
    "ratio",
    "load p50",
    "load p99",
    "hit p50",
    "hit p99",
    "saved",
    "verdict",
)


def _row(function: FunctionReport) -> tuple[str, ...]:
    stats = function.stats
    return (
        function.name,
        *(f"{getattr(stats, count):,}" for count in _COUNTS),
        f"{stats.hit_ratio:.1%}",
        duration(function.load_p50),
        duration(function.load_p99),
        duration(function.hit_p50),
        duration(function.hit_p99),
        duration(function.time_saved),
        function.verdict,
    )


def duration(seconds: float) -> str:
    """Return seconds as people write them: 1.2 ms, 350 ns."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds else "–"


def judge(tally: Tally, *, never_invalidated: bool) -> FunctionReport:
    """Return the report of one function.

    *never_invalidated*: its values have no ttl, and nothing has invalidated a key or tag of it yet."""
    load, hit = tally.load_time, tally.hit_time
    saved = tally.all_hits * (load.mean - hit.mean) if load.count else 0.0
    if not load.count or not tally.all_hits:
        verdict: Worth = "not enough data"
    else:
        verdict = "worth it" if load.mean > hit.mean else "costs more than it saves"
    warnings: list[str] = []
    if never_invalidated and load.count:
        warnings.append("kept until invalidated, and nothing has invalidated it yet")
    if tally.warned:
        warnings.append("XFetch refreshes it in the first half of its ttl: lower beta or raise the ttl")
    checks = tuple(
        CheckedHits(up_to=up_to, checked=checked, inconsistent=inconsistent)
        for up_to, (checked, inconsistent) in zip(AGES, tally.checks, strict=True)
        if checked
    )
    if any(group.inconsistent for group in checks):
        warnings.append(_inconsistency(checks))
    return FunctionReport(
        name=tally.name,
        stats=tally.snapshot(),
        load_mean=load.mean,
        load_p50=load.quantile(0.5),
        load_p99=load.quantile(0.99),
        hit_p50=hit.quantile(0.5),
        hit_p99=hit.quantile(0.99),
        time_saved=saved,
        verdict=verdict,
        warnings=tuple(warnings),
        checks=checks,
        load_time=load,
        hit_time=hit,
        hit_age=tally.hit_age,
        lease_time=tally.lease_time,
    )


def _inconsistency(checks: Sequence[CheckedHits]) -> str:
    groups = ", ".join(
        f"{group.inconsistent} of {group.checked} "
        + ("of any age" if group.up_to == inf else f"up to {duration(group.up_to)} old")
        for group in checks
    )
    return f"checked hits that differed from a new load, by age: {groups}"


def total(tallies: Iterable[Tally], **more: int) -> Stats:
    """Return the sum of *tallies*, with figures that only the cache knows added."""
    sums: dict[str, Any] = dict.fromkeys(Stats.__slots__, 0)
    for tally in tallies:
        snapshot = tally.snapshot()
        for name in sums:
            sums[name] += getattr(snapshot, name)
    for name, value in more.items():
        sums[name] += value
    return Stats(**sums)
