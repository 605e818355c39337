"""Run benchmark suites: `python -m benchmarks memory eviction --json figures.json`."""

import argparse
import asyncio
import importlib
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks._table import Row, render

SUITES = ("memory", "eviction", "redis", "stampede", "sql", "journal")
PEERS = (
    "acache-core",
    "async-lru",
    "cachebox",
    "cachetools",
    "asyncstdlib",
    "theine",
    "aiocache",
    "cashews",
    "redis",
    "asyncpg",
    "aiosqlite",
)


def main() -> int:
    """Run the suites that were named and print their table."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="+", choices=[name for name in SUITES if _exists(name)])
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds per figure")
    parser.add_argument("--traces", type=Path, help="a folder of access traces for eviction")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    print(
        f"CPython {platform.python_version()} on {platform.machine()}; {', '.join(_versions())}", flush=True
    )
    rows: list[Row] = []
    for name in options.suites:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += asyncio.run(importlib.import_module(f"benchmarks.{name}").run(options))
    print(render(rows))
    if options.json:
        figures = {"python": platform.python_version(), "rows": [row.as_dict() for row in rows]}
        options.json.write_text(json.dumps(figures, indent=2))
    failed = [row for row in rows if row.passed is False]
    print(f"{sum(row.passed is True for row in rows)} PASS, {len(failed)} FAIL")
    return 0


def _exists(name: str) -> bool:
    return (Path(__file__).parent / f"{name}.py").exists()


def _versions() -> list[str]:
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
