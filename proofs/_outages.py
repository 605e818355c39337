"""A server that is killed or stopped again and again under load: no read fails, none is wrong."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from acache import Cache, Policy
from acache.events import BreakerChanged
from acache_redis import RedisStore

KEYS, READERS = 50, 10
TIMEOUT = 0.25  # seconds that a round trip may take
# Fresh for a moment only, so that reads keep needing the server; then stale values may do.
POLICY = Policy(ttl=0.2, stale_while_revalidate=60, stale_if_error=60)


@dataclass(slots=True)
class Load:
    """What readers saw."""

    latencies: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: int = 0
    reconnected: int = 0  # times that the breaker closed again: the server was in use between two outages
    outages: int = 0

    def __iadd__(self, other: "Load") -> "Load":
        self.latencies += other.latencies
        self.failed += other.failed
        self.wrong += other.wrong
        self.reconnected += other.reconnected
        self.outages += other.outages
        return self

    def quantile(self, share: float) -> float:
        """Return the latency in seconds below which *share* of the reads lie."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Server(Protocol):
    """A server of the tests."""

    url: str

    def start(self) -> object: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


async def kills(server: Server, count: int, *, seed: int = 0, up: float = 0.02, down: float = 0.02) -> Load:
    """Kill *server* with -9 *count* times under load; each time it comes back empty."""

    async def strike() -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(down)
        await asyncio.to_thread(server.start)

    return await _under_load(server, strike, count, seed=seed, up=up)


async def stops(server: Server, count: int, *, seed: int = 0, up: float = 0.5, down: float = 0.5) -> Load:
    """Stop *server* with SIGSTOP *count* times under load, and let it go on."""

    async def strike() -> None:
        server.pause()
        await asyncio.sleep(down)
        server.resume()

    return await _under_load(server, strike, count, seed=seed, up=up)


async def _under_load(
    server: Server, strike: Callable[[], Awaitable[None]], count: int, *, seed: int, up: float
) -> Load:
    load, rng, over = Load(), Random(seed), False
    cache = Cache(RedisStore(server.url, timeout=TIMEOUT, ping_every=0.2), near=True)

    def observe(event: object) -> None:
        load.reconnected += isinstance(event, BreakerChanged) and not event.open

    cache.subscribe(observe)

    @cache.cached("row:{number}", policy=POLICY)
    async def row(number: int) -> int:
        await asyncio.sleep(0.005)
        return number

    async def reads() -> None:
        while not over:
            number = rng.randrange(KEYS)
            started = time.perf_counter()
            try:
                load.wrong += await row(number) != number
            except Exception as error:
                load.failed.append(f"{type(error).__name__}: {error}")
            load.latencies.append(time.perf_counter() - started)
            if rng.random() < 0.02:
                await cache.invalidate(f"row:{number}")
            await asyncio.sleep(0.002)

    async with cache:
        readers = [asyncio.create_task(reads()) for _ in range(READERS)]
        for _ in range(count):
            # Only what is in use can fail: wait until the cache has found the server again.
            until = time.monotonic() + 2.5
            while cache.health().remote != "up" and time.monotonic() < until:
                await asyncio.sleep(0.01)
            await asyncio.sleep(rng.uniform(0, up))
            await strike()
            load.outages += 1
        over = True
        await asyncio.gather(*readers)
    return load
