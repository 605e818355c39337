"""A real SQLite file of users and their orders. Knows no cache."""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiosqlite

USERS: Final = 20_000
ORDERS: Final = 100_000
READERS: Final = 6
"""Connections that read: few, so that a herd queues for them as it would for a real pool."""

_SCHEMA: Final = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, item TEXT NOT NULL, cents INTEGER NOT NULL
);
"""

# orders.user_id has no index: the query walks all orders, a few milliseconds of real work.
_SUMMARY: Final = """
SELECT users.id, users.name, users.version, count(orders.id), coalesce(sum(orders.cents), 0)
FROM users LEFT JOIN orders ON orders.user_id = users.id WHERE users.id = ?
"""
_ITEMS: Final = ("book", "chair", "kettle", "lamp", "pen", "scarf", "teapot", "vase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A user with the number and the sum (cents) of their orders; `version` counts the changes."""

    user_id: int
    name: str
    version: int
    orders: int
    cents: int


class Database:
    """A small pool of reading connections, and one that writes. Made by `open_database`."""

    def __init__(self, readers: list[aiosqlite.Connection], writer: aiosqlite.Connection) -> None:
        """Take over open connections."""
        self._readers = readers
        self._free: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        for connection in readers:
            self._free.put_nowait(connection)
        self._writer = writer
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[aiosqlite.Connection]:
        """Lend a reading connection, first come first served."""
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def place_order(self, user_id: int, *, cents: int) -> int:
        """Add an order in a transaction; return the user's version once that is committed."""
        async with self._writing:
            try:
                await self._writer.execute("BEGIN IMMEDIATE")
                await self._writer.execute(
                    "INSERT INTO orders (user_id, item, cents) VALUES (?, 'gift', ?)", (user_id, cents)
                )
                changed = await self._writer.execute_fetchall(
                    "UPDATE users SET version = version + 1 WHERE id = ? RETURNING version", (user_id,)
                )
            except BaseException:
                await self._writer.rollback()
                raise
            await self._writer.commit()
        ((version,),) = changed
        return int(version)

    async def settle(self) -> None:
        """Wait until no connection is busy with a query that its reader has given up."""
        for connection in self._readers:
            await connection.execute_fetchall("SELECT 1")


async def summary(connection: aiosqlite.Connection, user_id: int) -> Summary:
    """Read one user's summary: the slow query of the demo."""
    ((found, name, version, orders, cents),) = await connection.execute_fetchall(_SUMMARY, (user_id,))
    return Summary(user_id=found, name=name, version=version, orders=orders, cents=cents)


@asynccontextmanager
async def open_database(directory: Path, *, seed: int) -> AsyncGenerator[Database]:
    """Make and fill a database in *directory*, the same for the same *seed*; closed at the end."""
    path = directory / "shop.db"
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(aiosqlite.connect(path, isolation_level=None))
        await writer.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + _SCHEMA)
        await _fill(writer, random.Random(seed))
        readers = [await stack.enter_async_context(aiosqlite.connect(path)) for _ in range(READERS)]
        for connection in readers:
            await connection.execute("PRAGMA mmap_size = 268435456")  # one copy of the file for all of them
            await connection.execute("PRAGMA query_only = ON")
        yield Database(readers, writer)


async def _fill(connection: aiosqlite.Connection, rng: random.Random) -> None:
    await connection.execute("BEGIN")
    await connection.executemany(
        "INSERT INTO users (id, name) VALUES (?, ?)", ((n, f"user {n}") for n in range(1, USERS + 1))
    )
    await connection.executemany("INSERT INTO orders (user_id, item, cents) VALUES (?, ?, ?)", _orders(rng))
    await connection.commit()


def _orders(rng: random.Random) -> Iterator[tuple[int, str, int]]:
    for _ in range(ORDERS):
        yield rng.randint(1, USERS), rng.choice(_ITEMS), rng.randint(100, 90_000)
