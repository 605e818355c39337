"""What `import` of each library costs a process that starts, and what acache loads lazily."""

import argparse
import os
import subprocess
import sys

from benchmarks import _measure as measure
from benchmarks._table import Row, at_most

SUITE = "import"
LIBRARIES = ("acache", "async_lru", "cachebox", "asyncstdlib", "theine", "cashews", "aiocache")
PROGRAM = """
import asyncio, sys, time
before, start, wall = len(sys.modules), time.process_time(), time.perf_counter()
{statement}
cpu, wall = time.process_time() - start, time.perf_counter() - wall
print(cpu, wall, len(sys.modules) - before, sum(name.partition(".")[0] == "anyio" for name in sys.modules))
"""


class Import:
    """A process that imports one library, asyncio being there already."""

    def __init__(self, statement: str) -> None:
        """Import by *statement*."""
        self._program = PROGRAM.format(statement=statement)
        self.wall: list[float] = []
        self.modules = self.anyio = 0

    async def __call__(self) -> float:
        """Return the processor's seconds."""
        done = subprocess.run(  # noqa: ASYNC221 - nothing else shall run meanwhile
            [sys.executable, "-c", self._program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},  # compiled once, as what is installed is
        )
        cpu, wall, modules, anyio = done.stdout.split()
        self.wall.append(float(wall))
        self.modules, self.anyio = int(modules), int(anyio)
        return float(cpu)


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    runs = {name: Import(f"import {name}") for name in LIBRARIES}
    runs["acache_redis"] = Import("import acache, acache_redis")
    for each in runs.values():
        await each()  # compiles it
        each.wall.clear()
    times = await measure.interleaved(runs, options.rounds)
    rows = []
    for name, each in times.items():
        rows.append(measure.row(SUITE, f"import {name}", each, "ms", runs[name]))
        rows.append(Row(suite=SUITE, name=f"modules that {name} loads", value=runs[name].modules))
    return [*rows, at_most(SUITE, "modules of anyio that `import acache` loads", runs["acache"].anyio, 0, "")]
