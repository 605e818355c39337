"""Servers that talk nonsense, and secrets that no error shows."""

import asyncio
from contextlib import aclosing
from functools import partial

import pytest
from redis_impostor import KEY, TAG, TOKEN, impostor
from valkey_server import valkey

from acache.errors import StoreUnavailable
from acache_redis import RedisStore

pytestmark = pytest.mark.real


def everything_said_by(error):
    """Return all text that a log, a debugger or a report of crashes would show of *error*."""
    said = []
    while error is not None:
        said += [str(error), repr(error)]
        traceback = error.__traceback__
        while traceback is not None:
            if "test_redis" not in traceback.tb_frame.f_code.co_filename:
                said += [repr(value) for value in traceback.tb_frame.f_locals.values()]
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__
    return "\n".join(said)


async def refuse_auth(reader, writer):
    await reader.readline()
    writer.write(b"-ERR unknown command 'AUTH', with args beginning with: 'user' 's3cret'\r\n")
    await writer.drain()


async def talk_http(reader, writer):
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def lie_about_length(reader, writer):
    await reader.read(1)
    writer.write(b"+OK\r\n" * 20 + b"$x\r\n*1\r\n")
    await writer.drain()


async def answer_too_little(reader, writer):
    writer.write(b"+OK\r\n" * 3 + b"*0\r\n")
    await writer.drain()
    await reader.read()


async def hang_up(reader, writer):
    await reader.read(1)


@pytest.mark.parametrize("answer", [refuse_auth, talk_http, lie_about_length, answer_too_little, hang_up])
@pytest.mark.asyncio
async def test_whatever_a_server_answers_is_one_error_without_secrets(answer, caplog):
    caplog.set_level(0)
    async with impostor(answer) as url, aclosing(RedisStore(url, timeout=0.3)) as store:
        for call in (
            partial(store.get_many, [KEY]),
            partial(store.drop, [KEY], [TAG], message=b"m"),
            partial(store.lease, KEY, TOKEN, ttl=30, seen=None),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await call()
            assert caught.value.__cause__ is not None
            assert "s3cret" not in everything_said_by(caught.value)
        async with store.listen(heard=print, gap=print, alive=print):
            await asyncio.sleep(0.02)
        assert "s3cret" not in repr(store) + repr(vars(store)) + caplog.text


@pytest.mark.asyncio
async def test_a_wrong_password_is_named_but_not_shown():
    with valkey("--requirepass", "s3cret-right") as server:
        right = RedisStore(f"redis://:s3cret-right@127.0.0.1:{server.port}/0")
        wrong = RedisStore(f"redis://:s3cret-wrong@127.0.0.1:{server.port}/0")
        none = RedisStore(server.url)
        assert await right.get_many([KEY]) == [None]
        for store in (wrong, none):
            with pytest.raises(StoreUnavailable, match="Authentication") as caught:
                await store.get_many([KEY])
            assert "s3cret" not in everything_said_by(caught.value)
            await store.aclose()
        await right.aclose()


@pytest.mark.asyncio
async def test_waiters_of_one_failed_batch_get_errors_of_their_own(server):
    store = RedisStore("redis://127.0.0.1:1/0")
    errors = await asyncio.gather(*(store.get_many([KEY]) for _ in range(5)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 5
    await store.aclose()
