"""P5 and P6 over real outages: no read fails, and no invalidation is lost."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from valkey_server import valkey

from acache import Cache
from acache.errors import InvalidationFailed
from acache.events import BreakerChanged, InvalidationLanded, InvalidationPending, StoreFailed
from acache_redis import RedisStore

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

LASTING = ("--appendonly", "yes", "--appendfsync", "always")  # what a crash leaves comes back


class Source:
    """Rows that are versions, and how often they were loaded."""

    def __init__(self):
        self.version = 0
        self.loads = 0

    async def load(self):
        self.loads += 1
        version = self.version
        await asyncio.sleep(0)
        return version


@asynccontextmanager
async def opened(url, *, timeout=None, **options):
    """Yield a cache and the events that it has told so far."""
    told = []
    async with Cache(RedisStore(url, timeout=timeout), **options) as cache:
        cache.subscribe(told.append)
        yield cache, told


async def until(true, seconds=10):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def kinds(told):
    return Counter(type(event) for event in told)


@pytest.mark.parametrize("near", [False, True], ids=["no near", "near"])
async def test_p5_no_read_fails_while_the_server_is_killed_and_comes_back(near):
    with valkey() as server:
        async with opened(server.url, near=near) as (cache, told):
            source, reads, stop = Source(), 0, asyncio.Event()

            async def reader(number):
                nonlocal reads
                while not stop.is_set():
                    await cache.get_or_load(f"k{number}", source.load, ttl=0.05, type=int)
                    reads += 1
                    await asyncio.sleep(0.001)

            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(reader(number % 10))
                for _ in range(3):
                    before = reads
                    await until(lambda before=before: reads > before + 200)
                    opened_before = kinds(told)[BreakerChanged]
                    await asyncio.to_thread(server.kill)
                    before = reads
                    await until(lambda before=before: reads > before + 200)
                    assert kinds(told)[BreakerChanged] > opened_before
                    await asyncio.to_thread(server.start)
                    await until(lambda: not told[-1:] or not cache._engine.authority._remote.breaker.open)
                stop.set()
            assert kinds(told)[StoreFailed] > 0
            stored = cache.stats().loads
            await cache.get_or_load("k", source.load, ttl=60, type=int)
            assert (await cache.explain("k")).remote == "an entry", "the store is used again"
            assert cache.stats().loads == stored + 1


async def test_p6_an_invalidation_while_the_server_is_down_lands_before_anything_is_trusted_again():
    with valkey(*LASTING) as server:
        async with opened(server.url, near=True) as (cache, told):
            source, other = Source(), Source()
            await cache.get_or_load("k", source.load, ttl=60, tags=["t"], type=int)
            await cache.get_or_load("tagged", source.load, ttl=60, tags=["t"], type=int)
            await cache.get_or_load("other", other.load, ttl=60, type=int)
            await asyncio.to_thread(server.kill)
            source.version = 1
            await cache.invalidate("k")
            await cache.invalidate(tags=["t"])
            assert kinds(told)[InvalidationPending] == 2
            assert (await cache.explain("k")).pending
            assert await read_both(cache, source) == [1, 1]

            await asyncio.to_thread(server.start)
            while not kinds(told)[InvalidationLanded]:
                assert await read_both(cache, source) == [1, 1]
                await asyncio.sleep(0.001)
            assert not (await cache.explain("k")).pending
            assert await read_both(cache, source) == [1, 1]
            loads = source.loads
            assert await read_both(cache, source) == [1, 1]
            assert source.loads == loads, "it is cached again"
        async with opened(server.url) as (cache, told):
            assert await read_both(cache, source) == [1, 1]
            assert await cache.get_or_load("other", other.load, ttl=60, type=int) == 0
            assert other.loads == 1, "the server had kept its data, so the old entries came back as well"


async def read_both(cache, source):
    return [
        await cache.get_or_load(key, source.load, ttl=60, tags=["t"], type=int) for key in ("k", "tagged")
    ]


async def test_p6_a_caller_can_be_told_that_its_invalidation_did_not_land():
    with valkey() as server:
        async with opened(server.url, on_lost_invalidation="raise") as (cache, told):
            source = Source()
            await cache.get_or_load("k", source.load, ttl=60, type=int)
            await asyncio.to_thread(server.kill)
            source.version = 1
            with pytest.raises(InvalidationFailed, match="pending and retried until it lands"):
                await cache.invalidate("k")
            assert await cache.get_or_load("k", source.load, ttl=60, type=int) == 1
            await asyncio.to_thread(server.start)
            await until(lambda: kinds(told)[InvalidationLanded])


async def test_p6_a_write_while_the_server_is_down_goes_to_the_source_and_its_keys_are_pending():
    with valkey(*LASTING) as server:
        async with opened(server.url) as (cache, told):
            source = Source()
            await cache.get_or_load("k", source.load, ttl=60, type=int)
            await asyncio.to_thread(server.kill)
            async with cache.writing("k") as writer:
                source.version = 1
                writer.commit("k", 1, ttl=60)
            assert (await cache.explain("k")).pending
            await asyncio.to_thread(server.start)
            while not kinds(told)[InvalidationLanded]:
                assert await cache.get_or_load("k", source.load, ttl=60, type=int) == 1
                await asyncio.sleep(0.001)
            assert await cache.get_or_load("k", source.load, ttl=60, type=int) == 1


async def test_p5_a_hung_server_costs_a_read_its_timeout_once():
    with valkey() as server:
        async with opened(server.url, timeout=0.3) as (cache, told):
            source, loop = Source(), asyncio.get_running_loop()

            async def timed(key):
                began = loop.time()
                assert await cache.get_or_load(key, source.load, ttl=60, type=int) == 0
                return loop.time() - began

            await timed("warm")
            server.pause()
            first = await asyncio.gather(*(timed(f"k{number}") for number in range(50)))
            assert max(first) > 0.25
            asked = [event.operation for event in told if isinstance(event, StoreFailed)]
            assert asked == ["peek"], "one timeout for all of them, and then nobody asked for a lease"
            for number in range(50):
                await timed(f"l{number}")
            assert kinds(told)[StoreFailed] < 5, "the breaker answers: few are asked whether it is back"
            assert [event.open for event in told if isinstance(event, BreakerChanged)] == [True]
            server.resume()

            async def stored():
                await timed("k0")
                return (await cache.explain("k0")).remote == "an entry"

            async with asyncio.timeout(10):
                while not await stored():
                    await asyncio.sleep(0.05)
            assert [event.open for event in told if isinstance(event, BreakerChanged)] == [True, False]
