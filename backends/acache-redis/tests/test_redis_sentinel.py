"""Sentinels that are asked where the primary is, with and without passwords, and do not always know."""

import time
from contextlib import aclosing

import pytest
from valkey_cluster import ask, watched

from acache import Cache
from acache.errors import ConfigurationError, StoreUnavailable
from acache.protocols import Item
from acache_redis import RedisStore

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

KEY = "shop:{k}"


async def test_users_of_sentinels_and_servers_are_two_things_and_databases_too():
    with watched(0) as servers:
        for sentinel in servers.sentinels:
            ask(sentinel, "ACL", "SETUSER", "guard", "reset", "on", ">s3cret-one", "+sentinel|master")
        ask(servers[0], "ACL", "SETUSER", "app", "on", ">s3cret-two", "~*", "&*", "+@all")
        hosts = servers.url.removeprefix("redis+sentinel://").removesuffix("/cache")
        theirs = "sentinel_username=guard&sentinel_password=s3cret-one"
        async with aclosing(RedisStore(f"redis+sentinel://app:s3cret-two@{hosts}/cache/3?{theirs}")) as store:
            await store.set_many([Item(key=KEY, data=b"1", ttl=60)])
            assert await store.get_many([KEY]) == [b"1"]
        assert ask(servers[0], "DBSIZE") == 0, "that is database 0"
        wrong = RedisStore(
            f"redis+sentinel://app:s3cret-two@{hosts}/cache?sentinel_username=guard&sentinel_password=s3cret-no"
        )
        unknown = RedisStore(f"redis+sentinel://{hosts}/other")
        for store, named in (
            (wrong, "no sentinel knows the primary of 'cache'"),
            (unknown, "No such master"),
        ):
            async with aclosing(store):
                with pytest.raises(StoreUnavailable, match=named) as caught:
                    await store.get_many([KEY])
                assert "s3cret" not in str(caught.value) + repr(store)
        servers.sentinels[0].kill()
        async with aclosing(RedisStore(servers.url)) as store:
            assert await store.get_many([KEY]) == [None], "two of three are enough"


async def test_an_invalidation_waits_for_a_replica_and_too_few_are_no_error(a_watched_primary, caplog):
    store = RedisStore(a_watched_primary.url, timeout=2)
    store.expect_failover(window=30, wait_replicas=1)
    replica = next(server for server in a_watched_primary if server is not a_watched_primary.primary())
    async with aclosing(store):
        await store.set_many([Item(key=KEY, data=b"1", ttl=60)])
        assert "replicas took" not in caplog.text
        replica.pause()
        try:
            began = time.monotonic()
            await store.drop([KEY], ["shop:{t}"], message=None)
            assert time.monotonic() - began > 0.9, "half of the timeout, at least"
            assert "0 of 1 replicas took an invalidation in time" in caplog.text
            assert await store.get_many([KEY]) == [None], "nobody else waits"
        finally:
            replica.resume()


async def test_what_a_cache_asks_of_its_store_is_checked():
    class Plain:
        async def get_many(self, keys): ...
        async def set_many(self, items): ...
        async def delete_many(self, keys): ...
        async def aclose(self): ...

    with pytest.raises(ConfigurationError, match="wait_replicas= needs a remote store with replicas"):
        await Cache(Plain(), wait_replicas=1).get("k")
    for name in ("failover_window", "wait_replicas"):
        with pytest.raises(ConfigurationError, match=f"{name}=-1 must not be less than zero"):
            await Cache("redis://h", **{name: -1}).get("k")
