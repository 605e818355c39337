"""How many statements a database executes for an operation: counted by the connection, not timed."""

import asyncio

import asyncpg
import pytest

from acache import Cache, MemoryJournal, ReadThrough, WriteBehind, WriteThrough
from acache_postgres import PostgresTable

ROWS = 1_000
pytestmark = [pytest.mark.real, pytest.mark.asyncio]


async def test_a_batch_of_any_size_is_one_statement(url):
    seen = []

    async def verbs(work):
        """Return the first word of each statement that *work* makes."""
        seen.clear()
        await work
        return [statement.split()[0].upper() for statement in seen]

    async def watched(connection):
        connection.add_query_logger(note)

    def note(record):
        if "pg_advisory_unlock_all" not in record.query:  # the pool's own, when a connection comes back
            seen.append(record.query)

    def row(number):
        return {"id": number, "name": "Bob"}

    async with asyncpg.create_pool(url, min_size=2, max_size=2, init=watched) as pool, Cache() as cache:
        await pool.execute("CREATE TABLE users (id bigint PRIMARY KEY, name text)")
        await pool.execute("INSERT INTO users SELECT n, 'Ann' FROM generate_series(0, 999) n")
        async with PostgresTable(pool, "users", key="id") as table:
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
    written = ["BEGIN", "INSERT", "COMMIT"]
    assert counted == {
        "1,000 gets at once": ["SELECT"],
        "get_many": ["SELECT"],
        "put": written,
        "put_many": written,
        "500 writes behind": written,
    }
