"""Servers that die, hang, forget and fill up."""

import asyncio
from contextlib import aclosing
from functools import partial

import pytest
from redis.asyncio import Redis
from redis_impostor import KEY, TAG, TOKEN, item, since
from valkey_server import valkey

from acache.errors import StoreUnavailable
from acache.protocols import GRANTED
from acache_redis import RedisStore

pytestmark = pytest.mark.real


@pytest.fixture
def server():
    with valkey() as running:
        yield running


# --- servers that die, hang and forget --------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_server_that_is_killed_under_load_and_comes_back_is_found_again(server):
    async with aclosing(RedisStore(server.url)) as store:
        await store.set_many([item()])
        outcomes, begun, away = [], asyncio.Event(), asyncio.Event()

        async def read():
            while [None] not in outcomes:
                try:
                    outcomes.append(await store.get_many([KEY]))
                    begun.set()
                except StoreUnavailable:
                    outcomes.append("unavailable")
                    away.set()
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(read())
            await begun.wait()
            await asyncio.to_thread(server.kill)
            await away.wait()
            await asyncio.to_thread(server.start)
        told = [one for number, one in enumerate(outcomes) if number == 0 or one != outcomes[number - 1]]
        assert told == [[b"1"], "unavailable", [None]]


@pytest.mark.asyncio
async def test_a_restart_while_idle_is_not_even_noticed(server):
    async with aclosing(RedisStore(server.url)) as store:
        await store.set_many([item()])
        assert (await store.lease(KEY, TOKEN, ttl=30, seen=None)).kind is not GRANTED
        await asyncio.to_thread(server.restart)
        assert await store.get_many([KEY]) == [None]
        assert (await store.lease(KEY, TOKEN, ttl=30, seen=None)).kind is GRANTED


@pytest.mark.asyncio
async def test_a_server_that_forgot_its_scripts_is_taught_again(server):
    async with aclosing(RedisStore(server.url)) as store, Redis.from_url(server.url) as redis:
        for _ in range(2):
            assert (await store.lease(KEY, TOKEN, ttl=30, seen=None)).kind is GRANTED
            await redis.script_flush()
        await store.fence([KEY], [TAG], TOKEN, ttl=30, message=None)
        await redis.script_flush()
        assert await store.commit(item(), TOKEN, message=None)


@pytest.mark.asyncio
async def test_a_hung_server_costs_everybody_one_timeout_at_once(server):
    async with aclosing(RedisStore(server.url, timeout=1)) as store:
        await store.set_many([item()])
        assert await store.get_many([KEY]) == [b"1"]
        server.pause()
        started = asyncio.get_running_loop().time()

        async def late():
            await asyncio.sleep(0.1)
            began = asyncio.get_running_loop().time()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await store.get_many([TAG])
            return since(began)

        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(late())
            answers = await asyncio.gather(
                *(store.get_many([f"shop:{{{number}}}"]) for number in range(50)),
                store.drop([KEY], [TAG], message=None),
                return_exceptions=True,
            )
            took = since(started)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert 0.99 <= took < 1.9
        assert waiting.result() < 1.9, "a batch behind a hung one has a deadline of its own"
        server.resume()
        assert await store.get_many([KEY]) in ([b"1"], [None])


@pytest.mark.asyncio
async def test_what_cannot_be_written_to_a_hung_server_is_not_waited_for_at_the_end(server):
    store = RedisStore(server.url, timeout=0.2)
    await store.set_many([item()])
    server.pause()
    with pytest.raises(StoreUnavailable):
        await store.set_many([item(bytes(50_000_000))])
    async with asyncio.timeout(5):
        await store.aclose()
    server.resume()


@pytest.mark.asyncio
async def test_nobody_listens_at_the_address():
    store = RedisStore("redis://127.0.0.1:1/0")
    with pytest.raises(
        StoreUnavailable, match=r"redis://127\.0\.0\.1:1, database 0: ConnectionError"
    ) as caught:
        await store.get_many([KEY])
    assert caught.value.__cause__ is not None
    await store.aclose()


@pytest.mark.asyncio
async def test_closing_ends_what_is_under_way_and_the_store_opens_again(server):
    store = RedisStore(server.url)
    assert await store.get_many([KEY]) == [None]
    server.pause()
    waiting = [asyncio.create_task(store.get_many([KEY])) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting.append(asyncio.create_task(store.drop([KEY], [], message=None)))
    await asyncio.sleep(0)
    await store.aclose()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    server.resume()
    assert await store.get_many([KEY]) == [None]
    await store.aclose()


@pytest.mark.asyncio
async def test_on_a_full_server_invalidation_works_and_storing_says_no(server):
    async with aclosing(RedisStore(server.url)) as store, Redis.from_url(server.url) as redis:
        stamp, [version] = await store.stamp("shop"), await store.versions([TAG], ttl=60)
        await store.set_many([item(b"old")])
        await store.fence(["shop:{f}"], [], TOKEN, ttl=30, message=None)
        await store.lease("shop:{l}", TOKEN, ttl=30, seen=None)
        await redis.config_set("maxmemory", "1kb")
        for store_it in (
            partial(store.set_many, [item(b"new")]),
            partial(store.put, [item(b"new")], message=None),
            partial(store.commit, item(b"new", "shop:{l}"), TOKEN, message=None),
            partial(store.lease, "shop:{l}", TOKEN, ttl=30, seen=None),
        ):
            with pytest.raises(StoreUnavailable, match="OOM"):
                await store_it()
        assert await store.claims("shop:{l}") == [], "a commit ends the claim either way"
        assert await store.get_many([KEY, "shop:{l}"]) == [b"old", None]
        await store.drop([KEY, "shop:{f}"], [TAG], message=None)
        await store.fence([KEY], [TAG], b"another token", ttl=30, message=None)
        assert await store.settle([TAG], TOKEN, ttl=30) == [None]
        assert await store.peek([KEY], [TAG]) == ([None], [None])
        [claim] = await store.claims("shop:{f}")
        assert claim.tainted
        await redis.config_set("maxmemory", "0")
        assert await store.stamp("shop") != stamp
        await store.release([], [TAG], b"another token", message=None)
        assert await store.versions([TAG], ttl=60) != [version]


@pytest.mark.asyncio
async def test_what_a_server_evicts_is_only_ever_missed():
    options = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "64")
    with valkey(*options) as server:
        store = RedisStore(server.url)
        stamp, [version] = await store.stamp("shop"), await store.versions([TAG], ttl=60)
        for number in range(200):
            await store.set_many([item(bytes(100_000), f"shop:{{{number}}}")])
        assert await store.peek([], [TAG]) == ([], [None])
        assert await store.versions([TAG], ttl=60) != [version]
        assert await store.stamp("shop") != stamp
        await store.aclose()
