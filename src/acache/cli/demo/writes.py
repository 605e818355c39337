"""The writes part: through against behind on one SQLite table, then a process that is really killed."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import aiosqlite

from acache import Cache, WriteThrough
from acache.cli.demo.measure import percentile
from acache.cli.demo.result import KillResult, WriteResult, WritesResult
from acache.cli.demo.writer import Session, table_in, written_behind
from acache.clock import SYSTEM_CLOCK

WRITERS: Final = 100
ACKNOWLEDGED: Final = 1_000
"""By the process, before it is killed."""
_PATIENCE: Final = 20.0
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE sessions (id INTEGER PRIMARY KEY, last_seen REAL NOT NULL, pages INTEGER NOT NULL);
"""

Put = Callable[[int, Session], Awaitable[None]]
Step = Callable[[str], None]


async def show_writes(directory: Path, *, seconds: float, step: Step) -> WritesResult:
    """Write to a new database in *directory*, for *seconds* each way, then kill a process that writes."""
    async with aiosqlite.connect(directory / "sessions.db") as connection:
        await connection.executescript(_SCHEMA)
    async with Cache("memory://") as cache, table_in(directory) as table:
        step("write-through")
        rows = WriteThrough(cache, table, key="session:{}", ttl=1800)
        through = await _measured("write-through", rows.put, seconds)
    step("write-behind")
    async with written_behind(directory) as sessions:
        behind = await _measured("write-behind", sessions.put, seconds)
        began = SYSTEM_CLOCK.monotonic()
        await sessions.flush()
        flushed = SYSTEM_CLOCK.monotonic() - began
    step("kill and recover")
    return WritesResult(
        writers=WRITERS,
        patterns=(through, behind),
        flush_ms=1000 * flushed,
        kill=await _kill(directory),
    )


async def _measured(name: str, put: Put, seconds: float) -> WriteResult:
    """Let many writers put different rows for *seconds*."""
    now = SYSTEM_CLOCK.monotonic
    latencies: list[float] = []
    numbers = count()
    began = now()

    async def write() -> None:
        while (asked := now()) < began + seconds:
            id = next(numbers)
            await put(id, {"id": id, "last_seen": asked, "pages": 1})
            latencies.append(1000 * (now() - asked))

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    took = now() - began
    latencies.sort()
    return WriteResult(
        name=name,
        acknowledged=len(latencies),
        rows_per_second=len(latencies) / took,
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the killed process had said, by session, and how many lines it took."""

    pages: dict[int, int]
    lines: int


async def _kill(directory: Path) -> KillResult:
    """Kill a process that writes behind with -9, look at the table, recover, and look again."""
    async with aiosqlite.connect(directory / "sessions.db") as connection:
        await connection.execute("DELETE FROM sessions")
        await connection.commit()
    seen = await _killed(directory)
    missing = await _missing(directory, seen)
    began = SYSTEM_CLOCK.monotonic()
    async with written_behind(directory) as rows:
        recovered = rows.backlog.pending
        await rows.flush()
        took = SYSTEM_CLOCK.monotonic() - began
    return KillResult(
        acknowledged=seen.lines,
        sessions=len(seen.pages),
        missing=missing,
        recovered=recovered,
        recovery_ms=1000 * took,
        lost=await _missing(directory, seen),
    )


async def _killed(directory: Path) -> _Seen:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "acache.cli.demo.writer", str(directory), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            while len(lines) < ACKNOWLEDGED and (line := await process.stdout.readline()):
                lines.append(line)
    finally:
        if process.returncode is None:
            process.kill()
        rest = await process.stdout.read()
        await process.wait()
    lines += rest.splitlines(keepends=True)
    pages: dict[int, int] = {}
    for line in lines:
        if line.endswith(b"\n"):  # the last one may have been cut
            session, turn = map(int, line.split())
            pages[session] = max(turn, pages.get(session, 0))
    return _Seen(pages, len(lines))


async def _missing(directory: Path, seen: _Seen) -> int:
    """Return of how many sessions the table lacks what was acknowledged."""
    async with aiosqlite.connect(directory / "sessions.db") as connection:
        rows = await connection.execute_fetchall("SELECT id, pages FROM sessions")
    found = {int(id): int(pages) for id, pages in rows}
    return sum(found.get(session, 0) < pages for session, pages in seen.pages.items())
