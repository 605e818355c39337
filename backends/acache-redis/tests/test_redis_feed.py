"""A subscription that outlives its server, its callbacks' errors and its refusal."""

import asyncio
from contextlib import aclosing

import pytest
from redis.asyncio import Redis
from redis_impostor import KEY
from valkey_server import ValkeyServer, valkey

from acache_redis import RedisStore

pytestmark = pytest.mark.real


@pytest.fixture
def server():
    with valkey() as running:
        yield running


class Heard(list):
    """What a listener was told, and a way to wait for it."""

    def __init__(self):
        self.pings = []
        self._news = asyncio.Event()

    def append(self, one):
        super().append(one)
        self._news.set()

    def listen(self, store):
        return store.listen(heard=self.append, gap=lambda: self.append(None), alive=self.pings.append)

    async def until(self, expected):
        async with asyncio.timeout(5):
            while self != expected:
                self._news.clear()
                await self._news.wait()


@pytest.mark.asyncio
async def test_a_listener_outlives_servers_that_are_away_die_and_hang(tmp_path):
    server = ValkeyServer(str(tmp_path))
    store, heard = RedisStore(server.url, timeout=0.2, ping_every=0.05), Heard()
    async with aclosing(store), heard.listen(store):
        await asyncio.sleep(0.02)
        assert heard == []
        await asyncio.to_thread(server.start)
        try:
            await heard.until([None])
            await asyncio.to_thread(server.restart)
            await heard.until([None, None])
            await store.drop([KEY], [], message=b"1")
            await heard.until([None, None, b"1"])
            server.pause()
            await asyncio.sleep(0.3)
            answered = len(heard.pings)
            await asyncio.sleep(0.1)
            assert len(heard.pings) == answered
            server.resume()
            await heard.until([None, None, b"1", None])
        finally:
            server.kill()
    assert heard.pings == sorted(heard.pings)


@pytest.mark.asyncio
async def test_an_error_of_a_callback_is_reported_and_followed_by_a_gap(server):
    loop, reports, gaps = asyncio.get_running_loop(), [], Heard()
    loop.set_exception_handler(lambda _, context: reports.append(context))

    def heard(message):
        raise RuntimeError("of the callback")

    store = RedisStore(server.url)
    listening = store.listen(heard=heard, gap=lambda: gaps.append(None), alive=lambda _: None)
    async with aclosing(store), listening:
        await gaps.until([None])
        await store.drop([KEY], [], message=b"1")
        await gaps.until([None, None])
    assert [str(report["exception"]) for report in reports] == ["of the callback"]


@pytest.mark.asyncio
async def test_a_subscription_that_the_server_refuses_is_tried_again(server):
    """As while it reads its data after a restart: no mistake of a listener's."""
    reports, heard = [], Heard()
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    url = server.url.replace("redis://", "redis://shop:hidden@")
    async with Redis.from_url(server.url) as redis, aclosing(RedisStore(url)) as store:
        await redis.execute_command("ACL", "SETUSER", "shop", "on", ">hidden", "~*", "+@all", "resetchannels")
        async with heard.listen(store):
            while not await redis.acl_log():  # it was refused
                await asyncio.sleep(0.01)
            await redis.execute_command("ACL", "SETUSER", "shop", "allchannels")
            await heard.until([None])
    assert reports == []
