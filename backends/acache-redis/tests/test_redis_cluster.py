"""Slots that move while a store is at work, and a feed that follows them."""

import asyncio
import time
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

import pytest
from redis.asyncio import Redis
from valkey_cluster import ask, begin_to_move, carry, cluster, finish_moving

from acache.errors import ConfigurationError, StoreUnavailable
from acache.protocols import Item
from acache_redis import RedisJournal, RedisStore
from acache_redis._names import entry_of, key_pair
from acache_redis._topology import slot_of

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

TOKEN = bytes(16)
KEY = "shop:{k}"
SLOT = slot_of(entry_of(KEY))


@pytest.fixture(scope="module")
def servers():
    with cluster(3, 0, spare=2) as running:
        yield running


@asynccontextmanager
async def a_store(servers, **options):
    async with aclosing(RedisStore(servers.url, timeout=20, ping_every=0.05, **options)) as store:
        yield store


def item(key=KEY, data=b"1"):
    return Item(key=key, data=data, ttl=60)


async def test_one_read_is_split_by_node_and_nodes_by_nothing_else(servers):
    items = [item(f"shop:{{{number}}}", b"%d" % number) for number in range(300)]
    async with a_store(servers) as store:
        await store.set_many(items)
        for server in servers:
            ask(server, "CONFIG", "RESETSTAT")
        found = await asyncio.gather(*(store.get_many([one.key]) for one in items))
        assert found == [[one.data] for one in items]
        for server in servers:
            stats = {}
            async with Redis(port=server.port) as redis:
                stats = await redis.info("commandstats")
            assert "cmdstat_evalsha" not in stats


def asked(store, keys):
    """Ask without a task, and return the future that is told."""
    told = asyncio.get_running_loop().create_future()
    store.ask(keys, [], told)
    return told


async def test_who_asks_without_a_task_is_told_by_all_nodes_together(servers):
    keys = [f"shop:{{asked {number}}}" for number in range(100)]
    async with a_store(servers) as store:
        assert await asked(store, keys) == [None] * 100, "before it is known who has which slot"
        await store.set_many([item(key, key.encode()) for key in keys])
        assert await asked(store, keys) == [key.encode() for key in keys]


async def test_who_asks_while_a_store_is_closed_is_told(servers):
    async with a_store(servers) as store:
        await store.get_many([KEY])
        told = [asked(store, [KEY, "shop:{other}", "shop:{third}"]) for _ in range(3)]
    for each in told:
        with suppress(StoreUnavailable):
            assert await asyncio.wait_for(each, 10) == [None] * 3


async def test_while_a_slot_is_on_its_way_its_names_are_found_on_either_side(servers):
    keys = [f"shop:{{k}}{number}" for number in range(10)]  # all in one slot
    spare = servers[3]
    async with a_store(servers) as store:
        await store.set_many([item(key, key.encode()) for key in keys])
        await store.delete_many(keys[9:])
        stored = [key.encode() for key in keys[:9]] + [None]
        assert await store.get_many(keys) == stored
        owner, new_id = begin_to_move(servers, SLOT, spare)
        half = [entry_of(key) for key in keys[:5]]
        ask(owner, "MIGRATE", "127.0.0.1", spare.port, "", 0, 5000, "KEYS", *half)
        assert await store.get_many(keys) == stored, "half of them are there, half are here"
        assert await asked(store, keys) == stored
        await store.set_many([item(keys[9], b"new")])
        stored[9] = b"new"
        assert await store.get_many(keys) == stored
        # A script needs both of its names on one side: it waits until they are.
        waiting = asyncio.create_task(store.lease(keys[0], TOKEN, ttl=30, seen=None))
        dropping = asyncio.create_task(store.drop([keys[1], "shop:{elsewhere}"], [], message=None))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert not dropping.done()
        carry(owner, spare, SLOT)
        finish_moving(owner, spare, SLOT, new_id)
        assert (await waiting).data == stored[0]
        await dropping
        assert await store.get_many(keys[:2]) == [stored[0], None]
    async with a_store(servers) as late:
        assert await late.get_many(keys[2:]) == stored[2:]


async def test_messages_are_heard_once_and_in_order_while_a_slot_moves_to_a_node_that_had_none(servers):
    key = "shop:{moving}"
    slot = slot_of(entry_of(key))
    spare = servers[4]
    heard = []
    async with a_store(servers) as store, a_store(servers) as teller:
        listening = store.listen(heard=heard.append, gap=partial(heard.append, None), alive=lambda _: None)
        async with listening, asyncio.timeout(60):
            while None not in heard:
                await asyncio.sleep(0.01)
            await teller.drop([key, "shop:{a}", "shop:{b}", "shop:{c}"], ["shop:{t}"], message=b"0")
            for number in range(1, 20):
                await teller.drop([key], [], message=b"%d" % number)
            while b"19" not in heard:
                await asyncio.sleep(0.01)
            assert [one for one in heard if one is not None] == [b"%d" % number for number in range(20)]
            gaps = heard.count(None)
            owner, new_id = begin_to_move(servers, slot, spare)
            carry(owner, spare, slot)
            finish_moving(owner, spare, slot, new_id)
            await teller.drop([key], [], message=b"on the way")
            while heard.count(None) == gaps:
                await asyncio.sleep(0.01)
            await teller.drop([key], [], message=b"there")
            while b"there" not in heard:
                await asyncio.sleep(0.01)
            assert heard.count(b"there") == 1


async def test_an_entry_and_its_claims_share_a_slot_and_tags_may_be_anywhere(servers):
    async with a_store(servers) as store:
        keys = [f"shop:{{{number}}}" for number in range(20)]
        assert all(slot_of(one) == slot_of(other) for one, other in map(key_pair, keys))
        tags = [f"shop:{{t{number}}}" for number in range(20)]
        await store.fence(keys, tags, TOKEN, ttl=30, message=b"m")
        versions = await store.settle(tags, TOKEN, ttl=60)
        assert None not in versions
        assert (await store.peek(keys, tags))[1] == versions
        for key in keys:
            assert await store.commit(item(key), TOKEN, message=None)


async def test_a_listener_trusts_no_longer_than_every_node_answers(servers):
    alive = []
    async with (
        a_store(servers) as store,
        store.listen(heard=len, gap=lambda: None, alive=alive.append),
        asyncio.timeout(60),
    ):
        while not alive:
            await asyncio.sleep(0.01)
        hung = servers.primaries()[0]
        hung.pause()
        paused = time.monotonic()
        try:
            await asyncio.sleep(0.5)
            last = alive[-1]
            assert last < paused + 0.02, "the others go on to answer, it does not"
        finally:
            hung.resume()
        while alive[-1] == last:
            await asyncio.sleep(0.01)
    assert alive == sorted(alive)


async def test_one_server_of_a_cluster_says_that_it_is_one(servers):
    async with aclosing(RedisStore(f"redis://127.0.0.1:{servers[0].port}")) as store:
        keys = [f"shop:{{{number}}}" for number in range(20)]
        with pytest.raises(StoreUnavailable, match="redis\\+cluster://"):
            await asyncio.gather(*(store.get_many([key]) for key in keys))
        with pytest.raises(StoreUnavailable, match="redis\\+cluster://"):
            await store.versions(keys, ttl=60)


async def test_one_server_that_is_no_cluster_says_so(a_server):
    async with aclosing(
        RedisStore(a_server.url.replace("redis://", "redis+cluster://").removesuffix("/0"))
    ) as store:
        with pytest.raises(StoreUnavailable, match="cluster support disabled"):
            await store.get_many([KEY])
        with pytest.raises(StoreUnavailable, match="cluster support disabled"):
            await store.lease(KEY, TOKEN, ttl=30, seen=None)


async def test_a_replica_is_refused_by_name(a_watched_primary):
    replica = next(server for server in a_watched_primary if server is not a_watched_primary.primary())
    async with aclosing(RedisStore(replica.url)) as store:
        with pytest.raises(StoreUnavailable, match="this is a replica: name its primary"):
            await store.get_many([KEY])


async def test_a_journal_is_in_one_server():
    with pytest.raises(ConfigurationError, match="a journal is in one server"):
        RedisJournal("redis+cluster://user:s3cret@h")
