"""The contract that acache ships, against a real memcached, and what only this store does."""

import asyncio
import shutil
import socket
import subprocess
import time

import pytest

from acache import Cache
from acache.errors import ConfigurationError, StoreUnavailable
from acache.protocols import Item
from acache.testing.contracts.remote_store import RemoteStoreContract
from acache_memcached import MemcachedStore, from_url


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def port():
    """A memcached of its own, ended by its process id."""
    program = shutil.which("memcached")
    if program is None:
        pytest.skip("memcached is not installed")
    port = free_port()
    server = subprocess.Popen([program, "-p", str(port), "-U", "0", "-l", "127.0.0.1", "-u", "nobody"])
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield port
    finally:
        server.kill()
        server.wait()


class TestMemcachedStore(RemoteStoreContract):
    feed = False
    largest = 900_000  # memcached's items are smaller than 1 MB unless it is told otherwise

    @pytest.fixture(autouse=True)
    def server(self, port):
        self.port = port

    def connect(self):
        return MemcachedStore("127.0.0.1", self.port, timeout=30)  # for a busy machine


def test_a_cache_finds_it_by_its_url_and_says_what_it_promises(port):
    async def main():
        store = from_url(f"memcached://127.0.0.1:{port}?timeout=5")
        async with Cache(store, namespace="found") as cache:
            loads = []

            @cache.cached("user:{id}", ttl=60, tags=["users"])
            async def user(id: int) -> int:
                loads.append(id)
                return id

            assert await asyncio.gather(*(user(1) for _ in range(100))) == [1] * 100
            assert loads == [1]
            await cache.invalidate(tags=["users"])
            assert await user(1) == 1
            assert loads == [1, 1]
            assert "fleet" in " ".join(cache.guarantees.values())

    asyncio.run(main())


def test_writers_that_collide_all_get_through(port):
    async def main():
        stores = [MemcachedStore("127.0.0.1", port, timeout=10) for _ in range(3)]
        items = [Item(key=f"ns:{{k{number % 3}}}", data=b"%d" % number, ttl=60) for number in range(60)]
        await asyncio.gather(*(stores[number % 3].set_many([item]) for number, item in enumerate(items)))
        assert all(await stores[0].get_many([f"ns:{{k{number}}}" for number in range(3)]))
        for store in stores:
            await store.aclose()

    asyncio.run(main())


def test_a_server_that_is_away_is_one_error(port):
    async def main():
        store = MemcachedStore("127.0.0.1", free_port())
        with pytest.raises(StoreUnavailable):
            await store.get_many(["ns:{k}"])
        store = MemcachedStore("127.0.0.1", port)
        with pytest.raises(StoreUnavailable):  # too large for an item
            await store.set_many([Item(key="ns:{k}", data=bytes(2_000_000), ttl=1)])
        await store.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("rest", ["user@host", "host/path", "host?nope=1", "host:x", "host?timeout=0", "["])
def test_a_url_that_makes_no_sense_is_refused(rest):
    with pytest.raises(ConfigurationError):
        from_url(f"memcached://{rest}")
