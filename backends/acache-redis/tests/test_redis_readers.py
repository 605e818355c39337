"""Readers of one connection: how few commands they cause, and cancelled anywhere."""

import asyncio
from contextlib import aclosing
from random import Random

import pytest
from redis.asyncio import Redis
from redis_impostor import KEY, TAG, impostor, item
from valkey_server import valkey

from acache.errors import StoreUnavailable
from acache_redis import RedisStore

pytestmark = pytest.mark.real


@pytest.fixture
def server():
    with valkey() as running:
        yield running


@pytest.mark.asyncio
async def test_a_thousand_readers_use_one_connection_and_few_commands(server):
    async with aclosing(RedisStore(server.url, timeout=20)) as store, Redis.from_url(server.url) as redis:
        items = [item(b"%d" % number, f"shop:{{{number}}}") for number in range(1000)]
        await store.set_many(items)
        await redis.config_resetstat()
        answers = await asyncio.gather(*(store.get_many([one.key]) for one in items))
        assert answers == [[one.data] for one in items]
        stats = await redis.info("commandstats")
        assert stats["cmdstat_mget"]["calls"] == 2, "of 500 keys each"
        assert (await redis.info("clients"))["connected_clients"] == 3


@pytest.mark.asyncio
async def test_what_is_asked_for_within_one_turn_travels_together_and_once(server):
    async with aclosing(RedisStore(server.url)) as store, Redis.from_url(server.url) as redis:
        await store.set_many([item()])
        await redis.config_resetstat()
        found = await asyncio.gather(
            *(store.get_many([KEY]) for _ in range(20)), *(store.peek([KEY], [TAG]) for _ in range(20))
        )
        assert found == [[b"1"]] * 20 + [([b"1"], [None])] * 20
        stats = await redis.info("commandstats")
        assert stats["cmdstat_mget"]["calls"] == 1
        assert "cmdstat_evalsha" not in stats


@pytest.mark.asyncio
async def test_a_read_that_was_already_sent_is_not_joined(server):
    async with aclosing(RedisStore(server.url, timeout=20)) as store, Redis.from_url(server.url) as redis:
        await store.get_many([KEY])
        await redis.config_resetstat()
        server.pause()
        first = asyncio.create_task(store.get_many([KEY]))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(store.get_many([KEY]))
        await asyncio.sleep(0.01)
        server.resume()
        assert await asyncio.gather(first, second) == [[None], [None]]
        assert (await redis.info("commandstats"))["cmdstat_mget"]["calls"] == 2


async def commands_of(reader):
    """Yield each command that comes over a connection."""
    while head := await reader.readline():
        command = []
        for _ in range(int(head[1:])):
            size = int((await reader.readline())[1:])
            command.append((await reader.readexactly(size + 2))[:-2])
        yield command


def echo(command):
    """Return what a server answers that holds each key under itself, and agrees to all else."""
    if command[0] != b"MGET":
        return b"+OK\r\n"
    return b"*%d\r\n" % len(command[1:]) + b"".join(b"$%d\r\n%b\r\n" % (len(k), k) for k in command[1:])


@pytest.mark.asyncio
async def test_an_answer_that_comes_after_its_time_is_never_anothers():
    held = []

    async def answer(reader, writer):
        mine = []
        async for command in commands_of(reader):
            if command[0] == b"MGET" and not held:
                held.append(command)
                mine.append(command)
                continue
            for one in (*mine, command):
                writer.write(echo(one))
                await asyncio.sleep(0.01)

    async with impostor(answer) as url, aclosing(RedisStore(url, timeout=0.2)) as store:
        with pytest.raises(StoreUnavailable):
            await store.get_many(["shop:{first}"])
        assert await store.get_many(["shop:{second}"]) == [b"acache:e:shop:{second}"]


@pytest.mark.asyncio
async def test_a_connection_that_answers_twice_is_given_up():
    async def answer(reader, writer):
        async for command in commands_of(reader):
            writer.write(echo(command) * (2 if command[0] == b"MGET" and b"first" in command[1] else 1))

    async with impostor(answer) as url, aclosing(RedisStore(url, timeout=20)) as store:
        with pytest.raises(StoreUnavailable, match="nobody asked for"):
            await store.get_many(["shop:{first}"])
        assert await store.get_many(["shop:{second}"]) == [b"acache:e:shop:{second}"]


@pytest.mark.asyncio
async def test_readers_that_are_cancelled_anywhere_never_get_or_cause_a_wrong_answer(server):
    rng = Random(3)

    async def slowly(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", server.port)

        async def pump(source, sink):
            while data := await source.read(rng.choice([50, 500, 5000])):
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
                sink.write(data)
            sink.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, back))
                group.create_task(pump(there, writer))
        finally:
            back.close()

    async with aclosing(RedisStore(server.url)) as direct, impostor(slowly) as url:
        items = [item(b"%d" % number, f"shop:{{{number}}}") for number in range(100)]
        await direct.set_many(items)
        store = RedisStore(url.replace("user:s3cret@", ""), timeout=5)
        answered = cancelled = 0

        async def read(one):
            nonlocal answered, cancelled
            task = asyncio.create_task(store.get_many([one.key]))
            await asyncio.sleep(rng.random() * 0.01)
            if rng.random() < 0.7:
                task.cancel()
            try:
                assert await task == [one.data]
                answered += 1
            except asyncio.CancelledError:
                cancelled += 1

        async with aclosing(store):
            for _ in range(8):
                await asyncio.gather(*(read(rng.choice(items)) for _ in range(100)))
        assert answered > 100
        assert cancelled > 100
