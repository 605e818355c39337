"""Writing to PostgreSQL: behind a journal, through, and one awaited upsert after the other."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg

from acache import Cache, WriteBehind, WriteThrough
from acache_postgres import PostgresTable
from acache_sqlite import SQLiteJournal
from benchmarks import _measure as measure
from benchmarks._disk import fsync
from benchmarks._postgres import postgres
from benchmarks._table import Row, at_least

SUITE = "sql"
TABLE = "CREATE TABLE users (id bigint PRIMARY KEY, name text, email text, age integer, score float8)"
UPSERT = (
    "INSERT INTO users VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET "
    "name = excluded.name, email = excluded.email, age = excluded.age, score = excluded.score"
)
BATCH = 1_000
ROWS = 5_000  # written behind in a round,
CALLERS = 1_000  # by so many callers at a time: as many as a batch has rows; or, printed beside, all at once
SINGLE = 200  # upserts in a round
WRITERS = 100
EACH = 20  # writes of each writer in a round
THROUGH = 5.0
FAST_DISK, SLOW_DISK = (0.0005, 12.0), (0.002, 25.0)  # seconds of an fsync, and the ratio to reach

Users = dict[str, object]
Put = Callable[[int, Users], Awaitable[object]]


async def on_postgres(rounds: int) -> list[Row]:
    """Return the rows of writing; the server syncs every commit."""
    with postgres(fsync="on", full_page_writes="on") as server:
        server.psql(TABLE)
        async with _patterns(server.url) as (single, through, behind):
            times = await measure.interleaved(
                {
                    "fsync": fsync,
                    "single": _after_each_other(single, SINGLE),
                    "flushed": _flushed(behind, CALLERS),
                    "at once": _flushed(behind, ROWS),
                    "through": _acknowledged(through.put),
                    "behind": _acknowledged(behind.put, then=behind.flush),
                },
                rounds,
            )
    return _rows(times)


def _rows(times: dict[str, list[float]]) -> list[Row]:
    synced = measure.median(times["fsync"])
    rows = [Row(suite=SUITE, name="fsync of 4 KiB appended to a file", value=synced * 1e3, unit="ms")]
    rows += [
        Row(
            suite=SUITE, name=f"PostgreSQL: {what}", value=measure.median(times[which]) * 1e6, unit="µs a row"
        )
        for which, what in (
            ("single", "awaited upsert of one row"),
            ("flushed", f"put behind a journal and flushed, {ROWS:,} rows by {CALLERS:,} callers"),
            ("at once", f"put behind a journal and flushed, {ROWS:,} rows at once"),
            ("through", f"write-through put, {WRITERS} writers"),
            ("behind", f"write-behind put, {WRITERS} writers"),
        )
    ]
    ratio, spread = measure.ratios(times["single"], times["flushed"])
    title = "PostgreSQL: written behind, put to flushed, vs awaited upserts"
    rows.append(at_least(SUITE, title, ratio, _target(synced), spread=spread))
    ratio, spread = measure.ratios(times["through"], times["behind"])
    title = f"PostgreSQL: acknowledged puts, {WRITERS} writers, behind vs through"
    return [*rows, at_least(SUITE, title, ratio, THROUGH, spread=spread)]


def _target(fsync: float) -> float:
    """Return the ratio to reach: the slower the disk, the more a batch saves."""
    (fast, low), (slow, high) = FAST_DISK, SLOW_DISK
    share = min(max((fsync - fast) / (slow - fast), 0), 1)
    return low + share * (high - low)


@asynccontextmanager
async def _patterns(url: str) -> AsyncIterator[tuple[Put, WriteThrough[int, Users], WriteBehind[int, Users]]]:
    with tempfile.TemporaryDirectory() as folder:
        connection = await asyncpg.connect(url)
        try:
            async with (
                PostgresTable[int, Users](url, "users") as table,
                Cache("memory://?max_entries=100000") as cache,
                WriteBehind(
                    cache,
                    table,
                    key="user:{}",
                    ttl=300,
                    journal=SQLiteJournal(Path(folder, "journal")),
                    batch_size=BATCH,
                ) as behind,
            ):
                through = WriteThrough(cache, table, key="through:{}", ttl=300)

                async def single(_: int, row: Users) -> None:
                    await connection.execute(UPSERT, *row.values())

                yield single, through, behind
        finally:
            await connection.close()


def _row(id: int) -> Users:
    return {"id": id, "name": f"user {id}", "email": f"{id}@example.org", "age": id % 90, "score": id / 7}


def _after_each_other(put: Put, times: int) -> measure.Timed:
    numbers = count()

    async def run() -> float:
        start = perf_counter()
        for _ in range(times):
            id = next(numbers)
            await put(id, _row(id))
        return (perf_counter() - start) / times

    return run


def _flushed(behind: WriteBehind[int, Users], callers: int) -> measure.Timed:
    numbers = count(1_000_000 * callers)

    async def caller() -> None:
        for _ in range(ROWS // callers):
            id = next(numbers)
            await behind.put(id, _row(id))

    async def run() -> float:
        start = perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        await behind.flush()
        return (perf_counter() - start) / ROWS

    return run


def _acknowledged(put: Put, then: Callable[[], Awaitable[Any]] | None = None) -> measure.Timed:
    """Return what times the acknowledgements only; *then* ends the round."""
    numbers = count(2_000_000)

    async def writer() -> None:
        for _ in range(EACH):
            id = next(numbers)
            await put(id, _row(id))

    async def run() -> float:
        start = perf_counter()
        await asyncio.gather(*(writer() for _ in range(WRITERS)))
        found = (perf_counter() - start) / (WRITERS * EACH)
        if then is not None:
            await then()
        return found

    return run
