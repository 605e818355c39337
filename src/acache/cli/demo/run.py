"""The order of the demo: five strategies, early refresh, tags, writes. Owns the temporary directory."""

import asyncio
import gc
import os
import platform
import random
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from acache import __version__
from acache.cli.demo.database import Database, Summary, open_database, summary
from acache.cli.demo.record import Recorder
from acache.cli.demo.result import DemoResult, StrategyResult, refresh_result, strategy_result
from acache.cli.demo.strategies import STRATEGIES, Acache, Query, Setup, Strategy
from acache.cli.demo.tags import show_tags
from acache.cli.demo.traffic import Traffic, drive
from acache.cli.demo.writes import show_writes
from acache.clock import SYSTEM_CLOCK

_PHASES: Final = len(STRATEGIES) + 2
_WRITE_SHARE: Final = 0.35
"""Of a phase, for each way to write; the rest is for the process that is killed."""
_TTL: Final = 0.5
_WRITES_PER_SECOND: Final = 20.0
_CALM_KEYS: Final = 12
"""Of the refresh phase: few, so that each is read often enough for the closed form, which ignores
the wait for the first read after an expiry."""

Progress = Callable[[str, float], None]
"""Called with what runs now and how much of everything is done, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for; *seconds* is how long all phases take together."""

    seed: int
    readers: int
    seconds: float


async def run_demo(options: Options, progress: Progress) -> DemoResult:
    """Run everything in a temporary directory, which is gone afterwards, whatever happened."""
    now = SYSTEM_CLOCK.monotonic
    began = now()
    traffic = _traffic(options)
    progress("filling the database", 0)
    with tempfile.TemporaryDirectory(prefix="acache-demo-") as directory:
        async with open_database(Path(directory), seed=options.seed) as database:
            found: list[StrategyResult] = []
            for number, (name, build) in enumerate(STRATEGIES.items()):
                recorder = await _phase(traffic, build, database, _Steps(progress, name, number))
                found.append(strategy_result(name, recorder))
            calm = replace(traffic, writes_per_second=0, keys=_CALM_KEYS)
            recorder = await _phase(
                calm, Acache, database, _Steps(progress, "early refresh", len(STRATEGIES))
            )
            progress("tags", (_PHASES - 1) / _PHASES)
            tags = await show_tags(database)
        writes = await show_writes(
            Path(directory),
            seconds=_WRITE_SHARE * traffic.seconds,
            step=lambda name: progress(name, (_PHASES - 0.5) / _PHASES),
        )
        progress("done", 1)
    return DemoResult(
        version=__version__,
        python=platform.python_version(),
        cores=os.cpu_count() or 1,
        seed=options.seed,
        readers=options.readers,
        hot_keys=traffic.keys,
        ttl=traffic.ttl,
        writes_per_second=traffic.writes_per_second,
        total_seconds=now() - began,
        strategies=tuple(found),
        refresh=refresh_result(recorder, ttl=calm.ttl),
        tags=tags,
        writes=writes,
    )


def _traffic(options: Options) -> Traffic:
    seconds = options.seconds / _PHASES
    return Traffic(
        seed=options.seed,
        readers=options.readers,
        seconds=seconds,
        ttl=min(_TTL, seconds / 5),
        writes_per_second=_WRITES_PER_SECOND,
    )


async def _phase(
    traffic: Traffic, build: Callable[[Setup], Strategy], database: Database, steps: "_Steps"
) -> Recorder:
    """Drive *traffic* through a new strategy; return what was recorded."""
    gc.collect()  # of the phase before: its garbage is not this one's pause
    recorder = Recorder(SYSTEM_CLOCK.monotonic)
    rng = random.Random(f"{traffic.seed}/strategy")
    strategy = build(Setup(_recorded(database, recorder), traffic.ttl, rng))
    async with aclosing(strategy), asyncio.TaskGroup() as group:
        watch = group.create_task(steps.show(recorder, traffic.seconds))
        await drive(traffic, strategy, database, recorder)
        watch.cancel()
    await database.settle()
    return recorder


def _recorded(database: Database, recorder: Recorder) -> Query:
    async def query(user_id: int) -> Summary:
        load = recorder.load_begins(user_id)
        try:
            async with database.connection() as connection:
                recorder.load_runs(load)
                return await summary(connection, user_id)
        finally:
            recorder.load_ends(load)

    return query


@dataclass(frozen=True, slots=True)
class _Steps:
    """Reports how far a phase is, twice a second: drawing takes the loop's time from what is measured."""

    progress: Progress
    name: str
    number: int

    async def show(self, recorder: Recorder, seconds: float) -> None:
        """Report until cancelled."""
        while True:
            done = min(recorder.elapsed() / seconds, 1)
            self.progress(self.name, (self.number + done) / _PHASES)
            await asyncio.sleep(0.5)
