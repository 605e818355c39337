"""The proxy: each kind of weather does what it says, and nothing stays behind."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from acache.testing.proxy import Proxy

pytestmark = [pytest.mark.real, pytest.mark.asyncio]


@asynccontextmanager
async def echo_behind(**options):
    """Open an echo server and a proxy in front of it."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    try:
        async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1], **options) as proxy:
            yield proxy
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client_of(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def ask(client, data=b"hello"):
    """Send *data* and return what comes back of as many bytes."""
    reader, writer = client
    writer.write(data)
    async with asyncio.timeout(10):
        return await reader.readexactly(len(data))


async def test_a_calm_proxy_changes_nothing():
    async with echo_behind() as proxy, client_of(proxy) as one, client_of(proxy) as two:
        big = bytes(range(256)) * 4096
        assert await asyncio.gather(ask(one, big), ask(two, big)) == [big, big]
        assert proxy.connections == 2
        assert not proxy.struck


async def test_latency_is_per_way_and_holds_for_many_at_once():
    async with echo_behind() as proxy, client_of(proxy) as client:
        proxy.latency = 0.05
        started = time.monotonic()
        assert await ask(client) == b"hello"
        assert time.monotonic() - started >= 0.1


async def test_bandwidth_and_fragments():
    async with echo_behind() as proxy, client_of(proxy) as client:
        proxy.bandwidth, proxy.fragment = 100_000, 1_000
        started = time.monotonic()
        assert await ask(client, bytes(20_000)) == bytes(20_000)
        assert time.monotonic() - started >= 0.2


async def test_fragments_arrive_one_by_one():
    async with echo_behind() as proxy, client_of(proxy) as (reader, writer):
        proxy.fragment, proxy.latency = 2, 0.01
        writer.write(b"abcdef")
        assert len(await reader.read(100)) in {2, 4, 6}


async def test_a_blackhole_holds_back_and_lets_go():
    async with echo_behind() as proxy, client_of(proxy) as client:
        proxy.blackhole = True
        answer = asyncio.ensure_future(ask(client))
        done, _ = await asyncio.wait([answer], timeout=0.05)
        assert not done
        proxy.blackhole = False
        assert await answer == b"hello"


async def test_corruption_flips_one_bit_and_repeats_by_seed():
    async def seen(seed):
        async with echo_behind(seed=seed) as proxy, client_of(proxy) as client:
            proxy.corruption = 1.0
            return await ask(client, bytes(8))

    first = await seen(1)
    assert sum(byte.bit_count() for byte in first) in {0, 2}  # one on each way, once in a while the same
    assert await seen(1) == first
    assert {await seen(seed) for seed in range(4)} != {first}


async def test_refused_connections_and_a_port_that_stays():
    async with echo_behind() as proxy, client_of(proxy) as standing:
        port = proxy.port
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert await ask(standing) == b"hello"
        await proxy.accept()
        assert proxy.port == port
        async with client_of(proxy) as client:
            assert await ask(client) == b"hello"


async def test_a_reset_is_an_error_and_a_cut_an_end():
    async with echo_behind() as proxy:
        async with client_of(proxy) as client:
            await ask(client)
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await client[0].read(1)
        async with client_of(proxy) as client:
            await ask(client)
            proxy.cut()
            assert await client[0].read(1) == b""
        assert proxy.struck == {"reset": 1, "cut": 1}


async def test_chance_cuts_inside_a_frame():
    async with echo_behind() as proxy, client_of(proxy) as (reader, writer):
        proxy.cuts = 1.0
        writer.write(b"abcdef")
        assert await reader.read(100) in {b"", b"a"}  # half of it, then half of that
        proxy.calm()
        async with client_of(proxy) as client:
            assert await ask(client) == b"hello"


async def test_a_server_that_is_away_looks_like_a_reset():
    async with Proxy("127.0.0.1", 9) as proxy, client_of(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_leaving_ends_everything():
    async with echo_behind() as proxy:
        proxy.latency = 30.0
        async with client_of(proxy) as (reader, writer):
            writer.write(b"hello")
            await asyncio.sleep(0.02)
            await proxy.__aexit__(None, None, None)
            assert proxy.connections == 0
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
