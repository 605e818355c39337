"""What the tests of the core share: a clock that stands still, a cache, a loader with a gate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from acache import Cache
from acache.events import Event
from acache.testing import ManualClock
from acache.testing.network import Network
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer


class Gated:
    """A loader that waits until it is let through, counts its runs and returns the next value."""

    def __init__(self) -> None:
        self.value: object = 1
        self.error: Exception | None = None
        self.runs = 0
        self.running = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> object:
        self.runs += 1
        self.running += 1
        value = self.value  # read when the load begins, as a query would
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            return value
        finally:
            self.running -= 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def cache(clock: ManualClock) -> AsyncIterator[Cache]:
    async with Cache("memory://", clock=clock) as cache:
        yield cache


@pytest.fixture
def events(cache: Cache) -> list[Event]:
    """What the cache has told so far."""
    seen: list[Event] = []
    cache.subscribe(seen.append)
    return seen


@pytest.fixture
def server(clock: ManualClock) -> MemoryServer:
    """A server that several caches can share."""
    return MemoryServer(clock=clock)


@pytest_asyncio.fixture
async def open_cache(server: MemoryServer, clock: ManualClock):
    """Open caches over the server, each with a network of its own; closed with the test."""
    async with AsyncExitStack() as stack:

        async def opened(network: Network | None = None, **options) -> Cache:
            store = MemoryRemote(server, network=network or Network())
            return await stack.enter_async_context(Cache(store, clock=clock, **options))

        yield opened


@pytest_asyncio.fixture
async def load() -> Gated:
    return Gated()


@pytest.fixture
def turn():
    """Let everything that can run do so: `await turn()`."""

    async def run() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    return run
