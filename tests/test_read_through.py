"""Reading a source by id through a cache: concurrent reads become one query."""

import asyncio
from uuid import UUID

import pytest

from acache import MISSING, ReadThrough
from acache.errors import (
    CacheClosed,
    InvalidTemplate,
    LoadTimeout,
    NoInvalidationPlan,
    SourceRefused,
    SourceUnavailable,
    UncacheableArgument,
)
from acache.testing import override


class Table:
    def __init__(self):
        self.rows = {number: f"row {number}" for number in range(1, 50)}
        self.asked = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, ids):
        self.asked.append(list(ids))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {number: self.rows[number] for number in ids if number in self.rows}


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def rows(cache, table):
    return ReadThrough(cache, table, key="row:{}", ttl=60, tags=["row:{}", "rows"])


@pytest.mark.asyncio
async def test_concurrent_reads_of_different_ids_are_one_query(rows, table):
    results = await asyncio.gather(*map(rows.get, [1, 2, 3, 2]), rows.get_many([3, 4]))
    assert results == ["row 1", "row 2", "row 3", "row 2", {3: "row 3", 4: "row 4"}]
    assert table.asked == [[1, 2, 3, 4]]
    assert await rows.get(1) == "row 1"
    assert len(table.asked) == 1


@pytest.mark.asyncio
async def test_what_does_not_exist_is_none_or_left_out_and_remembered(rows, table, clock):
    assert await rows.get(1000) is None
    assert await rows.get_many([1, 1000]) == {1: "row 1"}
    assert await rows.get_many([1000]) == {}
    assert table.asked == [[1000], [1]]
    table.rows[1000] = "new"
    clock.advance(61)
    assert await rows.get(1000) == "new"


@pytest.mark.asyncio
async def test_keys_and_tags_are_those_of_the_templates(cache, rows):
    await rows.get_many([1, 2])
    assert rows.key(1) == "row:1"
    assert rows.tags(1) == ("row:1", "rows")
    assert await cache.get("row:1") == "row 1"
    await cache.invalidate(tags=["row:1"])
    assert await cache.get_many(["row:1", "row:2"]) == {"row:2": "row 2"}
    await rows.invalidate(1, 2)
    assert await cache.get("row:2", MISSING) is MISSING


@pytest.mark.asyncio
async def test_it_meets_a_function_with_the_same_template(cache, rows, table):
    @cache.cached("row:{number}", ttl=60)
    async def row(number: int):
        return "of the function"

    assert await row(1) == "of the function"
    assert await rows.get(1) == "of the function"
    assert await rows.get(2) == await row(2) == "row 2"
    assert table.asked == [[2]]


@pytest.mark.asyncio
async def test_ids_may_be_anything_with_a_text(cache):
    class Anything:
        async def load(self, ids):
            return {each: repr(each) for each in ids}

    pattern = ReadThrough(cache, Anything(), key="any:{}", ttl=60)
    ids = [1, "1", (1, "a"), UUID(int=1), None, 1.5, "a" * 500]
    assert await pattern.get_many(iter(ids)) == {each: repr(each) for each in ids}
    assert [await pattern.get(each) for each in ids] == list(map(repr, ids))
    with pytest.raises(UncacheableArgument):
        await pattern.get(object())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ConnectionError("refused"), SourceUnavailable),
        (TimeoutError(), SourceUnavailable),
        (SourceUnavailable("away"), SourceUnavailable),
        (SourceRefused("bad", keys=[1]), SourceRefused),
        (ValueError("bug"), ValueError),
    ],
)
async def test_a_failed_query_says_nothing_about_any_id(cache, rows, table, error, seen):
    table.error = error
    results = await asyncio.gather(rows.get(1), rows.get(2), return_exceptions=True)
    assert [type(result) for result in results] == [seen] * 2
    with pytest.raises(seen):
        await rows.get_many([1, 2])
    table.error = None
    assert await rows.get_many([1, 2]) == {1: "row 1", 2: "row 2"}


@pytest.mark.asyncio
async def test_options_are_those_of_a_policy(cache, clock, table, turn):
    rows = ReadThrough(cache, table, key="r:{}", ttl=10, stale_if_error=60, timeout=0.05)
    assert await rows.get(1) == "row 1"
    clock.advance(11)
    table.error = ConnectionError()
    assert await rows.get(1) == "row 1"
    table.gate.clear()
    with pytest.raises(LoadTimeout):
        await rows.get(2)
    table.gate.set()
    await turn()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"key": "row"}, ValueError, 'write {} once, where the id belongs, as in "user:{}"'),
        ({"key": "row:{}:{}"}, ValueError, "write {} once"),
        ({"key": "row:{"}, InvalidTemplate, "brace"),
        ({"tags": ["{}:{}"]}, ValueError, "tags='{}:{}': write {} once"),
        ({"tags": "rows"}, TypeError, r"write tags=\['rows'\]"),
        ({"ttl": None, "policy": None}, None, ""),
        ({"ttll": 5}, TypeError, "unknown option 'ttll'"),
    ],
)
def test_what_makes_no_sense_is_refused(cache, table, options, error, words):
    given = {"key": "row:{}", "ttl": 60, **options}
    if error is None:
        ReadThrough(cache, table, **given)
    else:
        with pytest.raises(error, match=words):
            ReadThrough(cache, table, **given)


def test_it_needs_a_plan(cache, table):
    with pytest.raises(NoInvalidationPlan, match=r"ReadThrough\(row:{}\): say how long"):
        ReadThrough(cache, table, key="row:{}")


@pytest.mark.asyncio
async def test_ids_are_an_iterable(rows):
    with pytest.raises(TypeError, match=r"ids takes an iterable of ids, not '12': write \['12'\]"):
        await rows.get_many("12")


@pytest.mark.asyncio
async def test_it_closes_nothing_that_was_lent(cache, table):
    async with ReadThrough(cache, table, key="row:{}", ttl=60) as rows:
        await rows.get(1)
    await rows.aclose(timeout=1)
    assert await rows.get(1) == "row 1"
    assert await cache.get("row:1") == "row 1"


@pytest.mark.asyncio
async def test_hits_are_counted_and_sampled_as_those_of_a_function(cache, rows, table):
    await rows.get(1)
    for hits in range(1, 2_100):
        assert await rows.get(1) == "row 1"
        if hits in {1, 1023, 1024, 1025, 2048, 2049}:
            assert cache.stats().hits == hits
    (row,) = cache.report().functions
    assert (row.stats.hits, row.stats.misses, row.stats.loads) == (2_099, 1, 1)
    assert cache._engine.process.tallies[row.name].hit_time.count == 2


@pytest.mark.asyncio
async def test_hits_end_where_those_of_a_function_do(cache, clock, table):
    rows = ReadThrough(cache, table, key="row:{}", ttl=10, version="2")
    await cache.set("row:1", "of another version", ttl=60)
    assert await rows.get(1) == "row 1"
    clock.advance(11)
    assert await rows.get(1) == "row 1"
    assert table.asked == [[1], [1]]
    with cache.disabled():
        await rows.get(1)
    with override(cache):
        await rows.get(1)
    assert len(table.asked) == 4
    await cache.aclose()
    for call in (rows.get(1), rows.get_many([1]), rows.invalidate(1)):
        with pytest.raises(CacheClosed):
            await call
    async with cache:
        assert await rows.get(1) == "row 1"
    assert len(table.asked) == 4
