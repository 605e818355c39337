"""The result in words and numbers, for the terminal and the page alike. Knows neither."""

from typing import Final

from acache.cli.demo.database import ORDERS, USERS
from acache.cli.demo.result import (
    TOLERANCE,
    DemoResult,
    KillResult,
    RefreshResult,
    StrategyResult,
    WriteResult,
    WritesResult,
)

HEADINGS: Final = (
    "strategy",
    "queries",
    "of the hottest key",
    "peak of one key",
    "not void",
    "stale reads",
    "reads/s",
    "p50 ms",
    "p99 ms",
)
"""Of the columns that `cells` fills."""

NOTES: Final = (
    "peak: most queries of one key in flight at once, waiting for a connection or running",
    "not void: the same without those that ran while their key was invalidated",
    "stale: began after an invalidation had returned, got a row older than its commit",
)


WRITE_HEADINGS: Final = ("pattern", "writes acknowledged", "writes/s", "p50 ms", "p99 ms")
"""Of the columns that `write_cells` fills."""


def setting(result: DemoResult) -> str:
    """Return what was run, in a few sentences."""
    return (
        f"{result.readers:,} concurrent readers of {result.hot_keys} hot users, out of {USERS:,} users and "
        f"{ORDERS:,} orders in a SQLite file. Values live {1000 * result.ttl:.0f} ms; a writer changes "
        f"{result.writes_per_second:.0f} rows a second and invalidates them. "
        f"Every strategy met the same seeded traffic. Seed {result.seed}, {result.cores} cores, "
        f"Python {result.python}, acache {result.version}; {result.total_seconds:.1f} s in total."
    )


def cells(result: StrategyResult) -> tuple[str, ...]:
    """Return a strategy's row under `HEADINGS`."""
    return (
        result.name,
        f"{result.queries:,}",
        f"{result.queries_of_hottest_key:,}",
        f"{result.peak_of_one_key:,}",
        f"{result.peak_of_one_key_not_void:,}",
        f"{result.stale_reads:,}",
        f"{result.reads_per_second:,.0f}",
        milliseconds(result.p50_ms),
        milliseconds(result.p99_ms),
    )


def milliseconds(value: float) -> str:
    """Return a duration with the digits that mean something."""
    return f"{value:.3f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def refresh_verdict(result: RefreshResult) -> str:
    """Return how the loads compare with the closed form, ending in PASS or FAIL."""
    head = _mean([key.head_start_ms for key in result.keys])
    measured = _mean([key.measured_head_start_ms for key in result.keys])
    loads = sum(key.loads for key in result.keys)
    return (
        f"{loads} loads of {len(result.keys)} keys in {result.seconds:.1f} s without invalidations. "
        f"Loads per key / (1 + elapsed / (ttl - mean head start)): {result.ratio:.3f} on average; "
        f"mean head start {measured:.1f} ms, by the closed form {head:.1f} ms. "
        f"{'PASS' if result.passed else 'FAIL'} (within {TOLERANCE:.0%})"
    )


def write_cells(result: WriteResult) -> tuple[str, ...]:
    """Return a pattern's row under `WRITE_HEADINGS`."""
    return (
        result.name,
        f"{result.acknowledged:,}",
        f"{result.rows_per_second:,.0f}",
        milliseconds(result.p50_ms),
        milliseconds(result.p99_ms),
    )


def writes_story(result: WritesResult) -> str:
    """Return what the two ways to write have cost."""
    through, behind = result.patterns
    ratio = behind.rows_per_second / through.rows_per_second if through.rows_per_second else 0.0
    return (
        f"{result.writers} writers put rows of one SQLite table, which syncs every commit. Write-behind "
        f"acknowledged {ratio:.1f} times as many a second, each durable in its journal; "
        f"{milliseconds(result.flush_ms)} ms later the last of them was in the table."
    )


def kill_verdict(result: KillResult) -> str:
    """Return what became of the writes of the killed process, ending in PASS or FAIL."""
    return (
        f"Another process wrote behind and was killed with -9 after {result.acknowledged:,} acknowledged "
        f"writes of {result.sessions} rows. {result.missing} rows were not in the table yet; the journal "
        f"brought back {result.recovered} in {milliseconds(result.recovery_ms)} ms. Lost: {result.lost}. "
        f"{'FAIL' if result.lost else 'PASS'}"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
