"""How many statements a database executes for an operation: counted by SQLite, not timed."""

import asyncio
import sqlite3
from collections import Counter

import aiosqlite
import pytest

from acache import Cache, MemoryJournal, ReadThrough, WriteBehind, WriteThrough
from acache_sqlite import SQLiteTable

ROWS = 1_000
pytestmark = pytest.mark.asyncio


@pytest.fixture
def path(tmp_path):
    connection = sqlite3.connect(tmp_path / "users.db")
    connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    connection.executemany("INSERT INTO users VALUES (?, 'Ann')", [(n,) for n in range(ROWS)])
    connection.commit()
    connection.close()
    return tmp_path / "users.db"


async def test_a_batch_of_any_size_is_one_query_or_one_transaction(path):
    seen = []

    async def verbs(work):
        """Return the first words of the statements that *work* makes, and how often each is executed."""
        seen.clear()
        await work
        return dict(Counter(statement.split()[0] for statement in seen))

    def row(number):
        return {"id": number, "name": "Bob"}

    async with aiosqlite.connect(path) as connection, Cache() as cache:
        await connection.set_trace_callback(seen.append)
        async with SQLiteTable(connection, "users", key="id") as table:
            reader = ReadThrough(cache, table, key="read:{}", ttl=60)
            through = WriteThrough(cache, table, key="through:{}", ttl=60)
            journal = MemoryJournal()
            async with WriteBehind(
                cache, table, key="behind:{}", ttl=60, journal=journal, batch_size=ROWS, max_delay=60
            ) as behind:
                await reader.get(0)  # the schema is known then
                await through.put(0, row(0))
                counted = {
                    "1,000 gets at once": await verbs(asyncio.gather(*map(reader.get, range(1, ROWS)))),
                    "get_many": await verbs(reader.get_many(range(5_000, 5_500))),
                    "put": await verbs(through.put(1, row(1))),
                    "put_many": await verbs(through.put_many({n: row(n) for n in range(500)})),
                }
                await asyncio.gather(*(behind.put(n, row(n)) for n in range(500)))
                counted["500 writes behind"] = await verbs(behind.flush())
    read = {"PRAGMA": 1, "WITH": 1}
    assert counted == {
        "1,000 gets at once": read,
        "get_many": read,
        "put": read | {"BEGIN": 1, "INSERT": 1, "COMMIT": 1},
        "put_many": read | {"BEGIN": 1, "INSERT": 500, "COMMIT": 1},
        "500 writes behind": read | {"BEGIN": 1, "INSERT": 500, "COMMIT": 1},
    }
