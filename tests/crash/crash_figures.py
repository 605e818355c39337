"""What was found after the kills, and what of it must be zero."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from crash_world import BATCH, Report, Write


@dataclass(slots=True, kw_only=True)
class Figures:
    """Of one scenario."""

    kills: int = 0  # processes ended by -9, servers included
    acknowledged: int = 0  # writes
    deepest: int = 0  # keys that were pending at once
    lost: int = 0  # acknowledged writes that are not in the table, nor a later one of their key
    back: int = 0  # rows that went back in time
    stale: int = 0  # reads that missed a write of their own process
    dead: int = 0  # dead letters
    failed: int = 0  # processes that should have ended well
    refused: int = 0  # puts refused loudly, for want of disk
    resumed: int = 0  # writes acknowledged after that
    seconds: float = 0.0
    skipped: str = ""

    @property
    def violations(self) -> int:
        """How much of what must be zero is not."""
        return self.lost + self.back + self.stale + self.dead + self.failed

    def add(self, report: Report) -> None:
        """Count what a worker told."""
        self.acknowledged += len(report.writes)
        self.stale += report.stale
        self.refused += report.refused
        self.resumed += report.resumed
        self.deepest = max(self.deepest, report.deepest)

    def compare(self, writes: Iterable[Write], rows: Mapping[int, int], ends: Sequence[int]) -> None:
        """Count the writes that are lost: nothing newer than, or concurrent with, them is in *rows*.

        A value is the time at which its put began. One that was not acknowledged may have been written at
        any time before the next of *ends*, when all writers were dead."""
        known = {(write.key, write.value): write.ended for write in writes}
        for write in writes:
            found = rows.get(write.key, 0)
            if found < write.value:
                end = known.get((write.key, found)) or next((each for each in ends if each > found), 0)
                self.lost += end < write.began or not found


NAMES = [each.name for each in fields(Figures) if each.name not in ("seconds", "skipped")]


def table(found: Mapping[str, Figures]) -> str:
    """Return the figures as text, a line for each scenario and one for all."""
    total = Figures()
    for figures in found.values():
        for name in NAMES:
            more = getattr(figures, name)
            setattr(
                total, name, max(total.deepest, more) if name == "deepest" else getattr(total, name) + more
            )
        total.seconds += figures.seconds
    lines = [["scenario", *NAMES, "seconds", ""]]
    for title, figures in [*found.items(), ("all", total)]:
        verdict = figures.skipped or ("FAIL" if figures.violations else "PASS")
        numbers = [f"{getattr(figures, name):,}" for name in NAMES]
        lines.append([title, *numbers, f"{figures.seconds:.1f}", verdict])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in text)


def as_json(found: Mapping[str, Figures]) -> dict[str, object]:
    """Return the figures for machines."""
    return {name: asdict(figures) | {"batch": BATCH} for name, figures in found.items()}
