"""What each strategy does to one key: how many queries, and whether a load that met a change is kept."""

import asyncio
import random

import pytest
import pytest_asyncio

from acache.cli.demo.database import Summary
from acache.cli.demo.strategies import STRATEGIES, Setup

USER = 7


class Source:
    """A row with a version, and queries that see the row at once and answer when they are let go."""

    def __init__(self):
        self.version = 1
        self.queries = 0
        self.came = asyncio.Event()
        self.go = asyncio.Event()

    async def asked(self, times):
        while self.queries < times:
            self.came.clear()
            await self.came.wait()

    async def __call__(self, user_id):
        self.queries += 1
        self.came.set()
        seen = Summary(user_id=user_id, name="Ada", version=self.version, orders=0, cents=0)
        await self.go.wait()
        return seen


@pytest_asyncio.fixture
async def source():
    return Source()


@pytest_asyncio.fixture(params=STRATEGIES)
async def strategy(request, source):
    strategy = STRATEGIES[request.param](Setup(source, 3_600.0, random.Random(1)))
    strategy.name = request.param
    yield strategy
    await strategy.aclose()


HERD = {"no cache": 10, "naive cache-aside": 10, "mutex only": 1, "XFetch only": 10, "acache": 1}
CACHED = {"no cache": 1, "naive cache-aside": 0, "mutex only": 0, "XFetch only": 0, "acache": 0}
KEEPS_OLD = {"naive cache-aside", "mutex only", "XFetch only"}


@pytest.mark.asyncio
async def test_ten_readers_of_a_cold_key(strategy, source):
    reads = [asyncio.create_task(strategy.read(USER)) for _ in range(10)]
    await source.asked(HERD[strategy.name])
    source.go.set()
    assert {(await read).version for read in reads} == {1}
    assert source.queries == HERD[strategy.name]


@pytest.mark.asyncio
async def test_a_cached_value_needs_no_query(strategy, source):
    source.go.set()
    await strategy.read(USER)
    before = source.queries
    await strategy.read(USER)
    assert source.queries - before == CACHED[strategy.name]


@pytest.mark.asyncio
async def test_an_invalidated_value_is_loaded_again(strategy, source):
    source.go.set()
    await strategy.read(USER)
    source.version = 2
    await strategy.invalidate(USER)
    assert (await strategy.read(USER)).version == 2


@pytest.mark.asyncio
async def test_who_keeps_the_row_of_a_load_that_met_an_invalidation(strategy, source):
    slow = asyncio.create_task(strategy.read(USER))
    await source.asked(1)
    source.version = 2
    await strategy.invalidate(USER)
    source.go.set()
    await slow
    assert (await strategy.read(USER)).version == (1 if strategy.name in KEEPS_OLD else 2)
