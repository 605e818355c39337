"""What the demo found, as frozen values: the JSON file is these, field by field. Knows nothing of the run."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final

from acache.cli.demo.measure import buckets, expected_loads, peak_of_one_key, percentile
from acache.cli.demo.record import LoadRecord, Recorder
from acache.cli.xfetch import head_start

SCHEMA: Final = 1
"""Grows when a field of the JSON file is renamed, removed or means something else."""
TOLERANCE: Final = 0.05
"""How far the loads of the refresh phase may be from the closed form, on average over the keys."""
_BUCKETS: Final = 48
_FRACTIONS: Final = (*(n / 100 for n in range(1, 100)), *(n / 1000 for n in range(991, 1001)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyResult:
    """One strategy under the traffic. Latencies in milliseconds, of unfinished reads their age at the end."""

    name: str
    seconds: float
    reads: int
    reads_per_second: float
    unfinished_reads: int
    queries: int
    """That reached the database, that is, got a connection."""
    queries_of_hottest_key: int
    void_queries: int
    """Of those, how many ran while their key was invalidated: later readers may not get what they found."""
    peak_of_one_key: int
    """Most queries of one key in flight at once, those that wait for a connection included."""
    peak_of_one_key_not_void: int
    writes: int
    stale_reads: int
    p50_ms: float
    p99_ms: float
    latency_ms: tuple[tuple[float, float], ...]
    """Pairs of a fraction of the reads and the latency that it does not exceed."""
    bucket_seconds: float
    queries_over_time: tuple[int, ...]
    stale_reads_over_time: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyResult:
    """One key of the refresh phase. Durations in milliseconds."""

    key: int
    reads_per_second: float
    mean_load_ms: float
    head_start_ms: float
    """How long before expiry the closed form of XFetch refreshes, on average, for this rate and load."""
    measured_head_start_ms: float
    loads: int
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """acache without invalidations: loads of each key against the closed form."""

    seconds: float
    ttl: float
    keys: tuple[KeyResult, ...]
    ratio: float
    """The mean of loads / expected."""
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TagLine:
    """One cached key before and after the invalidation of a tag."""

    key: str
    tags: tuple[str, ...]
    kept: bool
    before: str
    after: str
    """What the next read returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsResult:
    """The invalidation of one tag."""

    tag: str
    keys: tuple[TagLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """One way to write, by many writers at once. Latencies until the acknowledgement, in milliseconds."""

    name: str
    acknowledged: int
    rows_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KillResult:
    """A process that wrote behind, killed with -9, and the recovery."""

    acknowledged: int
    """Writes that had returned in the killed process."""
    sessions: int
    """Rows that they were for."""
    missing: int
    """Rows that the table lacked, or held older, when the process was dead."""
    recovered: int
    """Rows that the journal brought back."""
    recovery_ms: float
    lost: int
    """Rows that the table lacks, or holds older, after the recovery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WritesResult:
    """Write-through against write-behind on one SQLite table, which syncs every commit."""

    writers: int
    patterns: tuple[WriteResult, ...]
    flush_ms: float
    """Until the last acknowledged write of write-behind was in the table."""
    kill: KillResult


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Everything that one run found, and what is needed to run it again."""

    version: str
    python: str
    cores: int
    seed: int
    readers: int
    hot_keys: int
    ttl: float
    writes_per_second: float
    total_seconds: float
    strategies: tuple[StrategyResult, ...]
    refresh: RefreshResult
    tags: TagsResult
    writes: WritesResult

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"


def strategy_result(name: str, recorder: Recorder) -> StrategyResult:
    """Sum up a stopped run."""
    seconds = recorder.stopped
    ran = [load for load in recorder.loads if load.ran < seconds]
    latencies = [1000 * latency for latency in sorted(recorder.latencies())]
    finished = sum(read.ended < seconds for read in recorder.reads)
    stale = [read.ended for read in recorder.reads if read.stale]
    width = seconds / _BUCKETS
    return StrategyResult(
        name=name,
        seconds=seconds,
        reads=finished,
        reads_per_second=finished / seconds,
        unfinished_reads=len(recorder.reads) - finished,
        queries=len(ran),
        queries_of_hottest_key=max(Counter(load.key for load in ran).values(), default=0),
        void_queries=sum(load.voided < load.ended for load in ran),
        peak_of_one_key=peak_of_one_key((load.key, load.span) for load in recorder.loads),
        peak_of_one_key_not_void=peak_of_one_key((load.key, load.valid_span) for load in recorder.loads),
        writes=recorder.writes,
        stale_reads=len(stale),
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
        latency_ms=tuple((fraction, percentile(latencies, fraction)) for fraction in _FRACTIONS),
        bucket_seconds=width,
        queries_over_time=buckets((load.ran for load in ran), width=width, count=_BUCKETS),
        stale_reads_over_time=buckets(stale, width=width, count=_BUCKETS),
    )


def refresh_result(recorder: Recorder, *, ttl: float) -> RefreshResult:
    """Compare the loads of a stopped run without invalidations with the closed form, key by key.

    Left out are keys that were not loaded three times, which say nothing about a period, and those whose
    head start would exceed half of the ttl: the closed form is for loads that are short beside it."""
    loads: defaultdict[int, list[LoadRecord]] = defaultdict(list)
    for load in recorder.loads:
        if load.ended < recorder.stopped:
            loads[load.key].append(load)
    reads = Counter(read.key for read in recorder.reads)
    judged = (
        _key_result(key, of_key, rate=reads[key] / recorder.stopped, ttl=ttl)
        for key, of_key in loads.items()
        if len(of_key) >= 3
    )
    keys = tuple(key for key in judged if key.head_start_ms <= 1000 * ttl / 2)
    ratio = fmean(key.loads / key.expected for key in keys) if keys else 0.0
    return RefreshResult(
        seconds=recorder.stopped, ttl=ttl, keys=keys, ratio=ratio, passed=abs(ratio - 1) <= TOLERANCE
    )


def _key_result(key: int, loads: Sequence[LoadRecord], *, rate: float, ttl: float) -> KeyResult:
    delta = fmean(load.ended - load.began for load in loads)
    head = head_start(rate=rate, delta=delta)
    # A value is fresh for its ttl from the end of its load, so the time spent loading is not a part of it.
    fresh = [after.began - before.ended for before, after in pairwise(loads)]
    return KeyResult(
        key=key,
        reads_per_second=rate,
        mean_load_ms=1000 * delta,
        head_start_ms=1000 * head,
        measured_head_start_ms=1000 * (ttl - fmean(fresh)),
        loads=len(loads),
        expected=expected_loads(elapsed=sum(fresh), ttl=ttl, head=head),
    )
