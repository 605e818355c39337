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
        how = "unclean"
        try:
            yield self
            how = "clean"
        finally:
            self.noted.append(("leave", keys, how, self.connection.in_transaction))


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
        assert cache.noted == [("fence", ("k",), ["t"], False), ("leave", ("k",), "clean", False)]
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
        assert cache.noted[-1] == ("leave", ("k",), "unclean", False)
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
async def test_a_transaction_begun_otherwise_is_refused_before_anything_is_fenced():
    async with opened() as (connection, cache):
        await connection.execute("BEGIN")
        with pytest.raises(ConfigurationError, match="connection="):
            async with transaction(cache, connection, "k"):
                pytest.fail("the block ran")
        assert cache.noted == []


@pytest.mark.asyncio
async def test_a_transaction_inside_another_keeps_its_fence_until_the_outer_one_ended():
    async with opened() as (connection, cache):
        async with transaction(cache, connection, "outer", "more", tags=["o"]):
            for number in (1, 2):
                async with transaction(cache, connection, f"inner {number}", tags=["i"]):
                    await connection.execute("INSERT INTO t VALUES (?)", (number,))
            assert [noted[0] for noted in cache.noted] == ["fence"] * 3
        assert [noted[1:] for noted in cache.noted[3:]] == [
            (("inner 2",), "clean", False),
            (("inner 1",), "clean", False),
            (("outer", "more"), "clean", False),
        ]
        assert await connection.execute_fetchall("SELECT n FROM t") == [(1,), (2,)]


@pytest.mark.asyncio
async def test_a_transaction_that_failed_inside_another_takes_only_itself_back():
    async with opened() as (connection, cache):
        async with transaction(cache, connection, "outer"):
            await connection.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(ValueError):
                async with transaction(cache, connection, "inner"):
                    await connection.execute("INSERT INTO t VALUES (2)")
                    async with transaction(cache, connection, "innermost"):
                        await connection.execute("INSERT INTO t VALUES (3)")
                    raise ValueError
            # Also what had ended well inside it is taken back, and must not be cached.
            assert [noted[:3] for noted in cache.noted[-2:]] == [
                ("leave", ("innermost",), "unclean"),
                ("leave", ("inner",), "unclean"),
            ]
            await connection.execute("INSERT INTO t VALUES (4)")
        assert cache.noted[-1] == ("leave", ("outer",), "clean", False)
        assert await connection.execute_fetchall("SELECT n FROM t") == [(1,), (4,)]


@pytest.mark.asyncio
async def test_if_the_outer_transaction_fails_the_inner_ones_end_unclean_too():
    async with opened() as (connection, cache):
        with pytest.raises(ValueError):
            async with transaction(cache, connection, "outer"):
                async with transaction(cache, connection, "inner"):
                    await connection.execute("INSERT INTO t VALUES (1)")
                raise ValueError
        assert cache.noted[2:] == [("leave", (key,), "unclean", False) for key in ("inner", "outer")]
        assert await connection.execute_fetchall("SELECT n FROM t") == []
