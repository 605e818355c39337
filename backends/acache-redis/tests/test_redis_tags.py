"""What tags cost a real server: round trips, keys and how long these live."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from acache import Cache
from acache_redis import RedisStore

pytestmark = [pytest.mark.real, pytest.mark.asyncio]
OWN = {"cmdstat_info", "cmdstat_config|resetstat", "cmdstat_hello", "cmdstat_client|setinfo"}


@asynccontextmanager
async def opened(server, namespace):
    async with (
        Cache(RedisStore(server.url, timeout=20), namespace=namespace) as cache,
        Redis.from_url(server.url) as redis,
    ):
        yield cache, redis


async def calls(redis):
    """Return how often each command was called since the last reset."""
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items() if name not in OWN}


async def test_a_hit_with_tags_is_one_mget_and_no_script(server):
    async with opened(server, "hit") as (cache, redis):

        @cache.cached("user:{user_id}", ttl=60, tags=["user:{user_id}", "users"])
        async def user(user_id: int) -> int:
            return user_id

        assert await user(1) == 1
        await redis.config_resetstat()
        assert await user(1) == 1
        assert await calls(redis) == {"mget": 1}
        assert user.stats().hits == 1


async def test_clear_changes_two_keys_whatever_there_is(server):
    async with opened(server, "clear") as (cache, redis):
        await cache.set_many({f"k{number}": number for number in range(1_000)}, ttl=60)
        there = await redis.dbsize()
        await redis.config_resetstat()
        await cache.clear()
        assert sum((await calls(redis)).values()) < 10
        assert await redis.dbsize() >= there - 1
        assert await cache.get_many([f"k{number}" for number in range(1_000)]) == {}


async def test_a_tag_lives_at_least_as_long_as_the_longest_entry_that_has_it(server):
    async with opened(server, "life") as (cache, redis):

        async def load():
            return 1

        async def left(kind, name):
            return await redis.pttl(f"acache:{kind}:life:{{{name}}}")

        await cache.get_or_load("short", load, ttl=10, tags=["t"], type=int)
        assert 0 < await left("e", "short") <= await left("t", "t")
        await cache.get_or_load("long", load, ttl=100, stale_if_error=1_000, tags=["t"], type=int)
        assert 1_000_000 < await left("e", "long") <= await left("t", "t")
        await cache.get_or_load("shorter", load, ttl=1, tags=["t"], type=int)
        assert await left("t", "t") > 1_000_000, "it is never shortened"
        await cache.invalidate(tags=["t"])
        assert await redis.exists("acache:t:life:{t}") == 0


async def test_the_tags_of_what_is_gone_leave_no_key(server):
    async with opened(server, "gone") as (cache, redis):
        for number in range(50):
            await cache.set(f"k{number}", number, ttl=0.2, tags=[f"t{number}"])
        there = [key async for key in redis.scan_iter("acache:t:gone:*")]
        assert there
        async with asyncio.timeout(20):
            while await redis.exists(*there):
                await asyncio.sleep(0.05)
