"""What a proof found: figures with their targets, as a table and as JSON. Knows no proof."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("acache-core", "acache-redis", "acache-postgres", "acache-sqlite", "anyio", "msgspec", "redis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of a table. *passed* is None where there is no target."""

    name: str
    found: str
    target: str = ""
    passed: bool | None = None
    seconds: float | None = None
    limit: float | None = None  # seconds

    @property
    def failed(self) -> bool:
        """Whether a target was missed, in figure or in time."""
        late = self.seconds is not None and self.limit is not None and self.seconds > self.limit
        return self.passed is False or late

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self) | {"failed": self.failed}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return lines of text with straight columns; numbers stand to the right."""
    cells = [tuple(head), *(tuple(map(_text, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = [all(row[column][:1].isdigit() for row in cells[1:]) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(cells[0]), line(["-" * width for width in widths]), *map(line, cells[1:])])


def render(figures: Iterable[Figure]) -> str:
    """Return the figures as a table with PASS or FAIL beside each target."""
    rows = []
    for figure in figures:
        took = "" if figure.seconds is None else f"{figure.seconds:.1f} s"
        within = "" if figure.limit is None else f"<= {figure.limit:g} s"
        aims = figure.passed is not None or figure.limit is not None
        verdict = ("FAIL" if figure.failed else "PASS") if aims else ""
        rows.append((figure.name, figure.found, figure.target, took, within, verdict))
    return table(("figure", "found", "target", "took", "within", ""), rows)


def versions() -> dict[str, str]:
    """Return what the figures were found with."""
    found = {platform.python_implementation(): platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _text(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
