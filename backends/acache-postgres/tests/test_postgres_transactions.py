"""A transaction inside a fence: what was rolled back is never cached."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import asyncpg
import pytest
import pytest_asyncio

from acache import Cache
from acache.errors import ConfigurationError
from acache_postgres import transaction

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def pool(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0), (2, 0)")
    async with asyncpg.create_pool(url, min_size=1, max_size=3) as pool:
        yield pool


class Noting:
    """A cache's fences, with what another program saw when they were raised and fell."""

    def __init__(self, server):
        self.server = server
        self.noted = []
        self.committed = {}

    @asynccontextmanager
    async def writing(self, *keys, tags=()):
        self.noted.append(("fence", keys, tags, self.seen()))
        try:
            yield self
        except BaseException:
            self.noted.append(("left", keys, "unclean", self.seen()))
            raise
        self.noted.append(("left", keys, "clean", self.seen()))

    def commit(self, key, value, **options):
        self.committed[key] = (value, options)

    def seen(self):
        """Not to be cancelled: what is in the table now."""
        return [int(n) for n in self.server.psql("SELECT n FROM t ORDER BY id").split()]


@pytest.mark.asyncio
async def test_the_fence_stands_from_before_the_transaction_until_after_the_commit(server, pool):
    cache = Noting(server)
    async with transaction(cache, pool, "k", tags=["t"]) as work:
        await work.connection.execute("UPDATE t SET n = 1 WHERE id = 1")
        work.commit("k", "value", ttl=5, tags=["t"])
    assert cache.noted == [("fence", ("k",), ["t"], [0, 0]), ("left", ("k",), "clean", [1, 0])]
    assert cache.committed == {"k": ("value", {"ttl": 5, "tags": ["t"]})}


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_block_that_fails_is_rolled_back_before_the_fence_falls(server, pool, error):
    cache = Noting(server)
    async with pool.acquire() as connection:
        with pytest.raises(error):
            async with transaction(cache, connection, "k"):
                await connection.execute("UPDATE t SET n = 1")
                raise error
        assert not connection.is_in_transaction()
        assert cache.noted[-1] == ("left", ("k",), "unclean", [0, 0])


@pytest.mark.asyncio
async def test_a_transaction_in_which_a_statement_failed_silently_does_not_end_clean(server, pool):
    cache = Noting(server)
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        async with transaction(cache, pool, "k") as work:
            await work.connection.execute("UPDATE t SET n = 1")
            try:
                await work.connection.execute("SELECT nonsense")
            except asyncpg.PostgresError:
                pass  # as people do; PostgreSQL will not commit any more
    assert cache.noted[-1] == ("left", ("k",), "unclean", [0, 0])


@pytest.mark.asyncio
async def test_a_transaction_inside_another_keeps_its_fence_until_the_outer_one_ended(server, pool):
    cache = Noting(server)
    async with transaction(cache, pool, "outer") as work:
        async with transaction(cache, work.connection, "inner", tags=["i"]) as inner:
            await inner.connection.execute("UPDATE t SET n = 1 WHERE id = 1")
        assert [noted[0] for noted in cache.noted] == ["fence", "fence"]
        await work.connection.execute("UPDATE t SET n = 2 WHERE id = 2")
    assert cache.noted[2:] == [("left", ("inner",), "clean", [1, 2]), ("left", ("outer",), "clean", [1, 2])]


@pytest.mark.asyncio
async def test_a_transaction_that_failed_inside_another_takes_only_itself_back(server, pool):
    cache = Noting(server)
    async with pool.acquire() as connection, transaction(cache, connection, "outer"):
        await connection.execute("UPDATE t SET n = 2 WHERE id = 2")
        with pytest.raises(ValueError):
            async with transaction(cache, connection, "inner"):
                await connection.execute("UPDATE t SET n = 1")
                async with transaction(cache, connection, "innermost"):
                    await connection.execute("UPDATE t SET n = 3")
                raise ValueError
        # Also what had ended well inside it is taken back, and must not be cached.
        assert [noted[:3] for noted in cache.noted[-2:]] == [
            ("left", ("innermost",), "unclean"),
            ("left", ("inner",), "unclean"),
        ]
        async with connection.transaction():  # asyncpg's own may stand inside too
            await connection.execute("UPDATE t SET n = n + 5 WHERE id = 2")
    assert cache.noted[-1] == ("left", ("outer",), "clean", [0, 7])


@pytest.mark.asyncio
async def test_if_the_outer_transaction_fails_the_inner_ones_end_unclean_too(server, pool):
    cache = Noting(server)
    with pytest.raises(ValueError):
        async with transaction(cache, pool, "outer") as work:
            async with transaction(cache, work.connection, "inner"):
                await work.connection.execute("UPDATE t SET n = 1")
            raise ValueError
    assert cache.noted[2:] == [
        ("left", ("inner",), "unclean", [0, 0]),
        ("left", ("outer",), "unclean", [0, 0]),
    ]


@pytest.mark.asyncio
async def test_a_transaction_begun_otherwise_is_refused_before_anything_is_fenced(server, pool):
    cache = Noting(server)
    async with pool.acquire() as connection, connection.transaction():
        with pytest.raises(ConfigurationError, match="inside a transaction already"):
            async with transaction(cache, connection, "k"):
                pytest.fail("the block ran")
    assert cache.noted == []


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["asyncio", "anyio"])
async def test_whenever_it_is_cancelled_the_cache_knows_what_became_of_it(server, pool, how):
    cache = Noting(server)

    async def write(n):
        async with transaction(cache, pool, "k") as work:
            await work.connection.execute("UPDATE t SET n = $1", n)

    for turns in range(40):
        if how == "asyncio":
            task = asyncio.ensure_future(write(turns + 1))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(write, turns + 1)
                for _ in range(turns):
                    await asyncio.sleep(0)
                group.cancel_scope.cancel()
        if cache.noted:
            assert cache.noted[-1][0] == "left"
            assert cache.noted[-1][3] == cache.seen()  # nothing changed after the fence fell
    states = await pool.fetch("SELECT state FROM pg_stat_activity WHERE state LIKE '%transaction%'")
    assert states == []


@pytest.mark.asyncio
async def test_with_a_real_cache_a_value_is_kept_only_if_it_was_committed(server, pool):
    async with Cache("memory://") as cache:

        async def load():
            return await pool.fetchval("SELECT n FROM t WHERE id = 1")

        async def read():
            return await cache.get_or_load("k", load, ttl=60, tags=["t"])

        assert await read() == 0
        with pytest.raises(ValueError):
            async with transaction(cache, pool, "k", tags=["t"]) as work:
                await work.connection.execute("UPDATE t SET n = 1")
                work.commit("k", 1, ttl=60)
                assert await read() == 0  # served, not kept
                raise ValueError
        assert await cache.get("k") is None
        assert await read() == 0
        async with transaction(cache, pool, "k", tags=["t"]) as work:
            await work.connection.execute("UPDATE t SET n = 2")
            work.commit("k", 2, ttl=60)
            assert await read() == 0
        assert await cache.get("k") == 2
        with pytest.raises(TypeError, match="tags"):
            async with transaction(cache, pool, "k", tags="t"):
                pass
