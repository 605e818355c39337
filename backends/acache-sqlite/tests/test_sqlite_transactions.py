"""A transaction inside a fence: what was rolled back is never cached."""

import asyncio
from contextlib import asynccontextmanager

import aiosqlite
import pytest

from acache.errors import ConfigurationError
from acache_sqlite import transaction


class Cache:
    """Notes when it was fenced, and whether a transaction was open then."""

    def __init__(self, connection):
        self.connection = connection
        self.noted = []

    @asynccontextmanager
    async def writing(self, *keys, tags=()):
        self.noted.append(("fence", keys, tags, self.connection.in_transaction))
        try:
            yield self
        finally:
            self.noted.append(("leave", self.connection.in_transaction))


@asynccontextmanager
async def opened():
    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute("CREATE TABLE t (n INTEGER)")
        yield connection, Cache(connection)


@pytest.mark.asyncio
async def test_the_fence_stands_from_before_the_transaction_until_after_the_commit():
    async with opened() as (connection, cache):
        async with transaction(cache, connection, "k", tags=["t"]) as writer:
            assert writer is cache
            assert connection.in_transaction
            await connection.execute("INSERT INTO t VALUES (1)")
        assert cache.noted == [("fence", ("k",), ["t"], False), ("leave", False)]
        await connection.rollback()
        assert await connection.execute_fetchall("SELECT n FROM t") == [(1,)]


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_block_that_fails_is_rolled_back_before_the_fence_falls(error):
    async with opened() as (connection, cache):
        with pytest.raises(error):
            async with transaction(cache, connection, "k"):
                await connection.execute("INSERT INTO t VALUES (1)")
                raise error
        assert cache.noted[-1] == ("leave", False)
        assert await connection.execute_fetchall("SELECT n FROM t") == []


@pytest.mark.asyncio
async def test_whenever_it_is_cancelled_no_transaction_stays_open():
    async with opened() as (connection, cache):

        async def write():
            async with transaction(cache, connection, "k"):
                await connection.execute("INSERT INTO t VALUES (1)")

        for turns in range(30):
            task = asyncio.ensure_future(write())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await connection.execute_fetchall("SELECT 1")
            assert not connection.in_transaction
            assert len(cache.noted) % 2 == 0
            assert all(not noted[-1] for noted in cache.noted)


@pytest.mark.asyncio
async def test_a_transaction_inside_another_is_refused_before_anything_is_fenced():
    async with opened() as (connection, cache):
        await connection.execute("BEGIN")
        with pytest.raises(ConfigurationError, match="connection="):
            async with transaction(cache, connection, "k"):
                pytest.fail("the block ran")
        assert cache.noted == []
