"""TLS: what is verified, what is refused and how it is said. A proxy in front of a server speaks it."""

import asyncio
import ssl
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from urllib.parse import urlsplit

import pytest
import trustme
from valkey_cluster import ask, cluster, move, until

from acache.errors import StoreUnavailable
from acache.protocols import GRANTED, Item
from acache_redis import RedisStore
from acache_redis._names import entry_of
from acache_redis._topology import slot_of

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

KEY = "shop:{k}"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """Return the paths of the authority's certificate, of a client's, and of its key."""
    directory = tmp_path_factory.mktemp("tls")
    client = authority.issue_cert("client.example")
    paths = [str(directory / name) for name in ("ca.pem", "client.pem", "client.key")]
    authority.cert_pem.write_to_path(paths[0])
    client.cert_chain_pems[0].write_to_path(paths[1])
    client.private_key_pem.write_to_path(paths[2])
    return paths


@asynccontextmanager
async def proxy(server, certificate, *, clients=None):
    """Speak TLS in front of *server*; yield the URL. *clients*: the authority that theirs must be from."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    tasks = set()

    async def pump(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
        except OSError:
            pass
        finally:
            sink.close()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            there, back = await asyncio.open_connection("127.0.0.1", server.port)
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except asyncio.CancelledError:
            back.close()
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        yield f"rediss://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def quiet(loop):
    """Let the proxy be refused without a word: that is what the tests are about."""
    handler = loop.get_exception_handler()

    def handle(loop, context):
        if not isinstance(context.get("exception"), OSError):
            handler(loop, context)

    loop.set_exception_handler(handle)


async def refusal(url, timeout=20):
    """Return what the store says when it cannot connect."""
    quiet(asyncio.get_running_loop())
    async with aclosing(RedisStore(url, timeout=timeout)) as store:
        with pytest.raises(StoreUnavailable) as caught:
            await store.get_many([KEY])
    return str(caught.value)


async def test_a_server_whose_authority_is_known_is_talked_to(a_server, authority, files):
    heard, told = [], asyncio.Event()
    async with (
        proxy(a_server, authority.issue_cert("127.0.0.1")) as url,
        aclosing(RedisStore(f"{url}?ssl_ca_certs={files[0]}", timeout=20)) as store,
        store.listen(heard=heard.append, gap=told.set, alive=lambda _: None),
        asyncio.timeout(20),
    ):
        await told.wait()
        await store.drop([KEY], [], message=b"m")
        assert (await store.lease(KEY, bytes(16), ttl=30, seen=None)).kind is GRANTED
        assert await store.commit(Item(key=KEY, data=b"1", ttl=60), bytes(16), message=None)
        assert await store.get_many([KEY]) == [b"1"]
        while heard != [b"m"]:
            await asyncio.sleep(0.01)
        assert repr(store).startswith("<RedisStore rediss://127.0.0.1:")


async def test_a_server_whose_authority_is_not_known_is_refused_with_the_remedy(a_server, authority):
    async with proxy(a_server, authority.issue_cert("127.0.0.1")) as url:
        said = await refusal(url)
    assert "the server's certificate is refused" in said
    assert "ssl_ca_certs" in said


async def test_a_certificate_of_another_host_is_refused(a_server, authority, files):
    async with proxy(a_server, authority.issue_cert("other.example")) as url:
        said = await refusal(f"{url}?ssl_ca_certs={files[0]}")
    assert "the server's certificate is refused: IP address mismatch" in said


async def test_a_server_that_wants_a_certificate_gets_the_one_that_is_named(a_server, authority, files):
    certificate = authority.issue_cert("127.0.0.1")
    async with proxy(a_server, certificate, clients=authority) as url:
        named = f"{url}?ssl_ca_certs={files[0]}&ssl_certfile={files[1]}&ssl_keyfile={files[2]}"
        async with aclosing(RedisStore(named, timeout=20)) as store:
            assert await store.get_many([KEY, "shop:{x}"]) != []
        assert await refusal(f"{url}?ssl_ca_certs={files[0]}")


async def test_a_server_that_speaks_no_tls_is_an_error_of_the_store(a_server):
    assert "rediss://127.0.0.1" in await refusal(f"rediss://127.0.0.1:{a_server.port}", timeout=0.5)


@asynccontextmanager
async def behind_proxies(servers, certificate):
    """Speak TLS in front of each node, and let the nodes name those addresses; yield the URL."""
    async with AsyncExitStack() as stack:
        places = [
            urlsplit(await stack.enter_async_context(proxy(node, certificate))).netloc for node in servers
        ]
        ports = [int(place.rpartition(":")[2]) for place in places]
        for node, port in zip(servers, ports, strict=True):
            await asyncio.to_thread(ask, node, "CONFIG", "SET", "cluster-announce-port", port)

        def all_know():
            return all(
                {slots[2][1] for slots in ask(node, "CLUSTER", "SLOTS")} == {*ports} for node in servers
            )

        await asyncio.to_thread(until, all_know)
        yield f"rediss+cluster://{','.join(places)}"


async def test_the_nodes_of_a_cluster_are_all_talked_to_in_tls_also_those_it_is_sent_on_to(authority, files):
    keys = [f"shop:{{{number}}}" for number in range(60)]
    heard, told = [], asyncio.Event()
    with cluster(3, 0) as servers:
        slot = slot_of(entry_of(keys[0]))
        owner = servers.owner(slot)
        to = next(server for server in servers if server is not owner)
        async with (
            behind_proxies(servers, authority.issue_cert("127.0.0.1")) as url,
            aclosing(RedisStore(f"{url}?ssl_ca_certs={files[0]}", timeout=20)) as store,
            store.listen(heard=heard.append, gap=told.set, alive=lambda _: None),
            asyncio.timeout(60),
        ):
            await told.wait()
            await store.put([Item(key=key, data=b"1", ttl=60) for key in keys], message=b"put")
            assert await store.get_many(keys) == [b"1"] * 60
            await asyncio.to_thread(move, owner, to, slot)
            assert await store.get_many(keys) == [b"1"] * 60
            await store.drop(keys, ["shop:{t}"], message=b"dropped")
            assert await store.get_many(keys) == [None] * 60
            while b"dropped" not in heard:
                await asyncio.sleep(0.01)
            assert repr(store).startswith("<RedisStore rediss+cluster://127.0.0.1:")
        said = await refusal(url)
    assert "rediss+cluster://" in said
