"""Many at once: reads that are cancelled in flight, and misses of one key."""

import asyncio
from dataclasses import dataclass
from random import Random

from acache import Cache
from acache.testing.proxy import Proxy
from acache_redis import RedisStore

KEYS, AT_ONCE, PATIENT = 500, 60, 20


@dataclass(slots=True)
class Crowd:
    """What became of the reads."""

    cancelled: int = 0
    answered: int = 0
    wrong: int = 0


async def cancelled_reads(port: int, count: int, *, seed: int = 0) -> Crowd:
    """Cancel *count* reads on their way through a slow proxy, others reading beside them.

    A connection that mixes up answers after a cancellation gives somebody another key's value."""
    crowd, rng = Crowd(), Random(seed)
    async with Proxy("127.0.0.1", port, seed=seed) as proxy:
        proxy.latency, proxy.jitter = 0.004, 0.004
        store = RedisStore(f"redis://127.0.0.1:{proxy.port}/0", timeout=5.0)
        async with Cache(store, namespace="crowd") as cache:
            await cache.set_many({f"row:{number}": number for number in range(KEYS)}, ttl=600)

            async def read(number: int) -> None:
                async def load() -> int:
                    await asyncio.sleep(0.002)
                    return number

                found = await cache.get_or_load(f"row:{number}", load, ttl=600, type=int)
                crowd.answered += 1
                crowd.wrong += found != number

            async def give_up() -> None:
                """Cancel one read after a while; if it was answered before, that counts for nothing."""
                number = rng.randrange(KEYS)
                if rng.random() < 0.05:
                    await cache.invalidate(f"row:{number}")
                task = asyncio.create_task(read(number))
                await asyncio.sleep(rng.uniform(0.0, 0.06))
                task.cancel()
                await asyncio.wait([task])
                crowd.cancelled += task.cancelled()
                if not task.cancelled():
                    task.result()

            async def giving_up() -> None:
                while crowd.cancelled < count:
                    await give_up()

            async def patient() -> None:
                while crowd.cancelled < count:
                    await read(rng.randrange(KEYS))

            await asyncio.gather(*(giving_up() for _ in range(AT_ONCE)), *(patient() for _ in range(PATIENT)))
            proxy.calm()
            for number in range(KEYS):
                await read(number)
    return crowd


async def misses_of_one_key(url: str | None, count: int) -> int:
    """Let *count* callers miss one key at once, locally or over a server; return how many loads ran."""
    loads = 0
    async with Cache(url or "memory://", namespace="stampede") as cache:

        @cache.cached("one", ttl=60)
        async def one() -> int:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0.1)
            return 7

        found = await asyncio.gather(*(one() for _ in range(count)))
        await cache.clear()
    return loads if set(found) == {7} else -1
