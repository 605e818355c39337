"""A server that is full and evicts what it likes: misses, never a stale hit."""

import asyncio
import random

import pytest
from redis.asyncio import Redis
from valkey_server import valkey

from acache import Cache
from acache_redis import RedisStore

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

KEYS, GROUPS, PADDING = 400, 40, "x" * 12_000


async def test_p1_evicted_entries_versions_and_claims_cause_misses_and_never_a_stale_hit():
    with valkey("--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru") as server:
        versions, floors, rng = [0] * GROUPS, [0] * GROUPS, random.Random(7)
        found = {"hits": 0, "stale": 0}

        async def read(cache, key):
            group, loaded = key % GROUPS, False

            async def load():
                nonlocal loaded
                loaded = True
                version = versions[group]
                await asyncio.sleep(0)
                return version, PADDING

            floor = floors[group]
            version, _ = await cache.get_or_load(
                f"k{key}", load, ttl=600, tags=[f"g{group}", "all"], type=tuple[int, str]
            )
            found["stale"] += version < floor
            found["hits"] += not loaded

        async def reader(cache):
            for _ in range(150):
                key = rng.randrange(20) if rng.random() < 0.5 else rng.randrange(KEYS)
                await read(cache, key)

        async def writer(cache):
            for _ in range(60):
                group = rng.randrange(GROUPS)
                versions[group] += 1
                version = versions[group]
                await cache.invalidate(tags=[f"g{group}"])
                floors[group] = max(floors[group], version)

        async with (
            Cache(RedisStore(server.url)) as one,
            Cache(RedisStore(server.url)) as other,
            asyncio.TaskGroup() as tasks,
        ):
            for cache in (one, other, one, other):
                tasks.create_task(reader(cache))
            for cache in (one, other):
                tasks.create_task(writer(cache))
        async with Redis.from_url(server.url) as redis:
            evicted = (await redis.info("stats"))["evicted_keys"]
        assert evicted > 200
        assert found["hits"] > 20
        assert found["stale"] == 0
