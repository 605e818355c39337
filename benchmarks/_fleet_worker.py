"""One process of a fleet for `stampede`: obeys lines of JSON on stdin, answers each with one line.

Times are of the machine's monotonic clock, which all its processes share."""

import asyncio
import json
import sys
from time import monotonic
from typing import Any

from acache import Cache, MemoryStore
from acache_redis import RedisStore


class Noting(MemoryStore):
    """A near store that notes when each key was dropped."""

    def __init__(self) -> None:
        super().__init__(max_entries=10_000)
        self.dropped: dict[str, float] = {}

    def drop(self, key: str) -> None:
        """Drop *key*."""
        self.dropped[key] = monotonic()
        super().drop(key)


class Worker:
    """A cache and what it is told to do with it."""

    def __init__(self, url: str) -> None:
        self.near = Noting()
        self.cache = Cache(RedisStore(url), near=self.near, namespace="stampede")
        self.loads = 0
        self.loaded_at = 0.0

    async def stampede(self, key: str, readers: int, seconds: float) -> dict[str, Any]:
        """Read a key with many readers at once."""
        self.loads = 0

        async def load() -> str:
            self.loads += 1
            await asyncio.sleep(seconds)
            self.loaded_at = monotonic()
            return "value"

        async def read() -> None:
            await self.cache.get_or_load(key, load, ttl=300, type=str)

        began = monotonic()
        await asyncio.gather(*(read() for _ in range(readers)))
        return {"loads": self.loads, "began": began, "ended": monotonic(), "loaded": self.loaded_at}

    async def hold(self, keys: list[str]) -> dict[str, Any]:
        """Hold *keys* near."""
        trusted = self.cache._engine.process.near  # noqa: SLF001 - there is no public way to wait for it
        while trusted.trusted_until < 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for key in keys:
            await self.cache.get_or_load(key, _nothing, ttl=300, type=int)
        self.near.dropped.clear()
        return {"held": len(self.near)}

    async def invalidate(self, keys: list[str], pause: float) -> dict[str, Any]:
        """Invalidate *keys* one after the other, or with no *pause* all at once; say when each began."""
        began: dict[str, float] = {}

        async def one(key: str) -> None:
            began[key] = monotonic()
            await self.cache.invalidate(key)

        if pause:
            for key in keys:
                await one(key)
                await asyncio.sleep(pause)
        else:
            await asyncio.gather(*map(one, keys))
        return {"began": began}

    async def drops(self) -> dict[str, Any]:
        """Say when each key was dropped from near."""
        return {"dropped": self.near.dropped}


async def _nothing() -> int:
    return 0


async def main() -> None:
    """Obey until stdin ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    worker = Worker(sys.argv[1])
    async with worker.cache:
        while line := await reader.readline():
            order = json.loads(line)
            answer = await getattr(worker, order.pop("do"))(**order)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
