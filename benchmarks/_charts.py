"""Which figures become which plot: a pattern over the names of rows, so that no suite knows its plots."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from benchmarks._machine import Machine
from benchmarks._plot import Plot
from benchmarks._plot import draw as drawn
from benchmarks._table import Row

PRINT_WIDTH = 118  # letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A plot of the rows whose name matches *rows*.

    Its groups: `bar` or `at`, the name of a bar or the number on the x axis; and `series`."""

    name: str
    title: str
    suite: str
    rows: str
    unit: str
    across: str = ""
    logarithmic: bool = True
    of: tuple[str, ...] = ()  # packages whose versions are named


LOCAL = ("acache-core", "async-lru", "cachebox", "asyncstdlib", "theine", "aiocache", "cashews")
REMOTE = ("acache-core", "redis", "aiocache", "cashews")
SHOWN = r"mean of.*|zipf.*|multi1@1000|multi3@1000|sprite@500|cpp@100|web12@2000|loop over.*|zigzag over.*"
CHARTS = (
    Chart(
        name="hit",
        title="A decorated hit in process",
        suite="memory",
        rows=r"decorated hit, (?P<bar>.+)",
        unit="ns of processor time, log",
        of=LOCAL,
    ),
    Chart(
        name="miss",
        title="A decorated miss whose load returns at once",
        suite="memory",
        rows=r"decorated miss, (?P<bar>.+)",
        unit="µs of processor time, log",
        of=LOCAL,
    ),
    Chart(
        name="forms",
        title="A hit in every form of call",
        suite="memory",
        rows=r"hit: (?P<bar>.+), (?P<series>acache|async_lru)",
        unit="ns of processor time",
        logarithmic=False,
        of=LOCAL[:2],
    ),
    Chart(
        name="hit-ratio",
        title="Hit ratio beside LRU and the best possible (Belady)",
        suite="eviction",
        rows=rf"hit ratio, (?P<bar>{SHOWN}), (?P<series>\w+)",
        unit="%",
        logarithmic=False,
        of=LOCAL[:1],
    ),
    Chart(
        name="redis-hit",
        title="A hit in Redis, by concurrent readers",
        suite="redis",
        rows=r"hit, (?P<at>[\d,]+) readers?, (?P<series>\w+)",
        unit="µs a read, wall, log",
        across="concurrent readers",
        of=REMOTE,
    ),
    Chart(
        name="redis-layers",
        title="Where a remote hit spends its time, 100 readers",
        suite="redis",
        rows=r"layer of a hit: (?P<bar>.+)",
        unit="µs of the client's processor",
        logarithmic=False,
        of=REMOTE[:2],
    ),
    Chart(
        name="redis-server",
        title="What an operation costs the server",
        suite="redis",
        rows=r"server CPU: (?P<bar>.+)",
        unit="µs of the server's processor, log",
        of=REMOTE,
    ),
    Chart(
        name="journal",
        title="Acknowledging a write durably, by concurrent writers",
        suite="journal",
        rows=r"acknowledgement, (?P<at>[\d,]+) writers: (?P<series>p50|p99)",
        unit="ms, log",
        across="concurrent writers",
        of=("acache-core", "aiosqlite"),
    ),
    Chart(
        name="import",
        title="Importing, beyond asyncio itself",
        suite="import",
        rows=r"import (?P<bar>\S+)",
        unit="ms of processor time, log",
        of=LOCAL,
    ),
    Chart(
        name="scale-entries",
        title="More entries: a hit, a put into a full store, a miss in a full cache",
        suite="scale",
        rows=r"(?P<at>[\d,]+) entries: (?P<series>.+)",
        unit="ns of processor time, log",
        across="entries",
        of=LOCAL[:1],
    ),
    Chart(
        name="scale-waiters",
        title="More waiters on one cold key",
        suite="scale",
        rows=r"(?P<at>[\d,]+) waiters?: (?P<series>.+)",
        unit="µs of processor time a waiter, log",
        across="concurrent waiters, one load",
        of=LOCAL[:2],
    ),
    Chart(
        name="scale-processes",
        title="More processes on one cold key, 100 readers each, a load of 100 ms",
        suite="scale",
        rows=r"(?P<at>\d+) process(?:es)?: (?P<series>.+)",
        unit="ms, or how many; log",
        across="processes",
        of=REMOTE[:2],
    ),
    Chart(
        name="scale-tags",
        title="More entries that one tag drops",
        suite="scale",
        rows=r"(?P<at>[\d,]+) tagged: (?P<series>.+)",
        unit="µs, log",
        across="entries that carry the tag",
        of=REMOTE[:2],
    ),
)


def draw(rows: Sequence[Row], folder: Path, machine: Machine) -> Iterator[Path]:
    """Draw every chart that *rows* has figures for into *folder*; yield its files."""
    folder.mkdir(parents=True, exist_ok=True)
    for chart in CHARTS:
        series = _series(chart, rows)
        if not series:
            continue
        versions = ", ".join(f"{name} {machine.versions.get(name, '')}".strip() for name in chart.of)
        plot = Plot(
            title=chart.title,
            unit=chart.unit,
            series=series,
            across=chart.across,
            under=[machine.short, *wrap(versions, PRINT_WIDTH)],
            logarithmic=chart.logarithmic,
        )
        path = folder / f"{chart.name}.svg"
        path.write_text(drawn(plot), encoding="utf-8")
        yield path


def _series(chart: Chart, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    pattern = re.compile(chart.rows)
    series: dict[str, dict[str, float]] = {}
    for row in rows:
        found = pattern.fullmatch(row.name) if row.suite == chart.suite else None
        if found is None or row.value <= 0:
            continue
        named = found.groupdict()
        place = named["bar"] if "bar" in named else float(named["at"].replace(",", ""))
        series.setdefault(named.get("series") or "", {})[place] = row.value  # type: ignore[index]
    return series
