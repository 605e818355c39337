"""Measure several things side by side: rounds in turn, medians, ratios within one run."""

import gc
import statistics
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter, thread_time
from typing import Protocol

from benchmarks._table import Row

Timed = Callable[[], Awaitable[float]]
"""Runs once and returns seconds per operation."""


async def interleaved(contestants: Mapping[str, Timed], rounds: int = 9) -> dict[str, list[float]]:
    """Run each contestant once per round, in turn, and return its seconds per operation per round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            gc.collect()
            times[name].append(await run())
    return times


def median(times: list[float]) -> float:
    """Return the median."""
    return statistics.median(times)


def ratios(ours: list[float], theirs: list[float]) -> tuple[float, str]:
    """Return the median of the ratios round by round, and their spread."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(each), f"{min(each):.3g}–{max(each):.3g}"


class Busy:
    """Times *times* operations in a row in processor time: all of it is this thread's.

    `wall` keeps the wall's seconds beside, which on a busy machine also count what others do."""

    def __init__(self, work: Callable[[], Awaitable[object]], times: int) -> None:
        """Time *work*, which does all of them."""
        self._work = work
        self._times = times
        self.wall: list[float] = []

    async def __call__(self) -> float:
        """Return the processor's seconds of one operation."""
        began, start = perf_counter(), thread_time()
        await self._work()
        seconds = thread_time() - start
        self.wall.append((perf_counter() - began) / self._times)
        return seconds / self._times


def calls(function: Callable[[int], Awaitable[object]], argument: int, times: int) -> Busy:
    """Return what awaits *function* many times in a row."""

    async def work() -> None:
        for _ in range(times):
            await function(argument)

    return Busy(work, times)


SCALES = {"ns": 1e9, "µs": 1e6, "ms": 1e3, "s": 1.0}


class Walled(Protocol):
    """What keeps the wall's seconds beside."""

    wall: list[float]


def row(suite: str, name: str, times: list[float], unit: str, run: Walled | None = None) -> Row:
    """Return the row of a time: its median, the spread of its rounds, and the wall's if *run* has it."""
    scale = SCALES[unit.split(maxsplit=1)[0]]
    spread = f"{min(times) * scale:.3g}–{max(times) * scale:.3g}" if len(times) > 1 else ""
    wall = None if run is None else median(run.wall[-len(times) :]) * scale
    return Row(suite=suite, name=name, value=median(times) * scale, unit=unit, spread=spread, wall=wall)
