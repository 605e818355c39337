"""What is killed when: one process, four on a table, and the recovery; the scenarios by name."""

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from crash_figures import Figures
from crash_outages import full_disk, postgres
from crash_shared import shared
from crash_steps import (
    SHARED,
    WORKERS,
    compare,
    database_in,
    finished,
    heard,
    kill_soon,
    recover,
    slow_table,
    write_rows,
)
from crash_world import Worker, Write

KEYS = 40
Scenario = Callable[[Path, random.Random, int], Figures]


def alone(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Kill one process at random instants, and every other recovery too."""
    figures = Figures()
    path = database_in(folder)
    writes: list[Write] = []
    while figures.kills < kills:
        worker = Worker(
            folder, partial(write_rows, folder, partial(slow_table, path), range(KEYS), rng.random())
        )
        worker.wait_until_it_works()
        kill_soon(worker, rng, 0.2, figures)
        writes += heard(worker, figures)
        recover(folder, partial(slow_table, path), rng, figures, share=0.5)
        writes = compare(figures, writes, path)
    return finished(figures, folder, path)


def fleet(folder: Path, rng: random.Random, kills: int, *, versioned: bool) -> Figures:
    """Kill four processes that write to one table, one after the other, and every other recovery.

    With versions all of them write the same keys; without, each has keys of its own."""
    figures = Figures()
    path = database_in(folder)
    open_ = partial(slow_table, path, version_column="version" if versioned else None)
    share = SHARED // WORKERS
    writes: list[Write] = []
    ends: list[int] = []
    ended: dict[tuple[int, int], int] = {}
    while figures.kills < kills:
        keys = [range(SHARED) if versioned else range(n * share, (n + 1) * share) for n in range(WORKERS)]
        workers = [Worker(folder, partial(write_rows, folder, open_, mine, rng.random())) for mine in keys]
        for worker in workers:
            worker.wait_until_it_works()
        for worker in rng.sample(workers, WORKERS):
            kill_soon(worker, rng, 0.06, figures)
        ends.append(time.monotonic_ns())
        for worker in workers:
            writes += heard(worker, figures)
        ended |= {(write.key, write.value): write.ended for write in writes}
        recover(folder, open_, rng, figures, share=0.5)
        writes = compare(figures, writes, path, ends)
    return finished(figures, folder, path, ended if versioned else None)


SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "one process": (alone, 76),
    "four processes, versions": (partial(fleet, versioned=True), 60),
    "four processes, own keys": (partial(fleet, versioned=False), 60),
    "four processes, one journal": (shared, 24),
    "PostgreSQL killed": (postgres, 4),
    "full disk": (full_disk, 2),
}
"""By name: what runs, and how many of the 200 kills are its."""
