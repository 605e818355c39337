"""Acknowledging a write durably: the SQLite journal with one writer, a hundred and a thousand.

What a round has written is acknowledged after it, as flushed: the journal is as full as in service."""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from time import perf_counter, time

import aiosqlite

from acache.protocols import Write
from acache_sqlite import SQLiteJournal
from benchmarks import _backlog
from benchmarks import _measure as measure
from benchmarks._disk import fsync
from benchmarks._table import Row, at_least, at_most

SUITE = "journal"
WRITERS = (1, 100, 1_000)
COMPARED = 100
WRITES = {1: 50, 100: 10, 1_000: 3}  # of each writer in a round
PAYLOAD = bytes(range(200))
TARGET = 8.0
P50 = 0.003  # seconds, or so many fsyncs:
FSYNCS = 4

Append = Callable[[Write], Awaitable[object]]


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    waits: dict[int, list[float]] = {writers: [] for writers in WRITERS}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        journal = SQLiteJournal(folder / "journal")
        stack.push_async_callback(journal.aclose)
        single = await _one_transaction_each(folder / "single.db", stack)
        numbers = count(int(time() * 1e6))

        def rounds(append: Append, writers: int, found: list[float]) -> measure.Timed:
            async def run() -> float:
                seconds = await _write(append, writers, numbers, found)
                # As a flusher does: what nobody works off is measured by itself (`_backlog`).
                await journal.acknowledge(dict.fromkeys(map(_key, range(writers)), next(numbers)))
                return seconds

            return run

        contestants = {
            f"{writers} writers": rounds(lambda write: journal.append([write]), writers, waits[writers])
            for writers in WRITERS
        }
        contestants["fsync"] = fsync
        contestants["one each"] = rounds(single, COMPARED, [])
        times = await measure.interleaved(contestants, options.rounds)
    return _rows(times, waits) + await _backlog.run()


def _rows(times: dict[str, list[float]], waits: dict[int, list[float]]) -> list[Row]:
    synced = measure.median(times["fsync"])
    rows = [Row(suite=SUITE, name="fsync of 4 KiB appended to a file", value=synced * 1e3, unit="ms")]
    for writers in WRITERS:
        p50, p99 = _percentiles(waits[writers])
        name = f"acknowledgement, {writers:,} writers"
        if writers == COMPARED:
            limit = max(P50, FSYNCS * synced) * 1e3
            rows.append(at_most(SUITE, f"{name}: p50", p50 * 1e3, limit, "ms"))
        else:
            rows.append(Row(suite=SUITE, name=f"{name}: p50", value=p50 * 1e3, unit="ms"))
        rows.append(Row(suite=SUITE, name=f"{name}: p99", value=p99 * 1e3, unit="ms"))
        per_second = 1 / measure.median(times[f"{writers} writers"])
        rows.append(Row(suite=SUITE, name=f"{name}: together", value=per_second, unit="writes/s"))
    ratio, spread = measure.ratios(times["one each"], times[f"{COMPARED} writers"])
    title = f"group commit vs one transaction each, {COMPARED} writers"
    return [*rows, at_least(SUITE, title, ratio, TARGET, spread=spread)]


async def _write(append: Append, writers: int, numbers: "count[int]", waits: list[float]) -> float:
    """Return the seconds per acknowledged write; note how long each one waited."""

    async def writer(key: str) -> None:
        for _ in range(WRITES[writers]):
            write = Write(key=key, id=b"\x01", payload=PAYLOAD, tags=(), sequence=next(numbers), at=time())
            start = perf_counter()
            await append(write)
            waits.append(perf_counter() - start)

    start = perf_counter()
    await asyncio.gather(*(writer(_key(number)) for number in range(writers)))
    return (perf_counter() - start) / (writers * WRITES[writers])


def _key(writer: int) -> str:
    return f"row:{writer}"


async def _one_transaction_each(path: Path, stack: AsyncExitStack) -> Append:
    """Return what inserts a row in a transaction of its own, as durably: the rival."""
    database = await stack.enter_async_context(aiosqlite.connect(path, isolation_level=None))
    await database.execute("PRAGMA journal_mode = WAL")
    await database.execute("PRAGMA synchronous = FULL")
    await database.execute("CREATE TABLE log (key TEXT, sequence INTEGER, id BLOB, payload BLOB, at REAL)")

    async def append(write: Write) -> None:
        row = (write.key, write.sequence, write.id, write.payload, write.at)
        await database.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", row)

    return append


def _percentiles(waits: list[float]) -> tuple[float, float]:
    steps = statistics.quantiles(waits, n=100)
    return steps[49], steps[98]
