"""Run benchmark suites: `python -m benchmarks memory eviction --json figures.json`."""

import argparse
import asyncio
import importlib
import sys
from pathlib import Path
from time import perf_counter

from benchmarks._charts import draw
from benchmarks._machine import Machine
from benchmarks._record import compared, read, written
from benchmarks._table import Row, render

SUITES = {
    "memory": "benchmarks.memory",
    "singleflight": "benchmarks.singleflight",
    "eviction": "benchmarks.eviction",
    "redis": "benchmarks.redis",
    "stampede": "benchmarks.stampede",
    "sql": "benchmarks.sql",
    "journal": "benchmarks.journal",
    "import": "benchmarks.import_time",
    "scale": "benchmarks.scale",
}


def main() -> int:
    """Run the suites that were named and print their table."""
    options = _options()
    machine = Machine.here()
    print(machine, flush=True)
    rows: list[Row] = []
    for name in options.suites or ([] if options.draw else SUITES):
        started = perf_counter()
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += asyncio.run(importlib.import_module(SUITES[name]).run(options))
        print(f"  {perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        if options.json:  # after each: a later one may take long, or fail
            written(options.json, machine, rows)
    if rows:
        print(render(rows))
    if options.compare:
        print(compared(read(options.compare)[1], rows))
    if options.plots:
        old, recorded = machine, list(rows)
        for path in options.draw:
            old, more = read(path)
            recorded += more
        for path in draw(recorded, options.plots, old if options.draw else machine):
            print(f"drew {path}", file=sys.stderr)
    failed = [row for row in rows if row.passed is False]
    print(f"{sum(row.passed is True for row in rows)} PASS, {len(failed)} FAIL")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"{', '.join(SUITES)}; all by default")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds per figure")
    parser.add_argument("--traces", type=Path, help="a folder of access traces for eviction")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--compare", type=Path, metavar="OLD", help="print what changed since this file")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the figures, as docs/benchmarks")
    parser.add_argument(
        "--draw", type=Path, metavar="FILE", nargs="+", default=[], help="draw these recorded figures, too"
    )
    options = parser.parse_args()
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"there is no suite {unknown[0]!r}; there are {', '.join(SUITES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
