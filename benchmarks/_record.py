"""Figures in a file, and what changed since."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks._machine import Machine
from benchmarks._table import Row, columns

NOISE = 0.1  # of a figure: less is no change


def written(path: Path, machine: Machine, rows: Sequence[Row]) -> None:
    """Write the figures of a run."""
    figures = {"machine": asdict(machine), "rows": [row.as_dict() for row in rows]}
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[Machine, list[Row]]:
    """Return what `written` wrote."""
    figures = json.loads(path.read_text(encoding="utf-8"))
    return Machine(**figures["machine"]), [Row(**row) for row in figures["rows"]]


def compared(old: Sequence[Row], new: Sequence[Row]) -> str:
    """Return a table of what both runs measured.

    A change is marked where it is more than a tenth; on another machine only the ratios mean anything."""
    before = {(row.suite, row.name): row for row in old}
    cells = [("suite", "figure", "before", "now", "change", "")]
    for row in new:
        was = before.get((row.suite, row.name))
        if was is None or was.unit != row.unit:
            continue
        change = row.value / was.value - 1 if was.value else 0.0
        mark = "*" if abs(change) > NOISE else ""
        if was.passed is not row.passed:
            mark = {True: "now PASS", False: "now FAIL", None: mark}[row.passed]
        cells.append(
            (row.suite, row.name, f"{was.value:,.4g}", f"{row.value:,.4g} {row.unit}", f"{change:+.0%}", mark)
        )
    return columns(cells)
