"""Processes that write behind and are killed for real: fork, kill, and what each one reported.

A worker reports into a file of its own, line by line: what it wrote there outlives it. Times are
nanoseconds of the monotonic clock, which all processes of a machine share. Knows no scenario."""

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from acache import Cache, WriteBehind
from acache.errors import SourceUnavailable
from acache.protocols import Saved, WritableSource
from acache_sqlite import SQLiteJournal, SQLiteTable

BATCH = 8
PATIENCE = 60.0  # seconds; far more than anything here takes
Row = dict[str, int]


@dataclass(frozen=True, slots=True)
class Write:
    """A write that was acknowledged: its value, when its put began and when it returned."""

    key: int
    value: int
    began: int
    ended: int


@dataclass(slots=True)
class Report:
    """What one worker told before it ended."""

    writes: list[Write] = field(default_factory=list)
    stale: int = 0  # reads that missed a write of their own process
    refused: int = 0  # puts that were refused loudly
    resumed: int = 0  # writes acknowledged after a refusal
    deepest: int = 0  # pending keys at most


class Teller:
    """The worker's end of its report."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def acknowledged(self, write: Write, pending: int) -> None:
        """Tell of a write whose put has returned."""
        self._say(f"A {write.key} {write.value} {write.began} {write.ended} {pending}")

    def stale(self) -> None:
        """Tell of a read that returned less than this process had written."""
        self._say("S")

    def refused(self) -> None:
        """Tell of a put that was refused."""
        self._say("R")

    def _say(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


class Worker:
    """A forked process."""

    def __init__(self, folder: Path, work: Callable[[Teller], Awaitable[None]]) -> None:
        self._path = folder / f"report-{os.urandom(6).hex()}"
        self.pid = os.fork()
        self.status: int | None = None
        if not self.pid:
            _work(self._path, work)

    def wait_until(self, enough: Callable[[Report], object]) -> None:
        """Return once its report is *enough*; RuntimeError if it ends before."""
        end = time.monotonic() + PATIENCE
        while not enough(self.report()):
            if self._ended(os.WNOHANG) or time.monotonic() > end:
                self.kill()
                raise RuntimeError("a worker ended before it was killed")
            time.sleep(0.001)

    def wait_until_it_works(self) -> None:
        """Return once it has acknowledged something."""
        self.wait_until(lambda report: report.writes)

    def kill(self) -> None:
        """Kill it with -9, unless it has ended."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._ended(0)

    def join(self) -> bool:
        """Wait for its end; say whether it ended well."""
        end = time.monotonic() + PATIENCE
        while not self._ended(os.WNOHANG):
            if time.monotonic() > end:
                self.kill()
            time.sleep(0.001)
        return self.status == 0

    def report(self) -> Report:
        """Return what it has told by now."""
        report = Report()
        told = self._path.read_text() if self._path.exists() else ""
        for line in told.split("\n")[:-1]:
            kind, *numbers = line.split()
            if kind == "A":
                key, value, began, ended, pending = map(int, numbers)
                report.writes.append(Write(key, value, began, ended))
                report.deepest = max(report.deepest, pending)
                report.resumed += report.refused > 0
            elif kind == "S":
                report.stale += 1
            else:
                report.refused += 1
        return report

    def _ended(self, options: int) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.status = status
        return self.status is not None


def _work(path: Path, work: Callable[[Teller], Awaitable[None]]) -> None:
    """Be the child."""
    try:
        asyncio.run(work(Teller(path)))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


class Slow:
    """Delays the statements of a source, so that a backlog builds up."""

    pause = 0.004

    async def save(self, items, *, versions=None) -> Saved:
        """Save after a pause."""
        await asyncio.sleep(self.pause)
        return await super().save(items, versions=versions)


class SlowTable(Slow, SQLiteTable):
    """A slow table in a SQLite file."""


def pattern(folder: Path, source: WritableSource, **options: object) -> WriteBehind:
    """Return the pattern under test, with its journal in *folder*."""
    return behind(Cache(), source, journal=SQLiteJournal(folder / "journal"), **options)


def behind(cache: Cache, source: WritableSource, **options: object) -> WriteBehind:
    """Return the pattern under test over a journal."""
    settings = {"batch_size": BATCH, "max_delay": 0.002, "max_backlog": 10_000, **options}
    return WriteBehind(cache, source, key="row:{}", ttl=60, **settings)


async def write_for_ever(rows: WriteBehind, keys: range, tell: Teller, rng: random.Random) -> None:
    """Put ever greater values under every key, and read them back in between.

    All keys but every fourth rest after a write: nothing newer is there to hide what was forgotten."""
    last = dict.fromkeys(keys, 0)
    older = {0}  # than the last of their key: of others, a value that began earlier may be the newer one

    async def writer(key: int) -> None:
        while True:
            began = time.monotonic_ns()
            await rows.put(key, {"id": key, "value": began})
            older.add(last[key])
            last[key] = began
            tell.acknowledged(Write(key, began, began, time.monotonic_ns()), rows.backlog.pending)
            if key % 4:
                await asyncio.sleep(rng.uniform(0, 0.05))

    async def reader() -> None:
        while True:
            key = rng.choice(keys)
            floor = last[key]
            try:
                found = await rows.get(key)
            except SourceUnavailable:
                await asyncio.sleep(0.01)
                continue
            value = found["value"] if found else 0
            if value < floor and value in older:
                tell.stale()
            await asyncio.sleep(0)

    await asyncio.gather(*map(writer, keys), reader(), reader())
