"""Rows of a benchmark, with PASS or FAIL beside each target."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure. *passed* is None where there is no target."""

    suite: str
    name: str
    value: float
    unit: str = ""
    target: str = ""
    passed: bool | None = None
    spread: str = ""  # of the rounds, where there were several
    wall: float | None = None  # the same by the wall's clock, where *value* is the processor's time

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def at_most(suite: str, name: str, value: float, limit: float, unit: str = "×", spread: str = "") -> Row:
    """Return a row that passes if *value* is no more than *limit*."""
    target = f"<= {limit:.3g}"
    return Row(
        suite=suite, name=name, value=value, unit=unit, target=target, passed=value <= limit, spread=spread
    )


def at_least(suite: str, name: str, value: float, limit: float, unit: str = "×", spread: str = "") -> Row:
    """Return a row that passes if *value* is no less than *limit*."""
    target = f">= {limit:.3g}"
    return Row(
        suite=suite, name=name, value=value, unit=unit, target=target, passed=value >= limit, spread=spread
    )


def render(rows: Iterable[Row]) -> str:
    """Return the rows as a table of text."""
    cells = [("suite", "figure", "measured", "spread", "wall", "target", "")]
    for row in rows:
        verdict = {True: "PASS", False: "FAIL", None: ""}[row.passed]
        value = f"{row.value:,.4g} {row.unit}".strip()
        wall = "" if row.wall is None else f"{row.wall:,.4g}"
        cells.append((row.suite, row.name, value, row.spread, wall, row.target, verdict))
    return columns(cells)


def columns(cells: Sequence[Sequence[str]]) -> str:
    """Return lines of cells, one under the other."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
