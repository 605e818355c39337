"""A cache at capacity, read and changed for a minute: what grows, and for how long the loop is blocked."""

import asyncio
import gc
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from acache import Cache, Policy
from acache_redis import RedisStore

KEYS, CAPACITY, READERS = 20_000, 1_000, 20
TICK = 0.005  # seconds between two looks at the loop
WARM = 0.4  # share of the time after which nothing may grow any more


@dataclass(slots=True)
class Soak:
    """What was measured, at each look."""

    tasks: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # resident bytes
    blocked: float = 0.0  # seconds of CPU that one turn of the loop took, at most
    late: float = 0.0  # seconds by which a tick came too late, at most: the machine's doings too
    reads: int = 0
    wrong: int = 0
    evictions: int = 0

    def growth(self, values: list[int]) -> float:
        """Return by which share the second half of what came after the warm-up is larger than the first."""
        steady = values[int(len(values) * WARM) :]
        half = len(steady) // 2
        before, after = _median(steady[:half]), _median(steady[half:])
        return (after - before) / before if before else 0.0


async def soak(url: str, seconds: float, *, seed: int = 0) -> Soak:
    """Run it; the near store and the memory of this process are at capacity after the warm-up."""
    found, rng, over = Soak(), Random(seed), False
    policy = Policy(ttl=5.0, stale_while_revalidate=5.0, jitter=0.5)
    store = RedisStore(url, timeout=2.0)
    cache = Cache(store, near=f"memory://?max_entries={CAPACITY}", namespace="soak", verify=0.001)

    @cache.cached("row:{number}", policy=policy, tags=["group:{group}"])
    async def row(number: int, group: int) -> dict[str, int]:
        await asyncio.sleep(0.001)
        return {"number": number, "group": group}

    async def reads() -> None:
        while not over:
            for _ in range(20):
                number = int(rng.paretovariate(0.3)) % KEYS
                value = await row(number, number % 100)
                found.reads += 1
                found.wrong += value["number"] != number
            await asyncio.sleep(0)
            if rng.random() < 0.01:
                await cache.invalidate(tags=[f"group:{rng.randrange(100)}"])
            if rng.random() < 0.01:
                async with cache.writing(f"row:{number}", tags=[f"group:{number % 100}"]):
                    await asyncio.sleep(0)
            if rng.random() < 0.02:
                task = asyncio.ensure_future(row(rng.randrange(KEYS), 0))
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.sleep(0.005)

    async def watch() -> None:
        while not over:
            before, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK)
            late = time.perf_counter() - before - TICK
            # All that the loop did meanwhile: no single turn can have taken more of either.
            found.blocked = max(found.blocked, min(late, time.thread_time() - cpu))
            found.late = max(found.late, late)

    async with cache:
        gc.collect()
        gc.freeze()
        try:
            tasks = [asyncio.create_task(reads()) for _ in range(READERS)]
            started = time.monotonic()
            while time.monotonic() - started < seconds * WARM / 2:
                await asyncio.sleep(0.1)
            tasks.append(asyncio.create_task(watch()))
            while time.monotonic() - started < seconds:
                await asyncio.sleep(max(0.25, seconds / 120))
                _look(found)
            over = True
            await asyncio.gather(*tasks)
        finally:
            gc.unfreeze()
        found.evictions = cache.stats().evictions
    return found


def _look(found: Soak) -> None:
    found.tasks.append(len(asyncio.all_tasks()))
    found.descriptors.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    found.memory.append(pages * 4096)


def _median(values: Iterable[int]) -> float:
    ordered = sorted(values)
    return float(ordered[len(ordered) // 2]) if ordered else 0.0
