"""Queries over time: the same readers over a naive cache and over acache, run in virtual time, as SVG.

The runs are of the real code on the simulated loop: the same readers at the same instants each time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from pictures import STYLE

from acache import Cache
from acache.cli.demo.svg import Scale, element, line, path, picture, text
from acache.testing import Sim, SimLoop

RATE, SECONDS, TTL, LOAD = 200, 12.0, 3.0, 0.3
LEFT, RIGHT, PANEL, HEIGHT = 52, 700, 96, 130


@dataclass
class Run:
    """What one way of caching did to the database and to its readers."""

    changes: list[tuple[float, int]] = field(default_factory=list)  # a query began (1) or ended (-1)
    queries: int = 0
    waited: int = 0

    async def query(self) -> str:
        """Take 0.3 s, as a slow report does."""
        loop = asyncio.get_running_loop()
        self.queries += 1
        self.changes.append((loop.time(), 1))
        await asyncio.sleep(LOAD)
        self.changes.append((loop.time(), -1))
        return "report"


def naive(run: Run, sim: Sim) -> Callable[[], Awaitable[str]]:
    """Get, miss, query, set."""
    kept: dict[str, tuple[str, float]] = {}

    async def read() -> str:
        if "report" in kept and sim.clock.monotonic() < kept["report"][1]:
            return kept["report"][0]
        value = await run.query()
        kept["report"] = value, sim.clock.monotonic() + TTL
        return value

    return read


def cached(beta: float) -> Callable[[Run, Sim], Callable[[], Awaitable[str]]]:
    """Make a reader through acache, with this beta."""

    def make(run: Run, sim: Sim) -> Callable[[], Awaitable[str]]:
        cache = Cache("memory://", namespace="picture", clock=sim.clock, rng=Random(1))
        return cache.cached("report", ttl=TTL, beta=beta)(run.query)

    return make


WAYS = {
    "naive: get, miss, query, set": naive,
    "acache without early refresh (beta=0): one query, readers wait for it": cached(0.0),
    "acache: one query a little before expiry; only the cold start waits": cached(1.0),
}


def measure(make: Callable[[Run, Sim], Callable[[], Awaitable[str]]]) -> Run:
    """Let Poisson readers come for a while, and note what they cause."""
    run, rng = Run(), Random(7)
    loop = SimLoop(scheduler="fifo", max_steps=10**7)
    begin = loop.time()

    async def reader(read: Callable[[], Awaitable[str]]) -> None:
        came = loop.time()
        await read()
        run.waited += loop.time() > came

    async def readers() -> None:
        read = make(run, Sim(loop, 1))
        arrivals = list(accumulate(rng.expovariate(RATE) for _ in range(int(RATE * SECONDS))))
        async with asyncio.TaskGroup() as group:
            for at in arrivals:
                await asyncio.sleep(begin + at - loop.time())
                group.create_task(reader(read))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(readers())
    run.changes = [(at - begin, change) for at, change in run.changes]
    return run


def render() -> str:
    """Return one panel for each way, to one scale."""
    runs = {title: measure(make) for title, make in WAYS.items()}
    across = Scale(low=0.0, high=SECONDS, start=LEFT, end=RIGHT)
    parts = []
    for at, (title, run) in enumerate(runs.items()):
        top = 26 + HEIGHT * at
        up = Scale(low=0.0, high=80.0, start=top + PANEL, end=top)
        verdict = f"{run.queries} queries, {run.waited} of {int(RATE * SECONDS):,} reads waited"
        parts += [
            *(
                line((LEFT, up(level)), (RIGHT, up(level)), class_="life")
                + text(f"{level:.0f}", LEFT - 8, up(level) + 4, text_anchor="end", class_="small")
                for level in (0.0, 40.0, 80.0)
            ),
            text(title, LEFT, top - 8),
            element("path", d=path(_stairs(run, across, up)), class_="curve"),
            text(verdict, RIGHT, top + 14, text_anchor="end"),
        ]
    bottom = 26 + HEIGHT * len(runs)
    parts += [
        text(f"{second:g} s", across(second), bottom - 14, text_anchor="middle", class_="small")
        for second in (0, 3, 6, 9, 12)
    ]
    parts.append(
        text(
            "time; the ttl is 3 s, a query takes 0.3 s, 200 reads come in a second. Up: queries that run at once",
            LEFT,
            bottom + 8,
            class_="small",
        )
    )
    style = STYLE + ".curve { fill: #cf3f5533; stroke: #cf3f55; stroke-width: 1.5; }\n"
    drawing = picture(720, bottom + 18, "Queries that run at once", element("style", style), *parts)
    return (
        drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        .replace("><path", ">\n<path")
        .replace("><text", ">\n<text")
        + "\n"
    )


def _stairs(run: Run, across: Scale, up: Scale) -> list[tuple[float, float]]:
    points, level = [(across(0.0), up(0.0))], 0
    for at, change in run.changes:
        points.append((across(at), up(level)))
        level += change
        points.append((across(at), up(level)))
    return [*points, (across(SECONDS), up(level)), (across(SECONDS), up(0.0))]
