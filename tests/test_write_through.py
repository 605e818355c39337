"""Writing a source through a cache: what is cached is what the source holds, or nothing."""

import asyncio

import pytest

from acache import MISSING, WriteThrough
from acache.errors import LoadTimeout, RecursiveUpdate, SourceRefused, SourceUnavailable
from acache.protocols import Saved


class Table:
    """A source in a dict that can be away, refuse, and make something else of what it is given."""

    def __init__(self):
        self.rows = {}
        self.calls = []
        self.error = None
        self.swallows = ()
        self.late = False  # whether an error comes after the change
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, keys):
        self.calls.append(("load", *keys))
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await self.gate.wait()
        return found

    async def save(self, items, *, versions=None):
        assert versions is None
        self.calls.append(("save", *items))
        await self._work()
        rows = {key: value.strip() for key, value in items.items() if key not in self.swallows}
        self.rows |= rows
        self._fail()
        differing = {key: row for key, row in rows.items() if row != items[key]}
        return Saved(rows=differing, refused=tuple(key for key in items if key in self.swallows))

    async def remove(self, keys, *, versions=None):
        assert versions is None
        self.calls.append(("remove", *keys))
        await self._work()
        for key in keys:
            if key not in self.swallows:
                self.rows.pop(key, None)
        self._fail()
        return Saved(refused=tuple(key for key in keys if key in self.swallows))

    async def _work(self):
        if not self.late:
            self._fail()
        await self.gate.wait()

    def _fail(self):
        if self.error is not None:
            raise self.error


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def rows(cache, table):
    return WriteThrough(cache, table, key="row:{}", ttl=60, tags=["row:{}", "rows"])


async def cached(cache, id):
    return await cache.get(f"row:{id}", MISSING)


@pytest.mark.asyncio
async def test_a_write_is_in_the_source_and_then_in_the_cache(cache, rows, table, clock):
    await rows.put(1, "a")
    assert table.rows == {1: "a"}
    assert await rows.get(1) == "a"
    assert table.calls == [("save", 1)], "it was not loaded"
    assert (await cache.explain("row:1")).tags == ("row:1", "rows")
    clock.advance(61)
    assert await rows.get(1) == "a"
    assert table.calls == [("save", 1), ("load", 1)]


@pytest.mark.asyncio
async def test_what_is_cached_is_the_row_that_the_source_made_of_it(cache, rows, table):
    await rows.put_many({1: " a ", 2: "b"})
    assert await rows.get_many([1, 2]) == {1: "a", 2: "b"}
    assert await rows.update(1, lambda row: f"  {row}{row}") == "aa", "the row as it is in the source"
    assert await rows.get(1) == "aa"
    assert [call for call, *_ in table.calls] == ["save", "load", "save"]


@pytest.mark.asyncio
async def test_many_writes_are_one_statement_and_none_is_no_statement(rows, table):
    await rows.put_many({n: f"row {n}" for n in range(5)})
    await rows.put_many({})
    await rows.remove()
    await rows.remove(1, 2)
    assert table.calls == [("save", 0, 1, 2, 3, 4), ("remove", 1, 2)]
    assert await rows.get_many(range(5)) == {0: "row 0", 3: "row 3", 4: "row 4"}


@pytest.mark.asyncio
async def test_a_write_drops_what_carries_its_tags(cache, rows):
    await cache.set_many({"list": [1], "other": 2}, ttl=60, tags=["rows"])
    await cache.set("of 2", "kept", ttl=60, tags=["row:2"])
    await rows.put(1, "a")
    assert await cache.get_many(["list", "other", "of 2"]) == {"of 2": "kept"}
    await cache.set("list", [1], ttl=60, tags=["rows"])
    await rows.remove(1)
    assert await cache.get("list") is None


@pytest.mark.asyncio
async def test_an_id_that_was_missing_exists_once_it_was_written(rows, table):
    assert await rows.get(1) is None
    await rows.put(1, "a")
    assert await rows.get(1) == "a"
    await rows.remove(1)
    assert await rows.get(1) is None
    assert table.calls == [("load", 1), ("save", 1), ("remove", 1), ("load", 1)]


@pytest.mark.asyncio
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ConnectionError("refused"), SourceUnavailable),
        (SourceUnavailable("away"), SourceUnavailable),
        (SourceRefused("bad", keys=[1]), SourceRefused),
        (ValueError("bug"), ValueError),
    ],
)
async def test_a_write_that_failed_leaves_nothing_cached(cache, rows, table, error, seen, late):
    await rows.put(1, "old")
    table.error, table.late = error, late
    for write in (
        lambda: rows.put(1, "new"),
        lambda: rows.update(1, lambda _: "new"),
        lambda: rows.remove(1),
    ):
        with pytest.raises(seen) as caught:
            await write()
        assert caught.value is error or caught.value.__cause__ is error
        assert await cached(cache, 1) is MISSING
        assert await rows.get(1) == table.rows.get(1)


@pytest.mark.asyncio
async def test_rows_that_the_source_refused_are_told_and_not_cached(cache, rows, table):
    await rows.put_many({1: "old", 2: "old"})
    table.swallows = (1,)
    with pytest.raises(SourceRefused, match="refused 1 of 2 rows") as caught:
        await rows.put_many({1: "new", 2: "new"})
    assert caught.value.keys == (1,)
    assert await cached(cache, 1) is MISSING
    assert await cached(cache, 2) == "new", "what was written was written"
    with pytest.raises(SourceRefused):
        await rows.update(1, lambda _: "new")
    with pytest.raises(SourceRefused) as caught:
        await rows.remove(1, 2)
    assert caught.value.keys == (1,)
    assert await rows.get_many([1, 2]) == {1: "old"}


@pytest.mark.asyncio
async def test_readers_of_a_write_under_way_are_served_and_store_nothing(cache, rows, table, turn):
    await rows.put(1, "old")
    table.gate.clear()
    writing = asyncio.create_task(rows.put(1, "new"))
    await turn()
    reading = [asyncio.create_task(rows.get(1)) for _ in range(3)]
    await turn()
    table.gate.set()
    await writing
    assert set(await asyncio.gather(*reading)) <= {"old", "new"}
    assert await rows.get(1) == await cached(cache, 1) == "new"


@pytest.mark.asyncio
async def test_a_load_that_began_before_a_write_is_not_stored_after_it(cache, rows, table, turn):
    table.rows[1] = "old"
    table.gate.clear()
    reading = asyncio.create_task(rows.get(1))
    await turn()
    gate, table.gate = table.gate, asyncio.Event()
    table.gate.set()
    await rows.put(1, "new")
    gate.set()
    assert await reading == "old"
    assert await rows.get(1) == "new"


@pytest.mark.asyncio
async def test_updates_of_one_id_take_turns(rows, table):
    async def slowly(row):
        await asyncio.sleep(0)
        return f"{row or ''}+"

    table.rows[2] = "x"
    await asyncio.gather(
        *(rows.update(1, slowly) for _ in range(10)),
        *(rows.update(1, lambda row: f"{row or ''}-") for _ in range(10)),
        rows.update(2, slowly),
    )
    assert sorted(await rows.get(1)) == sorted("+-" * 10)
    assert await rows.get(2) == "x+"


@pytest.mark.asyncio
async def test_an_update_reads_the_source_and_not_the_cache(rows, table):
    await rows.put(1, "a")
    table.rows[1] = "changed by another program"
    assert await rows.update(1, lambda row: f"{row}!") == "changed by another program!"


@pytest.mark.asyncio
async def test_a_change_that_raises_writes_nothing_and_lets_the_next_one_in(cache, rows, table):
    await rows.put(1, "a")
    with pytest.raises(ZeroDivisionError):
        await rows.update(1, lambda _: 1 / 0)
    assert await cached(cache, 1) == "a"
    assert await rows.update(1, lambda row: f"{row}b") == "ab"


@pytest.mark.asyncio
async def test_batches_that_overlap_in_any_order_do_not_wait_for_each_other(rows):
    batches = [{a: "v", b: "v", c: "v"} for a, b, c in ((1, 2, 3), (3, 2, 1), (2, 3, 1))]
    async with asyncio.timeout(10):
        await asyncio.gather(*map(rows.put_many, batches * 5))


@pytest.mark.asyncio
async def test_a_cancelled_write_leaves_nothing_cached_and_no_lock(cache, rows, table, turn):
    await rows.put(1, "old")
    table.gate.clear()
    writing = asyncio.create_task(rows.put(1, "new"))
    queued = asyncio.create_task(rows.put(1, "never"))
    await turn()
    queued.cancel()
    writing.cancel()
    await asyncio.gather(writing, queued, return_exceptions=True)
    table.gate.set()
    assert await cached(cache, 1) is MISSING
    async with asyncio.timeout(10):
        await rows.put(1, "next")
    assert await rows.get(1) == "next"


@pytest.mark.asyncio
async def test_the_caller_of_a_read_that_times_out_may_write(rows, table, cache, turn):
    slow = WriteThrough(cache, table, key="row:{}", ttl=60, timeout=0.001)
    table.gate.clear()
    with pytest.raises(LoadTimeout):
        await slow.get(1)
    writing = asyncio.create_task(slow.put(1, "new"))
    await turn()
    table.gate.set()
    await writing
    await turn()
    assert await slow.get(1) == "new"


@pytest.mark.asyncio
async def test_an_update_that_writes_its_own_id_is_refused_instead_of_waiting_for_itself(rows, table):
    async def change(row):
        await rows.put_many({0: "another", 1: "mine"})
        return row

    await rows.put(1, "a")
    with pytest.raises(RecursiveUpdate, match="return the value"):
        await rows.update(1, change)
    await rows.put_many({0: "free", 1: "again"})
    assert table.rows == {0: "free", 1: "again"}
