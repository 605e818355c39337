"""Write-behind: acknowledged once journaled, flushed in batches, read at once."""

import asyncio

import pytest
from behind_table import Table, behind

from acache import Cache, MemoryJournal, MemoryStore
from acache.errors import (
    BacklogFull,
    CacheClosed,
    CodecError,
    ConfigurationError,
    JournalFailed,
    RecursiveUpdate,
)
from acache.events import BatchFlushed, FlushFailed, StoreFailed, WriteBuried
from acache.protocols import Saved


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def real() -> Cache:
    return Cache("memory://")


@pytest.mark.asyncio
async def test_a_write_is_read_at_once_and_reaches_the_source(real, table):
    async with behind(real, table, max_delay=60) as rows:
        await rows.put(1, "a")
        assert table.rows == {}
        assert await rows.get(1) == "a"
        assert await rows.get_many([1, 2]) == {1: "a"}
        assert rows.backlog.pending == 1
        await rows.flush()
        assert table.rows == {1: "a"}
        assert rows.backlog.pending == 0
        assert await rows.get(1) == "a"
    await real.aclose()


@pytest.mark.asyncio
async def test_a_removal_is_read_at_once_and_reaches_the_source(real, table):
    table.rows[1] = "old"
    async with behind(real, table) as rows:
        assert await rows.get(1) == "old"
        await rows.remove(1)
        assert await rows.get(1) is None
        await rows.flush()
        assert table.rows == {}
        assert await rows.get(1) is None
    await real.aclose()


@pytest.mark.asyncio
async def test_writes_of_one_key_are_coalesced_to_the_last(real, table):
    async with behind(real, table, max_delay=60) as rows:
        for value in range(5):
            await rows.put(1, value)
        await rows.put(2, 0)
        await rows.flush()
        assert table.batches == [[1, 2]]
        assert table.rows == {1: 4, 2: 0}
    await real.aclose()


@pytest.mark.asyncio
async def test_a_batch_holds_no_more_than_batch_size_keys(real, table):
    async with behind(real, table, max_delay=60, batch_size=2) as rows:
        await rows.put_many(dict.fromkeys(range(5), "v"))
        await rows.flush()
        assert sorted(map(len, table.batches)) == [1, 2, 2]
    await real.aclose()


@pytest.mark.asyncio
async def test_a_source_that_is_away_is_tried_again_until_it_has_everything(real, table):
    seen = []
    real.subscribe(seen.append)
    table.away = 2
    async with behind(real, table) as rows:
        await rows.put(1, "a")
        await rows.flush()
        assert table.rows == {1: "a"}
    assert sum(isinstance(event, FlushFailed) for event in seen) == 2
    assert any(isinstance(event, BatchFlushed) for event in seen)
    await real.aclose()


@pytest.mark.asyncio
async def test_a_poisoned_record_stands_alone_and_the_rest_goes_on(real, table):
    seen = []
    real.subscribe(seen.append)
    async with behind(real, table, max_delay=60) as rows:
        await rows.put_many({key: "bad" if key == 5 else "ok" for key in range(9)})
        await rows.flush()
        assert set(table.rows) == set(range(9)) - {5}
        [letter] = [letter async for letter in rows.dead_letters()]
        assert letter.key == "row:5"
        assert rows.backlog.dead == 1
        assert await rows.get(5) is None
        await rows.discard(letter)
        assert rows.backlog.dead == 0
    assert sum(isinstance(event, WriteBuried) for event in seen) == 1
    await real.aclose()


@pytest.mark.asyncio
async def test_what_a_dead_letter_had_replaced_does_not_come_back(real, table):
    journal = MemoryJournal()
    async with behind(real, table, journal=journal, max_delay=60) as rows:
        await rows.put(1, "replaced")
        await rows.put(1, "bad")
        await rows.flush()
    assert [write async for write in journal.recover()] == []
    assert table.rows == {}
    await real.aclose()


@pytest.mark.asyncio
async def test_a_dead_letter_can_be_tried_again(real, table):
    async with behind(real, table) as rows:
        await rows.put(1, "bad")
        await rows.flush()
        [letter] = [letter async for letter in rows.dead_letters()]

        async def lenient(items, *, versions=None):
            table.rows |= items
            return Saved()

        table.save = lenient
        await rows.requeue(letter)
        await rows.flush()
        assert table.rows == {1: "bad"}
    await real.aclose()


@pytest.mark.asyncio
async def test_what_an_earlier_run_left_is_recovered_and_read_first(real, table):
    journal = MemoryJournal()
    table.gate = asyncio.Event()
    first = behind(real, table, journal=journal)
    await first.put(1, "new")
    await first.aclose(timeout=0)
    assert table.rows == {}
    table.gate.set()
    async with behind(Cache(), table, journal=journal, max_delay=60) as rows:
        assert rows.backlog.pending == 1
        assert await rows.get(1) == "new"
        await rows.flush()
        assert table.rows == {1: "new"}
        assert [write async for write in journal.recover()] == []
    await real.aclose()


@pytest.mark.asyncio
async def test_a_write_that_the_journal_refuses_is_not_acknowledged_nor_read(real, table):
    class Broken(MemoryJournal):
        async def append(self, writes):
            raise JournalFailed("disk full")

    async with behind(real, table, journal=Broken()) as rows:
        with pytest.raises(JournalFailed):
            await rows.put(1, "a")
        assert await rows.get(1) is None
        assert rows.backlog.pending == 0
    await real.aclose()


@pytest.mark.asyncio
async def test_a_full_backlog_raises_or_waits_for_the_source(real, table):
    table.gate = asyncio.Event()
    async with behind(real, table, max_backlog=1, on_full="raise") as rows:
        await rows.put(1, "a")
        await rows.put(1, "b")
        with pytest.raises(BacklogFull):
            await rows.put(2, "a")
        table.gate.set()
    table.gate = asyncio.Event()
    async with behind(real, table, max_backlog=1) as rows:
        await rows.put(1, "a")
        waiting = asyncio.ensure_future(rows.put(2, "b"))
        await asyncio.sleep(0)
        assert not waiting.done()
        table.gate.set()
        await waiting
        await rows.flush()
        assert table.rows[2] == "b"
    await real.aclose()


@pytest.mark.asyncio
async def test_updates_of_one_id_take_turns(real, table):
    async with behind(real, table) as rows:
        await rows.put(1, 0)

        async def add(value):
            await asyncio.sleep(0)
            return value + 1

        await asyncio.gather(*(rows.update(1, add) for _ in range(20)))
        assert await rows.get(1) == 20
    assert table.rows == {1: 20}
    await real.aclose()


@pytest.mark.asyncio
async def test_cancelling_a_put_never_leaves_it_half_done(real, table, turn):
    async with behind(real, table, max_delay=60) as rows:
        for steps in range(12):
            task = asyncio.ensure_future(rows.put(steps, "v"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await turn()
            journaled = {write.key async for write in rows._journal.recover()}
            assert (f"row:{steps}" in journaled) is ((await rows.get(steps)) == "v")
        await rows.flush()
    await real.aclose()


@pytest.mark.asyncio
async def test_what_could_not_be_recovered_as_it_is_is_refused_at_once(real, table):
    async with behind(real, table) as rows:
        with pytest.raises(CodecError, match="id_type="):
            await rows.put((1, 2), "a")
        with pytest.raises(CodecError, match="type="):
            await rows.put(1, {1, 2})
        with pytest.raises(TypeError, match="remove"):
            await rows.put(1, None)
    await real.aclose()


@pytest.mark.asyncio
async def test_a_closed_pattern_says_so(real, table):
    rows = behind(real, table)
    async with rows:
        pass
    with pytest.raises(CacheClosed, match="async with"):
        await rows.put(1, "a")
    async with rows:
        await rows.put(1, "a")
    assert table.rows == {1: "a"}
    await real.aclose()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"on_full": "drop"}, "on_full"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_backlog": 0}, "max_backlog"),
        ({"max_rate": 0}, "max_rate"),
        ({"max_delay": -1}, "max_delay"),
    ],
)
def test_senseless_options_are_named(real, table, options, named):
    with pytest.raises((ConfigurationError, ValueError), match=named):
        behind(real, table, **options)


@pytest.mark.asyncio
async def test_an_update_that_writes_its_own_id_is_refused_instead_of_waiting_for_itself(real, table):
    async with behind(real, table) as rows:

        async def change(row):
            await rows.put(2, "another")
            await rows.update(1, lambda _: "mine")

        with pytest.raises(RecursiveUpdate, match="return the value"):
            await rows.update(1, change)
        await rows.put(1, "again")
    assert table.rows == {1: "again", 2: "another"}
    await real.aclose()


@pytest.mark.asyncio
async def test_an_id_that_cannot_be_hashed_is_refused_each_time(real, table):
    async with behind(real, table) as rows:
        for _ in range(2):
            with pytest.raises(TypeError, match="unhashable"):
                await rows.put([1], "a")
    await real.aclose()


@pytest.mark.asyncio
async def test_closing_flushes_also_what_is_on_its_way_into_the_journal(real, table):
    rows = behind(real, table, max_delay=60)
    await rows.put(1, "a")
    writes = [asyncio.ensure_future(rows.put(id, "b")) for id in range(2, 1_000)]
    await asyncio.sleep(0)
    await rows.aclose()
    await asyncio.gather(*writes)
    assert len(table.rows) == 999
    assert rows.backlog.pending == 0
    await real.aclose()


@pytest.mark.asyncio
async def test_a_write_that_the_local_store_refuses_is_acknowledged_all_the_same(table):
    def weigh(key, value):
        raise RuntimeError("a mistake of the user")

    cache = Cache(MemoryStore(max_weight=100, weigh=weigh))
    events = []
    cache.subscribe(events.append)
    async with behind(cache, table) as rows:
        await rows.put(1, "a")
        assert await rows.get(1) == "a"
        await rows.flush()
        assert table.rows == {1: "a"}
    assert "RuntimeError" in {event.error for event in events if isinstance(event, StoreFailed)}
    await cache.aclose()
