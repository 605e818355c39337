"""How many commands a real server executes for an operation: counted by the server, not timed."""

import asyncio

import pytest
from redis.asyncio import Redis

from acache import Cache
from acache_redis import RedisStore

pytestmark = [pytest.mark.real, pytest.mark.asyncio]
ABOUT_CONNECTIONS = {
    "hello",
    "client|setinfo",
    "client|tracking",
    "config|resetstat",
    "info",
    "ping",
    "subscribe",
}


class Counting:
    """Asks a server which commands it executed, those inside scripts too."""

    def __init__(self, redis):
        self.redis = redis

    async def commands(self, work):
        """Return how often each command was executed during *work*."""
        await self.redis.config_resetstat()
        await work()
        stats = await self.redis.info("commandstats")
        found = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
        return {name: calls for name, calls in sorted(found.items()) if name not in ABOUT_CONNECTIONS}


async def test_operations_execute_the_commands_that_they_need(server):
    async with Redis.from_url(server.url) as redis, Cache(RedisStore(server.url)) as cache:
        counting = Counting(redis)

        @cache.cached("plain:{a}", ttl=60)
        async def plain(a: int) -> int:
            return a

        @cache.cached("tagged:{a}", ttl=60, tags=["a:{a}", "all"])
        async def tagged(a: int) -> int:
            return a

        for a in range(3):  # the scripts are known to the server then
            await plain(a)
            await tagged(a)
        await cache.set("set", 1, ttl=60)
        await cache.invalidate("set", tags=["nobody"])
        work = {
            "hit": lambda: plain(1),
            "100 hits at once": lambda: asyncio.gather(*(plain(a % 3) for a in range(100))),
            "hit, two tags": lambda: tagged(1),
            "miss": lambda: plain(7),
            "miss, two tags": lambda: tagged(7),
            "set": lambda: cache.set("set", 2, ttl=60),
            "invalidate a key": lambda: plain.invalidate(1),
            "invalidate a tag": lambda: cache.invalidate(tags=["all"]),
        }
        counted = {name: await counting.commands(each) for name, each in work.items()}
    scripts_and_commands = {
        name: (found.get("evalsha", 0), sum(found.values())) for name, found in counted.items()
    }
    assert scripts_and_commands == {
        "hit": (0, 1),
        "100 hits at once": (0, 1),
        "hit, two tags": (0, 1),
        "miss": (3, 20),
        "miss, two tags": (5, 29),
        "set": (2, 8),
        "invalidate a key": (1, 4),
        "invalidate a tag": (1, 5),
    }
