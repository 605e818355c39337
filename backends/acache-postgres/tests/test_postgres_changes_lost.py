"""Nothing stale is served after the connection that listens was lost, lent or full."""

import asyncio
import logging

import asyncpg
import pytest
from postgres_heard import USERS, listening, until
from postgres_server import postgres

from acache import Cache
from acache.errors import SourceUnavailable
from acache_postgres import PostgresChanges

# --- connections that are lost ----------------------------------------------------------------------


async def cut(admin):
    """End every connection that listens."""
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
    return len(await admin.fetch(ended))


@pytest.mark.real
@pytest.mark.asyncio
@pytest.mark.parametrize(("tags", "cleared"), [({}, True), ({"users": "users"}, False)])
async def test_a_lost_connection_is_restored_and_everything_is_invalidated(
    server, url, heard, admin, caplog, tags, cleared
):
    server.psql(USERS)
    caplog.set_level(logging.INFO, "acache_postgres")
    changes = PostgresChanges(url, heard, {"users": "user:{id}"}, tags=tags, check_interval=60)
    async with changes:
        assert changes.listening
        heard.forget()
        assert await cut(admin) == 1
        await until(lambda: not changes.listening)
        await until(lambda: heard.cleared or heard.tags)  # at once, before it is restored
        server.psql("INSERT INTO users VALUES (5)")
        await until(lambda: changes.listening)
        assert bool(heard.cleared) is cleared
        assert heard.tags == set() if cleared else {"users"}
        server.psql("INSERT INTO users VALUES (6)")
        await until(lambda: "user:6" in heard.keys)
    assert not changes.listening
    assert "listening to PostgreSQL again" in caplog.text


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_value_from_before_the_connection_was_lost_is_not_served_after_it_was_restored(
    server, url, admin
):
    server.psql(USERS + "; INSERT INTO users VALUES (1, 'old', 'a')")
    async with Cache() as cache:

        async def load():
            return await admin.fetchval("SELECT name FROM users WHERE id = 1")

        async def read():
            return await cache.get_or_load("user:1", load, ttl=None, tags=["x"])

        async with listening(url, cache, {"users": "user:{id}"}) as changes:
            for n in range(10):
                await read()
                await cut(admin)
                server.psql(f"UPDATE users SET name = '{n}'")  # while nobody listens, or somebody just does
                await asyncio.sleep(0)
                await read()
                await until(lambda: not changes.listening)
                await until(lambda: changes.listening)
                assert await read() == str(n)


@pytest.mark.real
@pytest.mark.asyncio
async def test_everything_is_invalidated_after_it_listens_not_only_before(
    server, url, heard, admin, monkeypatch
):
    server.psql(USERS)
    changes = listening(url, heard, {"users": "user:{id}"})
    subscribe, seen = changes._subscribe, []

    async def noted(connection):
        lost = await subscribe(connection)
        seen.append(heard.cleared)  # what was cached up to now may be older than what is heard of
        return lost

    monkeypatch.setattr(changes, "_subscribe", noted)
    async with changes:
        assert heard.cleared == seen[0] + 1
        await cut(admin)
        await until(lambda: len(seen) == 2 and changes.listening)
        assert heard.cleared == seen[1] + 1


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_server_that_was_killed_or_hangs_is_noticed_and_listened_to_again(heard):
    with postgres() as server:
        server.psql(USERS)
        changes = PostgresChanges(server.url, heard, {"users": "user:{id}"}, check_interval=0.1, timeout=0.3)
        async with changes:
            for away, back in ((server.kill, server.start), (server.pause, server.resume)):
                heard.forget()
                away()
                await until(lambda: heard.cleared > 2)  # again and again, while it is away
                assert not changes.listening
                back()
                await until(lambda: changes.listening)
                server.psql("TRUNCATE users; INSERT INTO users VALUES (6)")
                await until(lambda: "user:6" in heard.keys)


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_connection_of_a_lent_pool_is_given_back_as_it_was(server, url, heard):
    server.psql(USERS)
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        for n in range(3):
            async with listening(pool, heard, {"users": "user:{id}"}):
                server.psql(f"INSERT INTO users VALUES ({n})")
                await until(lambda n=n: f"user:{n}" in heard.keys)
            assert pool.get_idle_size() == pool.get_size() == 1
            assert await pool.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0


@pytest.mark.real
@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(4))
async def test_what_was_heard_before_the_end_is_invalidated(server, url, heard, turns):
    server.psql(USERS)
    async with listening(url, heard, {"users": "user:{id}"}) as changes:
        heard.forget()
        [channel] = changes._found
        for n in range(10):
            changes._heard(None, 0, channel, f"[[{n}]]")
        for _ in range(turns):
            await asyncio.sleep(0)
    assert heard.keys == {f"user:{n}" for n in range(10)}


@pytest.mark.real
@pytest.mark.asyncio
async def test_more_messages_than_can_be_kept_are_everything(server, url, heard):
    server.psql(USERS)
    async with listening(url, heard, {"users": "user:{id}"}) as changes:
        heard.forget()
        [channel] = changes._found
        for n in range(1_200):
            changes._heard(None, 0, channel, f"[[{n}]]")
        assert len(changes._messages) == 1_000
        await until(lambda: heard.cleared)
        assert not heard.keys


@pytest.mark.real
@pytest.mark.asyncio
async def test_entering_is_cancelled_without_a_trace(server, url, heard, admin):
    server.psql(USERS)
    await listening(url, heard, {"users": "user:{id}"}).install()
    for turns in range(0, 60, 3):
        changes = listening(url, heard, {"users": "user:{id}"})
        entering = asyncio.ensure_future(changes.__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        entering.cancel()
        if (await asyncio.gather(entering, return_exceptions=True))[0] is not changes:
            assert not changes._tasks
        else:
            await changes.__aexit__(None, None, None)


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_an_error_where_it_begins(heard):
    changes = PostgresChanges("postgresql://u:secret@127.0.0.1:1/d", heard, {"users": "user:{id}"})
    with pytest.raises(SourceUnavailable) as away:
        async with changes:
            pytest.fail("there is nothing to listen to")
    assert "secret" not in str(away.value) + repr(changes)
