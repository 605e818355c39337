"""A table's connection: locked, closed, lent and forked."""

import asyncio
import os
import sqlite3
from contextlib import contextmanager
from typing import Any

import aiosqlite
import pytest
from sqlite_file import execute, rows, table

from acache.errors import CacheClosed, SourceUnavailable
from acache_sqlite import SQLiteTable

# --- the connection ---------------------------------------------------------------------------------


@contextmanager
def locked(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.close()


@pytest.mark.asyncio
async def test_a_locked_database_is_unavailable_and_free_again_later(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    async with table(path, "t", timeout=0.01) as things:
        with locked(path):
            for call in (things.load([1]), things.save({1: {}}), things.remove([1])):
                with pytest.raises(SourceUnavailable, match="locked") as unavailable:
                    await call
                assert isinstance(unavailable.value.__cause__, sqlite3.OperationalError)
        assert await things.load([1]) == {1: {"id": 1}}
        await things.save({2: {}})


@pytest.mark.asyncio
async def test_a_file_that_is_no_database_is_unavailable(path):
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    async with table(path, "t") as things:
        with pytest.raises(SourceUnavailable, match="not a database"):
            await things.load([1])


@pytest.mark.asyncio
async def test_a_closed_source_says_so_and_opens_again(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    things = SQLiteTable(path, "t")
    async with things:
        await things.load([1])
    with pytest.raises(CacheClosed, match="async with"):
        await things.load([1])
    async with things:
        await things.load([1])


@pytest.mark.asyncio
async def test_a_cancelled_close_closes_all_the_same(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    things = SQLiteTable(path, "t")
    await things.load([1])
    executor = things._connection._executor
    closing = asyncio.ensure_future(things.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    executor.shutdown(wait=True)
    assert things._connection._connection is None


@pytest.mark.asyncio
async def test_a_lent_connection_is_not_written_to_inside_its_owners_transaction(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    async with aiosqlite.connect(path) as connection:
        await connection.execute("INSERT INTO t VALUES (1)")
        async with table(connection, "t") as things:
            for call in (things.save({2: {}}), things.remove([1])):
                with pytest.raises(SourceUnavailable, match="commit first"):
                    await call
            await connection.rollback()
            await things.save({2: {}})
            await connection.rollback()
            assert await things.load([1, 2]) == {2: {"id": 2}}


@pytest.mark.asyncio
async def test_a_lent_connection_that_is_closed_is_unavailable(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    async with aiosqlite.connect(path) as connection:
        pass
    async with table(connection, "t") as things:
        with pytest.raises(SourceUnavailable, match="not open"):
            await things.load([1])


@pytest.mark.asyncio
async def test_a_database_in_memory_can_be_lent():
    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n)")
        async with table(connection, "t") as things:
            await things.save({1: {"n": 1}})
            assert await things.load([1]) == {1: {"id": 1, "n": 1}}


@pytest.mark.real
def test_a_child_opens_a_connection_of_its_own_and_the_parents_end_costs_it_nothing(path):
    execute(path, "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)")
    things = SQLiteTable(path, "t")
    asyncio.run(things.save({1: {}}))
    (heard, say), (wait, let_go) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(let_go)
            asyncio.run(things.load([1]))
            os.write(say, b"loaded")
            os.read(wait, 1)
            # Had the parent's connection crossed the fork, its end would have deleted the log that
            # this goes to.
            asyncio.run(things.save({2: {}}))
        finally:
            os._exit(0)
    os.close(say)
    assert os.read(heard, 6) == b"loaded"
    asyncio.run(things.load([1]))
    asyncio.run(things.aclose())
    os.close(let_go)
    os.waitpid(child, 0)
    assert rows(path, "SELECT id FROM t") == [(1,), (2,)]
    os.close(heard)
    os.close(wait)


def forked():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def test_a_fork_waits_for_the_batch_that_is_being_written(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, n)")
    things: SQLiteTable[int, dict[str, Any]] = SQLiteTable(path, "t")

    async def write():
        saving = asyncio.ensure_future(things.save({n: {"n": n} for n in range(5_000)}))
        await asyncio.sleep(0)
        forked()
        await saving
        assert len(await things.load(range(5_000))) == 5_000
        await things.aclose()

    asyncio.run(write())
