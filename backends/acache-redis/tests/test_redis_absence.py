"""One node of a cluster hangs: what others have goes on to be read and changed, and nobody waits for it twice."""

import asyncio
from contextlib import aclosing

import pytest
from valkey_cluster import cluster

from acache import Cache
from acache.errors import PartlyUnavailable
from acache.events import BreakerChanged
from acache_redis import RedisStore
from acache_redis._absence import COOL_DOWN, Absence
from acache_redis._names import entry_of, version_of
from acache_redis._topology import Node, slot_of

NODE, OTHER = Node(b"n", "h", 1), Node(b"o", "h", 2)
SPACE = "away"


def test_a_node_is_away_from_a_failure_to_an_answer():
    absence = Absence()
    assert absence.failed(NODE, 10)
    assert not absence.failed(NODE, 10.5), "that is no news"
    assert NODE in absence
    assert OTHER not in absence
    assert absence.answered(NODE)
    assert NODE not in absence
    assert not absence.answered(NODE)


def test_it_is_probed_once_in_each_cool_down():
    absence = Absence()
    absence.failed(NODE, 10)
    assert not absence.to_probe(NODE, 10 + COOL_DOWN / 2)
    assert absence.to_probe(NODE, 10 + COOL_DOWN)
    assert not absence.to_probe(NODE, 10 + COOL_DOWN * 1.5)
    assert absence.to_probe(NODE, 10 + COOL_DOWN * 2)
    assert not absence.to_probe(OTHER, 100), "it is not away"


def test_who_is_no_more_of_the_cluster_is_not_away():
    absence = Absence()
    absence.failed(NODE, 10)
    absence.keep({OTHER})
    assert NODE not in absence


@pytest.fixture(scope="module")
def servers():
    """Three primaries, none of which is replaced."""
    with cluster(3, 0, node_timeout=60_000) as running:
        yield running


@pytest.fixture
def hung(servers):
    """Return whom to pause, who has not the version of the namespace, and let it go on at the end."""
    namespace = servers.owner(slot_of(version_of(SPACE)))
    node = next(server for server in servers.primaries() if server is not namespace)
    yield node
    node.resume()


def keys_of(servers, owner, number, *, tag=False):
    """Return keys, or tags, that *owner* has, or that it has not."""
    name = version_of if tag else entry_of
    words = (f"k{at}" for at in range(10_000))
    mine = (word for word in words if servers.owner(slot_of(name(f"{SPACE}:{{{word}}}"))) is owner)
    return [next(mine) for _ in range(number)]


class Source:
    """Counts what is loaded."""

    def __init__(self, cache):
        self.cache = cache
        self.loads = []

    async def read(self, key, tags=()):
        async def load():
            self.loads.append(key)
            return "loaded"

        return await self.cache.get_or_load(key, load, ttl=600, tags=tags, type=str)


@pytest.mark.real
@pytest.mark.asyncio
async def test_keys_of_other_nodes_are_served_and_changed_while_one_hangs(servers, hung):
    alive = next(server for server in servers.primaries() if server is not hung)
    there, gone = keys_of(servers, alive, 8), keys_of(servers, hung, 4)
    store, events = RedisStore(servers.url, timeout=0.5, ping_every=0.1), []
    async with Cache(store, namespace=SPACE) as cache:
        cache.subscribe(events.append)
        source = Source(cache)
        await cache.clear()
        for key in [*there, *gone]:
            await cache.set(key, "stored", ttl=600)
        hung.pause()
        assert await source.read(gone[0]) == "loaded", "after its timeout"
        for _ in range(20):
            found = await asyncio.gather(*map(source.read, [*there, *gone]))
            assert found == ["stored"] * len(there) + ["loaded"] * len(gone)
            await asyncio.sleep(0.1)  # past the cool-down, so that there are probes too
        assert not set(source.loads) & set(there)
        assert await cache.get_many([*there, *gone]) == dict.fromkeys(there, "stored")
        await cache.set(there[0], "changed", ttl=600)
        assert await source.read(there[0]) == "changed"
        await cache.invalidate(there[0])
        assert cache.health().pending_invalidations == 0
        assert await source.read(there[0]) == "loaded"
        assert await source.read(there[0]) == "loaded"
        assert source.loads.count(there[0]) == 1, "and stored"
        await cache.invalidate(gone[0])
        assert cache.health().pending_invalidations == 1, "it has not heard of it"
        assert cache.health().remote == "up"
        assert not [event for event in events if isinstance(event, BreakerChanged)]
        hung.resume()
        async with asyncio.timeout(60):
            while await cache.get(gone[1]) != "stored" or cache.health().pending_invalidations:
                await asyncio.sleep(0.05)
        assert await cache.get(gone[0]) is None


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_tag_of_the_node_that_hangs_makes_entries_of_others_untrusted(servers, hung):
    alive = next(server for server in servers.primaries() if server is not hung)
    [key], [tag] = keys_of(servers, alive, 1), keys_of(servers, hung, 1, tag=True)
    store = RedisStore(servers.url, timeout=0.5, ping_every=0.1)
    async with Cache(store, namespace=SPACE, max_staleness=1) as cache:
        source = Source(cache)
        await cache.clear()
        await cache.set(key, "stored", ttl=600, tags=[tag])
        assert await source.read(key, [tag]) == "stored"
        hung.pause()
        async with asyncio.timeout(60):
            while await source.read(key, [tag]) != "loaded":  # held near, its version is trusted for a moment
                await asyncio.sleep(0.05)
        await cache.invalidate(tags=[tag])
        assert cache.health().pending_invalidations == 1
        hung.resume()
        async with asyncio.timeout(60):
            while cache.health().pending_invalidations:
                await asyncio.sleep(0.05)
        assert await cache.get(key) is None


@pytest.mark.real
@pytest.mark.asyncio
async def test_without_the_version_of_its_namespace_no_entry_is_served(servers):
    owner = servers.owner(slot_of(version_of(SPACE)))
    alive = next(server for server in servers.primaries() if server is not owner)
    [key] = keys_of(servers, alive, 1)
    async with Cache(RedisStore(servers.url, timeout=0.5), namespace=SPACE) as cache:
        source = Source(cache)
        await cache.set(key, "stored", ttl=600)
        owner.pause()
        try:
            for _ in range(3):
                assert await source.read(key) == "loaded"
        finally:
            owner.resume()
        async with asyncio.timeout(60):
            while await source.read(key) != "stored":
                await asyncio.sleep(0.05)


@pytest.mark.real
@pytest.mark.asyncio
async def test_the_store_says_who_is_away_and_whether_it_was_asked(servers, hung):
    [gone] = keys_of(servers, hung, 1)
    name = f"{SPACE}:{{{gone}}}"
    async with aclosing(RedisStore(servers.url, timeout=0.5)) as store:
        await store.get_many([name])
        hung.pause()
        for asked in (True, False):
            with pytest.raises(PartlyUnavailable, match=f"127.0.0.1:{hung.port} does not answer") as caught:
                await store.get_many([name])
            assert caught.value.asked is asked
        with pytest.raises(PartlyUnavailable):
            await store.drop([name], [], message=None)
