"""Servers that hang, die and come back, locks, deadlocks, timeouts, and callers who leave."""

import asyncio
import time
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest
from postgres_server import postgres

from acache.errors import CacheError, SourceUnavailable
from acache.testing.proxy import Proxy
from acache_postgres import PostgresTable, QuerySource

pytestmark = pytest.mark.real

WORKING = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE $1 AND state = 'active'"

COMMITTING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'COMMIT'"


@pytest.fixture
def t(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0), (2, 0)")
    return url


async def until(true, seconds=15):
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_a_batch_that_takes_too_long_is_cancelled_on_the_server(t, admin):
    slow = "SELECT k AS id, pg_sleep(30)::text AS slept FROM unnest(:keys::int[]) k"
    async with QuerySource(t, load=slow, timeout=0.3) as source:
        start = time.monotonic()
        with pytest.raises(SourceUnavailable, match="no answer within 0.3 seconds"):
            await source.load([1])
        assert time.monotonic() - start < 1.3
        assert await admin.fetchval(WORKING, "%pg_sleep(30)%") == 0
        # Its connection is as good as new.
        [opened] = source._connections._opened.values()
        assert opened.pool.get_size() == opened.pool.get_idle_size() == 1


@pytest.mark.asyncio
async def test_a_load_whose_caller_leaves_is_cancelled_on_the_server(t, admin):
    slow = "SELECT k AS id, pg_sleep(31)::text AS slept FROM unnest(:keys::int[]) k"

    async def working():
        return await admin.fetchval(WORKING, "%pg_sleep(31)%")

    async with QuerySource(t, load=slow, timeout=60) as source:
        load = asyncio.create_task(source.load([1]))
        await until(working)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert not await working()


@pytest.mark.asyncio
@pytest.mark.parametrize("lend", [False, True])
async def test_a_write_that_waits_too_long_for_a_lock_is_given_up_and_writes_nothing(t, admin, lend):
    lent = await asyncpg.connect(t)
    table = PostgresTable(lent if lend else t, "t", timeout=0.3)
    async with admin.transaction():
        await admin.execute("UPDATE t SET n = 5 WHERE id = 1")
        with pytest.raises(SourceUnavailable, match="no answer within"):
            await table.save({2: {"n": 9}, 1: {"n": 9}})
    await asyncio.sleep(0.05)  # a statement that was not cancelled would go on now
    assert await table.load([1, 2]) == {1: {"id": 1, "n": 5}, 2: {"id": 2, "n": 0}}
    await table.save({1: {"n": 6}})
    await table.aclose()
    await lent.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["asyncio", "anyio"])
async def test_when_a_cancelled_write_returns_it_is_decided_what_was_written(t, admin, how):
    async with PostgresTable(t, "t") as table:
        for turns in range(60):
            if how == "asyncio":
                task = asyncio.ensure_future(table.save({1: {"n": turns}, 2: {"n": turns}}))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(table.save, {1: {"n": turns}, 2: {"n": turns}})
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    group.cancel_scope.cancel()
            found = await admin.fetch("SELECT n FROM t")
            assert found[0] == found[1]
            assert await admin.fetchval(COMMITTING) == 0
            await asyncio.sleep(0.001)
            assert await admin.fetch("SELECT n FROM t") == found


@pytest.mark.asyncio
async def test_a_real_deadlock_is_worth_another_try(server, t, admin):
    async with PostgresTable(t, "t") as table:
        # Who looks for a deadlock first, half a second into its wait on this server, is its victim.
        await admin.execute("BEGIN; SET LOCAL deadlock_timeout = '10s'; UPDATE t SET n = 0 WHERE id = 2")
        saving = asyncio.create_task(table.save({1: {"n": 9}, 2: {"n": 9}}))
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
        )

        async def waiting():
            return int(server.psql(waits))  # by another connection: a transaction sees one state only

        await until(waiting)
        crossing = asyncio.create_task(admin.execute("UPDATE t SET n = 0 WHERE id = 1"))
        with pytest.raises(SourceUnavailable, match="deadlock detected"):
            await saving
        await crossing
        await admin.execute("COMMIT")
        await table.save({1: {"n": 9}, 2: {"n": 9}})


@pytest.mark.asyncio
async def test_batches_of_several_writers_do_not_deadlock(t, admin):
    await admin.execute("INSERT INTO t SELECT n, 0 FROM generate_series(3, 200) n")
    async with PostgresTable(t, "t") as one, PostgresTable(t, "t") as other:
        forwards, backwards = range(1, 201), range(200, 0, -1)
        writes = []
        for n in range(10):
            writes.append(one.save({key: {"n": n} for key in forwards}))
            writes.append(other.save({key: {"n": n} for key in backwards}))
            writes.append(other.remove(backwards))
        await asyncio.gather(*writes)


@pytest.mark.asyncio
async def test_a_connection_that_an_administrator_ended_is_replaced(t, admin):
    slow = "SELECT k AS id, pg_sleep(32)::text AS slept FROM unnest(:keys::int[]) k"
    # Waits until each is gone, for one that is about to go is still seen at work.
    ended = """
        SELECT pg_terminate_backend(pid, 15000) FROM pg_stat_activity WHERE query LIKE $1 AND pid <> pg_backend_pid()
    """
    async with QuerySource(t, load=slow, timeout=60) as source, PostgresTable(t, "t") as table:
        assert len(await table.load([1, 2])) == 2
        load = asyncio.create_task(source.load([1]))

        async def working():
            return await admin.fetchval(WORKING, "%pg_sleep(32)%")

        for _ in range(2):  # what only reads is tried once more
            await until(working)
            await admin.execute(ended, "%")
        with pytest.raises(SourceUnavailable, match="terminating connection"):
            await load
        assert len(await table.load([1, 2])) == 2  # idle meanwhile, and told


@pytest.mark.asyncio
async def test_a_connection_that_died_while_it_was_idle_is_not_noticed_by_a_caller(server, t):
    async with PostgresTable(t, "t") as table:
        for batch in (table.load, lambda ids: table.save({id: {"n": 5} for id in ids}), table.remove):
            await table.load([1])
            # In one step of the loop: nothing could tell the pool before the batch begins.
            server.psql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            )
            await batch([1, 2])
        assert await table.load([1, 2]) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_connections_that_were_told_of_their_end_and_have_not_ended_yet_are_replaced(server, t, turns):
    async with PostgresTable(t, "t") as table:
        for batch in (table.load, lambda ids: table.save({id: {"n": 5} for id in ids}), table.remove):
            await asyncio.gather(*(table.load([1]) for _ in range(4)))
            server.psql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            )
            for _ in range(turns):  # the last words of the server are read in one, its end in another
                await asyncio.sleep(0)
            await batch([1, 2])


@pytest.mark.asyncio
@pytest.mark.parametrize("tcp", [False, True])
async def test_a_server_may_be_killed_and_started_again(tcp):
    with postgres(tcp=tcp) as server:
        server.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)")
        async with PostgresTable(server.url, "t", timeout=5) as table:
            assert await table.load([1]) == {1: {"id": 1, "n": 1}}
            server.kill()
            for attempt in (table.load([1]), table.save({1: {"n": 2}}), table.remove([1])):
                with pytest.raises(SourceUnavailable) as away:
                    await attempt
                assert isinstance(
                    away.value.__cause__, OSError | asyncpg.PostgresError | asyncpg.InterfaceError
                )
            server.start()
            assert await table.load([1]) == {1: {"id": 1, "n": 1}}


@pytest.mark.asyncio
async def test_a_server_that_hangs_costs_a_batch_its_timeout(t):
    with postgres() as server:
        server.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)")
        async with PostgresTable(server.url, "t", timeout=0.5) as table:

            async def answers():
                try:
                    return await table.load([1])
                except SourceUnavailable:
                    return False

            await until(answers)  # the first connection may take longer than a batch
            server.pause()
            for attempt in (table.load([1]), table.save({1: {"n": 2}}), table.load([1])):
                start = time.monotonic()
                with pytest.raises(SourceUnavailable, match="no answer within"):
                    await attempt
                assert time.monotonic() - start < 10  # the timeout, and a second for the cancellation
            server.resume()
            await until(answers)
            assert await table.load([1]) == {1: {"id": 1, "n": 1}}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://user:secret@127.0.0.1:1/db", "Connect call failed"),
        ("postgresql://user:secret@/nope?host=/nowhere", "No such file"),
    ],
)
async def test_a_server_that_is_not_there_is_unavailable_and_no_password_is_told(url, message):
    async with PostgresTable(url, "t") as table:
        with pytest.raises(SourceUnavailable, match=message) as away:
            await table.load([1])
        assert "secret" not in str(away.value)


@pytest.mark.asyncio
async def test_a_database_that_is_not_there_is_unavailable(t):
    async with PostgresTable(t.replace("/postgres?", "/nope?"), "t") as table:
        with pytest.raises(SourceUnavailable, match='database "nope" does not exist'):
            await table.load([1])


@pytest.mark.asyncio
async def test_batches_wait_for_a_connection_of_a_small_pool(t):
    async with PostgresTable(t, "t", pool_size=1) as table:
        answers = await asyncio.gather(*(table.load([1 + n % 2]) for n in range(50)))
        assert all(len(answer) == 1 for answer in answers)


@pytest.mark.asyncio
async def test_after_a_read_only_standby_took_over_writes_are_worth_another_try(t, admin):
    await admin.execute("SET default_transaction_read_only = on")
    with pytest.raises(SourceUnavailable, match="read-only"):
        await PostgresTable(admin, "t").save({1: {"n": 2}})


@pytest.mark.slow
@pytest.mark.asyncio
async def test_whatever_damaged_bytes_do_the_error_is_one_of_ours():
    struck = 0
    with postgres(tcp=True) as server:
        server.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)")
        port = urlsplit(server.url).port
        for seed in range(12):
            async with Proxy("127.0.0.1", port, seed=seed) as proxy:
                through = server.url.replace(f":{port}/", f":{proxy.port}/")
                async with PostgresTable(through, "t", key="id", timeout=0.2, pool_size=1) as table:
                    with suppress(SourceUnavailable):
                        await table.load([1])
                    proxy.corruption = 0.7
                    for work in (table.load([1]), table.remove([9]), table.save({2: {"id": 2, "n": 0}})):
                        with suppress(CacheError):
                            await work
                    proxy.calm()
                struck += proxy.struck["corruption"]
    assert struck > 12
