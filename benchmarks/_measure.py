"""Measure several things side by side: rounds in turn, medians, ratios within one run."""

import gc
import statistics
from collections.abc import Awaitable, Callable, Mapping
from time import thread_time

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


def calls(function: Callable[[int], Awaitable[object]], argument: int, times: int) -> Timed:
    """Return what awaits *function* many times in a row, in processor time: all of it is this thread's."""

    async def run() -> float:
        start = thread_time()
        for _ in range(times):
            await function(argument)
        return (thread_time() - start) / times

    return run
