"""Databases: concurrent reads of different rows as one query, against a query each; and writes."""

import argparse
import asyncio
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from time import perf_counter

import aiosqlite
import asyncpg

from acache import Cache, ReadThrough
from acache.protocols import Source
from acache_postgres import PostgresTable
from acache_sqlite import SQLiteTable
from benchmarks import _measure as measure
from benchmarks import _sql_writes
from benchmarks._postgres import postgres
from benchmarks._table import Row, at_least

SUITE = "sql"
OURS = "get of ReadThrough"
READERS = 1_000
ROWS = 100_000  # more than anybody asks for: every read is of a row that was not read before
POOL = 10
TARGETS = {"PostgreSQL": 6.0, "SQLite": 4.0}
SELECT = "SELECT id, name, email, age, score FROM users WHERE id = "
TABLE = """
CREATE TABLE users (id {bigint} PRIMARY KEY, name text NOT NULL, email text, age integer, score {double});
"""
Read = Callable[[int], Awaitable[object]]
Users = Source[int, dict[str, object]]


async def run(options: argparse.Namespace) -> list[Row]:
    """Return every row of the suite."""
    rows = await on_postgres(options.rounds)
    rows += await on_sqlite(options.rounds)
    return rows + await _sql_writes.on_postgres(options.rounds)


async def on_postgres(rounds: int) -> list[Row]:
    """Measure against `fetchrow` over a pool."""
    fill = (
        f"INSERT INTO users SELECT n, 'user ' || n, n || '@example.org', n % 90, n / 7.0 "
        f"FROM generate_series(0, {ROWS - 1}) n; ANALYZE users"
    )
    with postgres() as server:
        server.psql(TABLE.format(bigint="bigint", double="double precision") + fill)
        async with (
            asyncpg.create_pool(server.url, min_size=POOL, max_size=POOL) as pool,
            PostgresTable[int, dict[str, object]](server.url, "users", pool_size=POOL) as table,
        ):
            rivals: dict[str, Read] = {"fetchrow over a pool": lambda n: pool.fetchrow(SELECT + "$1", n)}
            return await compared("PostgreSQL", rivals, table, rounds)


async def on_sqlite(rounds: int) -> list[Row]:
    """Measure against selects over one aiosqlite connection.

    As its documentation writes them; and by its helper, which goes to the connection's thread once
    where the others go three times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "users.db")
        connection = sqlite3.connect(path)
        connection.executescript(TABLE.format(bigint="integer", double="real"))
        made = ((n, f"user {n}", f"{n}@example.org", n % 90, n / 7.0) for n in range(ROWS))
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?)", made)
        connection.commit()
        connection.close()
        async with (
            aiosqlite.connect(path) as single,
            SQLiteTable[int, dict[str, object]](path, "users") as table,
        ):

            async def select(n: int) -> object:
                async with single.execute(SELECT + "?", (n,)) as cursor:
                    return await cursor.fetchone()

            rivals: dict[str, Read] = {
                "aiosqlite selects": select,
                "execute_fetchall": lambda n: single.execute_fetchall(SELECT + "?", (n,)),
            }
            return await compared("SQLite", rivals, table, rounds)


async def compared(name: str, rivals: Mapping[str, Read], table: Users, rounds: int) -> list[Row]:
    """Measure concurrent reads of rows that nobody has read yet: ours, theirs and the bare query.

    The first of the *rivals* is the one that the target is about."""
    async with Cache(f"memory://?max_entries={ROWS}") as cache:
        users = ReadThrough(cache, table, key="user:{}", ttl=300)

        async def batch(ids: range) -> None:
            await table.load(ids)

        contestants = {OURS: each(users.get), **{rival: each(read) for rival, read in rivals.items()}}
        times = await measure.interleaved({**contestants, "load of the table": together(batch)}, rounds)
        assert cache.stats().loads == rounds
    rows = [
        Row(suite=SUITE, name=f"{name}: {what}", value=measure.median(taken) * 1e6, unit="µs a row")
        for what, taken in times.items()
    ]
    for place, rival in enumerate(rivals):
        ratio, spread = measure.ratios(times[rival], times[OURS])
        title = f"{name}: {READERS:,} concurrent gets vs {rival}"
        if place:
            rows.append(Row(suite=SUITE, name=title, value=ratio, unit="×", spread=spread))
        else:
            rows.append(at_least(SUITE, title, ratio, TARGETS[name], spread=spread))
    return rows


def each(read: Read) -> measure.Timed:
    """Return what reads many rows at the same time, others in each round."""
    fresh = _ranges()

    async def run() -> float:
        ids = next(fresh)
        start = perf_counter()
        await asyncio.gather(*map(read, ids))
        return (perf_counter() - start) / READERS

    return run


def together(load: Callable[[range], Awaitable[None]]) -> measure.Timed:
    """Return what reads as many in one call."""
    fresh = _ranges()

    async def run() -> float:
        ids = next(fresh)
        start = perf_counter()
        await load(ids)
        return (perf_counter() - start) / READERS

    return run


def _ranges() -> Iterator[range]:
    return (range(first, first + READERS) for first in cycle(range(0, ROWS, READERS)))
