"""An address leads to another primary while the former still answers: no connection stays behind with it."""

import asyncio
from contextlib import aclosing, asynccontextmanager
from functools import partial

import pytest
from valkey_cluster import ask
from valkey_server import valkey

from acache.protocols import Item
from acache_redis import RedisStore
from acache_redis._names import entry_of

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

KEY, OTHER = "shop:{k}", "shop:{other}"


class Address:
    """An address in front of *server*; connections stay where they were made to."""

    def __init__(self, server):
        self.server = server
        self.serving = set()

    async def serve(self, reader, writer):
        self.serving.add(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", self.server.port)
        await asyncio.gather(self.pump(reader, back), self.pump(there, writer))

    async def pump(self, source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
        except OSError:
            pass
        finally:
            sink.transport.abort()


@asynccontextmanager
async def store_at(server):
    """Yield an address that leads to *server*, and a store there that listens; what it hears, and gaps."""
    address, heard = Address(server), []
    async with await asyncio.start_server(address.serve, "127.0.0.1", 0) as listening:
        url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with (
            aclosing(RedisStore(url, timeout=20, ping_every=0.05)) as store,
            store.listen(heard=heard.append, gap=partial(heard.append, None), alive=lambda _: None),
        ):
            await until(lambda: heard == [None])
            yield address, store, heard
        await asyncio.gather(*address.serving)  # each ends with its connection


async def until(true):
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


def end(server, kind):
    """Let *server* close its connections that wait for messages, or the others that read or that change."""
    for line in ask(server, "CLIENT", "LIST").decode().splitlines():
        facts = dict(fact.split("=", 1) for fact in line.split())
        if facts["cmd"] == kind:
            ask(server, "CLIENT", "KILL", "ID", facts["id"])


@pytest.fixture
def servers():
    """Return two primaries; the second is what the first was before something was invalidated."""
    with valkey() as first, valkey() as second:
        for server in (first, second):
            ask(server, "SET", entry_of(KEY), "old")
        yield first, second


@pytest.mark.parametrize("kind", ["mget", "evalsha", "subscribe"])
async def test_whichever_connection_is_made_anew_the_others_follow_it(servers, kind):
    first, second = servers
    async with store_at(first) as (address, store, heard):
        assert await store.get_many([KEY]) == [b"old"]
        await store.drop([KEY], [], message=b"dropped")
        await store.put([Item(key=KEY, data=b"first", ttl=60)], message=None)
        assert await store.get_many([KEY]) == [b"first"]
        await until(lambda: heard == [None, b"dropped"])
        address.server = second
        await asyncio.to_thread(end, first, "ping" if kind == "subscribe" else kind)
        if kind == "evalsha":
            await store.drop([OTHER], [], message=None)
        if kind == "mget":
            await store.get_many([OTHER])
        await until(lambda: heard.count(None) == 2)  # with the other, and listening from now on
        assert ask(second, "EXISTS", entry_of(KEY)) == 0, "it was told, though nobody asked for anything"
        assert await store.get_many([KEY]) == [None]
        await store.put([Item(key=KEY, data=b"second", ttl=60)], message=b"put")
        await until(lambda: heard[-1] == b"put")
        assert await store.get_many([KEY]) == [b"second"]
        assert ask(first, "GET", entry_of(KEY)) == b"first"
