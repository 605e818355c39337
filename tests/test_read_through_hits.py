"""What `ReadThrough.get` finds near is served on the spot, and counted like any other hit."""

import pytest

from acache import ReadThrough
from acache._stats import SAMPLE_EVERY


class Table:
    def __init__(self):
        self.asked = []

    async def load(self, ids):
        self.asked.append(list(ids))
        return {id: f"row {id}" for id in ids}


@pytest.fixture
def table():
    return Table()


@pytest.mark.asyncio
async def test_every_hit_is_counted_once_and_some_are_timed(cache, table):
    rows = ReadThrough(cache, table, key="row:{}", ttl=60)
    for _ in range(2 * SAMPLE_EVERY + 10):
        assert await rows.get(1) == "row 1"
    [stats] = [each.stats for each in cache.report().functions if "row" in each.name]
    assert (stats.hits, stats.misses, stats.loads) == (2 * SAMPLE_EVERY + 9, 1, 1)
    assert rows._reader.tally.hit_time.count == 2
    assert table.asked == [[1]]


@pytest.mark.asyncio
async def test_what_is_no_longer_fresh_is_not_served_on_the_spot(cache, table, clock):
    rows = ReadThrough(cache, table, key="row:{}", ttl=60, beta=0)
    await rows.get(1)
    clock.advance(59.9)
    await rows.get(1)
    assert len(table.asked) == 1
    clock.advance(0.2)
    await rows.get(1)
    await rows.invalidate(1)
    await rows.get(1)
    assert len(table.asked) == 3


@pytest.mark.asyncio
async def test_an_entry_of_another_version_is_no_hit(cache, table):
    old = ReadThrough(cache, table, key="row:{}", ttl=60, version="1")
    new = ReadThrough(cache, table, key="row:{}", ttl=60, version="2")
    await old.get(1)
    await new.get(1)
    await new.get(1)
    assert len(table.asked) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [0, -1, 2**70, 10**300, True, "7", 1.0])
async def test_its_keys_are_those_of_the_cache(cache, table, number):
    rows = ReadThrough(cache, table, key="100%:{}", ttl=60)
    assert rows.key(number) == cache.key("100%:{}", number)
    assert await rows.get(number) == await rows.get(number) == f"row {number}"
    assert len(table.asked) == 1
