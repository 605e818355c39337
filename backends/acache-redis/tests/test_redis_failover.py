"""A replica becomes primary that lacks what was invalidated last: it is told again before it is read."""

import asyncio
from contextlib import aclosing
from functools import partial

import pytest
from valkey_cluster import ask, cluster, facts, until, watched

from acache.errors import StoreUnavailable
from acache.protocols import Item
from acache_redis import RedisStore
from acache_redis._names import entry_of
from acache_redis._topology import slot_of

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

KEY, TAG, TOKEN = "shop:{k}", "shop:{t}", bytes(16)


def cut_off(primary, replica):
    """Let nothing more reach *replica*, which still looks well from outside once it goes on."""
    replica.pause()
    ask(primary, "CLIENT", "KILL", "TYPE", "replica")


async def eventually(call):
    """Return what *call* returns once the store can be reached."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def prepared(store):
    """Store an entry and a version that everybody has; return the stamp and the version."""
    await store.set_many([Item(key=KEY, data=b"old", ttl=600)])
    return await store.stamp("shop"), await store.versions([TAG, "shop"], ttl=600)


async def invalidated(store, how):
    """Invalidate them in one of the ways there are."""
    if how == "put":
        await store.put([Item(key=KEY, data=b"new", ttl=600)], message=None)
        await store.drop([], [TAG, "shop"], message=None)
    elif how == "fence":
        await store.fence([KEY], [TAG, "shop"], TOKEN, ttl=30, message=None)
    else:
        await store.drop([KEY], [TAG, "shop"], message=b"dropped")


@pytest.mark.parametrize("how", ["drop", "put", "fence", "drop, and a lease given back"])
async def test_what_a_watched_replica_had_not_heard_is_dropped_again_before_it_is_read(how):
    with watched(1) as servers:
        primary, replica = servers
        heard = []
        store = RedisStore(servers.url, timeout=5, ping_every=0.1)
        async with (
            aclosing(store),
            store.listen(heard=heard.append, gap=partial(heard.append, None), alive=lambda _: None),
        ):
            stamp, versions = await prepared(store)
            await asyncio.to_thread(until, lambda: ask(primary, "WAIT", 1, 1000) == 1)
            await asyncio.to_thread(until, lambda: ask(replica, "DBSIZE") == ask(primary, "DBSIZE"))
            await asyncio.to_thread(cut_off, primary, replica)
            await invalidated(store, how)
            primary.kill()
            replica.resume()
            await asyncio.to_thread(until, lambda: facts(replica, "INFO", "replication")["role"] == "master")
            assert ask(replica, "GET", entry_of(KEY)) == b"old", "it has not heard of it"
            if how == "drop, and a lease given back":  # by a loader whose commit died with the primary
                await eventually(partial(store.release, [KEY], [], TOKEN, message=b"done"))
            found = await eventually(partial(store.peek, [KEY], [TAG, "shop"]))
            assert found == ([None], [None, None])
            assert await store.stamp("shop") != stamp
            assert not set(await store.versions([TAG, "shop"], ttl=60)) & set(versions) - {None}


async def test_what_a_promoted_node_of_a_cluster_had_not_heard_is_dropped_again_and_told():
    with cluster(3, 3, node_timeout=1000) as servers:
        slot = slot_of(entry_of(KEY))
        primary = servers.owner(slot)
        [replica] = servers.replicas_of(primary)
        heard = []
        store = RedisStore(servers.url, timeout=5, ping_every=0.1)
        async with (
            aclosing(store),
            store.listen(heard=heard.append, gap=partial(heard.append, None), alive=lambda _: None),
        ):
            await prepared(store)
            await asyncio.to_thread(until, lambda: ask(replica, "DBSIZE") == ask(primary, "DBSIZE"))
            await asyncio.to_thread(cut_off, primary, replica)
            await invalidated(store, "drop")
            primary.kill()
            replica.resume()
            await asyncio.to_thread(until, lambda: facts(replica, "INFO", "replication")["role"] == "master")
            assert ask(replica, "GET", entry_of(KEY)) == b"old", "it has not heard of it"
            gaps = heard.count(None)
            assert await eventually(partial(store.get_many, [KEY])) == [None]
            await store.drop([KEY], [], message=b"hello")
            async with asyncio.timeout(30):
                while heard.count(None) == gaps:
                    await asyncio.sleep(0.02)
            await store.drop([KEY], [], message=b"again")
            async with asyncio.timeout(30):
                while b"again" not in heard:
                    await asyncio.sleep(0.02)
