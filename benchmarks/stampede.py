"""A fleet of processes on one server: a cold key, news of a commit, news of an invalidation."""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from benchmarks._server import valkey
from benchmarks._table import Row, at_most

SUITE = "stampede"
PROCESSES = 8
READERS = 100
LOAD = 0.1  # seconds
COMMITS = 60  # of one process, while one reader of another waits
KEYS = 200  # invalidated, once with pauses and once in a burst
OWN = ("cmdstat_info", "cmdstat_config", "cmdstat_ping", "cmdstat_client", "cmdstat_hello")


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(valkey())
        redis = await stack.enter_async_context(Redis.from_url(server.url))
        fleet = [await stack.enter_async_context(process(server.url)) for _ in range(PROCESSES)]
        rows = await cold_keys(fleet, redis, options.rounds)
        rows += await commits(fleet[:2])
        return rows + await drops(fleet[0], fleet[1])


class Process:
    """A worker that obeys orders."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        """Talk to *child*."""
        self._child = child

    async def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Return what the worker answers."""
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        answer = await stdout.readline()
        return json.loads(answer)  # type: ignore[no-any-return]


@asynccontextmanager
async def process(url: str) -> AsyncIterator[Process]:
    """Start a worker; it ends when its stdin does."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks._fleet_worker", url, stdin=-1, stdout=-1, limit=2**24
    )
    try:
        yield Process(child)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()


async def cold_keys(fleet: list[Process], redis: Redis, rounds: int) -> list[Row]:
    """Let all processes read a cold key at once."""
    loads, commands, seconds, news = [], [], [], []
    await asyncio.gather(*(each.ask("stampede", key="warm", readers=1, seconds=0) for each in fleet))
    for number in range(rounds):
        await redis.config_resetstat()
        order = {"key": f"cold:{number}", "readers": READERS, "seconds": LOAD}
        answers = await asyncio.gather(*(each.ask("stampede", **order) for each in fleet))
        stats = await redis.info("commandstats")
        commands.append(sum(stat["calls"] for name, stat in stats.items() if name not in OWN))
        loads.append(sum(answer["loads"] for answer in answers))
        seconds.append(max(a["ended"] for a in answers) - min(a["began"] for a in answers))
        loaded = max(answer["loaded"] for answer in answers if answer["loads"])
        news += [answer["ended"] - loaded for answer in answers if not answer["loads"]]
    what = f"cold key, {PROCESSES} processes × {READERS} readers, {LOAD * 1e3:.0f} ms load"
    spread = f"{min(seconds) * 1e3:.0f}–{max(seconds) * 1e3:.0f}"
    return [
        at_most(SUITE, f"{what}: loads, at worst", max(loads), 1, ""),
        at_most(SUITE, f"{what}: commands", statistics.median(commands), 80, ""),
        Row(
            suite=SUITE,
            name=f"{what}: all have it",
            value=statistics.median(seconds) * 1e3,
            unit="ms",
            spread=spread,
        ),
        at_most(SUITE, f"{what}: in lengths of the load", statistics.median(seconds) / LOAD, 1.5),
        Row(
            suite=SUITE,
            name="all 100 readers of another process have the value after the load, p50",
            value=statistics.median(news) * 1e3,
            unit="ms",
        ),
    ]


async def commits(fleet: list[Process]) -> list[Row]:
    """Measure how soon one reader elsewhere has a value, from the end of its load on."""
    late = []
    for number in range(COMMITS):
        order = {"key": f"news:{number}", "readers": 1, "seconds": 0.02}
        answers = await asyncio.gather(*(each.ask("stampede", **order) for each in fleet))
        loaded = max(answer["loaded"] for answer in answers if answer["loads"])
        late += [answer["ended"] - loaded for answer in answers if not answer["loads"]]
    value = statistics.median(late) * 1e3
    return [at_most(SUITE, "another process has the value after the load, p50", value, 2.0, "ms")]


async def drops(writer: Process, holder: Process) -> list[Row]:
    """Measure how soon a near copy goes elsewhere, from the call of `invalidate` on."""
    rows = []
    for what, pause, limit in (("idle", 0.005, 1.0), ("in a burst", 0, None)):
        keys = [f"{what}:{number}" for number in range(KEYS)]
        await holder.ask("hold", keys=keys)
        began = (await writer.ask("invalidate", keys=keys, pause=pause))["began"]
        await asyncio.sleep(0.1)
        dropped = (await holder.ask("drops"))["dropped"]
        late = statistics.median(dropped[key] - began[key] for key in keys) * 1e3
        name = f"near copy elsewhere dropped after invalidate, {what}, p50"
        if limit is None:
            rows.append(Row(suite=SUITE, name=name, value=late, unit="ms"))
        else:
            rows.append(at_most(SUITE, name, late, limit, "ms"))
    return rows
