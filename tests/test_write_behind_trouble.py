"""Write-behind where it is full, closed under its writers, started again, or told nonsense."""

import asyncio

import pytest
from behind_table import SlowJournal, Table, behind

from acache import Cache, MemoryJournal, WriteBehind
from acache.errors import (
    BacklogFull,
    CacheClosed,
    CodecError,
    ConfigurationError,
    InvalidationFailed,
    JournalFailed,
)
from acache.events import BatchFlushed, FlushFailed, WriteRefused
from acache.protocols import Saved
from acache.testing import ManualClock


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def real() -> Cache:
    return Cache("memory://")


async def letters(rows) -> list:
    return [letter async for letter in rows.dead_letters()]


# --- room ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_writers_that_wait_for_room_go_on_as_soon_as_there_is_some(real, table):
    async with behind(real, table, journal=SlowJournal(), max_backlog=1) as rows:
        async with asyncio.timeout(30):
            await asyncio.gather(*(rows.put(id, "v") for id in range(10)))
            await rows.flush()
    assert len(table.rows) == 10
    await real.aclose()


@pytest.mark.asyncio
async def test_concurrent_writers_never_exceed_the_backlog(real, table, turn):
    table.gate = asyncio.Event()
    async with behind(real, table, journal=SlowJournal(), max_backlog=3, batch_size=2) as rows:
        writers = [asyncio.ensure_future(rows.put(id, "v")) for id in range(12)]
        for _ in range(5):
            await turn()
            assert rows.backlog.pending <= 3
        assert sum(writer.done() for writer in writers) == 3
        table.gate.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*writers)
    assert len(table.rows) == 12
    await real.aclose()


@pytest.mark.asyncio
async def test_concurrent_writers_beyond_the_backlog_are_refused_if_so_asked(real, table):
    table.gate = asyncio.Event()
    async with behind(real, table, journal=SlowJournal(), max_backlog=3, on_full="raise") as rows:
        done = await asyncio.gather(*(rows.put(id, "v") for id in range(5)), return_exceptions=True)
        assert [type(each) for each in done] == [type(None)] * 3 + [BacklogFull] * 2
        table.gate.set()
    await real.aclose()


@pytest.mark.asyncio
async def test_a_writer_that_gives_up_waiting_takes_no_room(real, table, turn):
    table.gate = asyncio.Event()
    async with behind(real, table, journal=SlowJournal(), max_backlog=1) as rows:
        await rows.put(1, "v")
        waiting = [asyncio.ensure_future(rows.put(id, "v")) for id in (2, 3)]
        await turn()
        waiting[0].cancel()
        table.gate.set()
        async with asyncio.timeout(30):
            await waiting[1]
            await rows.flush()
            await rows.put(4, "v")
    assert set(table.rows) == {1, 3, 4}
    await real.aclose()


@pytest.mark.asyncio
async def test_a_write_that_the_journal_refused_takes_no_room(real, table):
    class Broken(MemoryJournal):
        async def append(self, writes):
            raise JournalFailed("disk full")

    async with behind(real, table, journal=Broken(), max_backlog=1, on_full="raise") as rows:
        for _ in range(3):
            with pytest.raises(JournalFailed):
                await rows.put(1, "a")
    await real.aclose()


@pytest.mark.asyncio
async def test_writers_that_wait_for_room_are_told_when_it_closes(real, table, turn):
    table.gate = asyncio.Event()
    rows = behind(real, table, max_backlog=1)
    async with rows:
        await rows.put(1, "v")
        waiting = asyncio.ensure_future(rows.put(2, "v"))
        await turn()
        await rows.aclose(timeout=0)
        async with asyncio.timeout(30):
            with pytest.raises(CacheClosed):
                await waiting
    await real.aclose()


# --- starting and stopping ----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_write_that_came_while_the_journal_was_read_is_refused_if_it_closed_meanwhile(
    real, table, turn
):
    class Slow(MemoryJournal):
        gate = asyncio.Event()

        async def last(self):
            await self.gate.wait()
            return await super().last()

    journal = Slow()
    rows = behind(real, table, journal=journal)
    writing = asyncio.create_task(rows.put(1, "a"))
    await turn()
    closing = asyncio.create_task(rows.aclose(timeout=0))
    await turn()
    journal.gate.set()
    await closing
    for refused in (writing, rows.put(2, "b")):
        with pytest.raises(CacheClosed):
            await refused
    async with rows:
        await rows.put(3, "c")
    assert table.rows == {3: "c"}
    await real.aclose()


@pytest.mark.asyncio
async def test_a_journal_that_could_not_be_read_is_read_again_at_the_next_call(real, table):
    class Away(MemoryJournal):
        away = True

        async def last(self):
            if self.away:
                raise JournalFailed("away")
            return await super().last()

    journal = Away()
    rows = behind(real, table, journal=journal)
    for _ in range(2):
        with pytest.raises(JournalFailed):
            await rows.put(1, "a")
    journal.away = False
    async with rows:
        await rows.put(1, "a")
    assert table.rows == {1: "a"}
    await real.aclose()


@pytest.mark.asyncio
async def test_what_another_process_took_over_meanwhile_is_not_written_again(real, table):
    journal = MemoryJournal()
    table.gate = asyncio.Event()
    rows = behind(real, table, journal=journal)
    await rows.put(1, "old")
    await rows.aclose(timeout=0)
    assert rows.backlog.pending == 1  # what closing left is still told
    await journal.acknowledge({"row:1": await journal.last()})  # the other one flushed it,
    table.rows[1] = "newer"  # and has gone on
    table.gate.set()
    async with rows:
        await rows.flush()
    assert table.rows == {1: "newer"}
    await real.aclose()


def test_loops_may_take_turns(table):
    journal = MemoryJournal()
    cache = Cache("memory://")
    rows = behind(cache, table, journal=journal)

    async def put(id: int) -> None:
        await rows.put(id, "v")
        await rows.flush()

    for id in (1, 2, 3):
        asyncio.run(put(id))
    assert set(table.rows) == {1, 2, 3}
    asyncio.run(rows.aclose())


@pytest.mark.asyncio
async def test_closing_says_in_the_log_what_is_left(real, table, caplog):
    table.gate = asyncio.Event()
    async with behind(real, table) as rows:
        await rows.put(1, "v")
        await rows.aclose(timeout=0)
    assert "1 writes" in caplog.text
    await real.aclose()


@pytest.mark.asyncio
async def test_a_journal_of_another_pattern_is_refused_before_anything_is_flushed(real, table):
    journal = MemoryJournal()
    table.gate = asyncio.Event()
    rows = behind(real, table, journal=journal)
    await rows.put(1, "v")
    await rows.aclose(timeout=0)
    table.gate.set()
    other = Table()
    orders = WriteBehind(real, other, key="order:{}", ttl=60, journal=journal)
    with pytest.raises(ConfigurationError, match="journal of its own"):
        await orders.put(1, "order")
    assert other.rows == {}
    await real.aclose()


@pytest.mark.asyncio
async def test_a_journal_that_this_type_cannot_read_is_an_error_that_names_the_remedy(real, table):
    journal = MemoryJournal()
    table.gate = asyncio.Event()
    rows = behind(real, table, journal=journal, type=str)
    await rows.put(1, "text")
    await rows.aclose(timeout=0)
    with pytest.raises(CodecError, match="'row:1'.*type="):
        await behind(real, table, journal=journal, type=int).get(1)
    assert len([write async for write in journal.recover()]) == 1
    await real.aclose()


# --- figures ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_oldest_age_counts_from_the_write_also_after_a_restart(table):
    clock = ManualClock()
    table.gate = asyncio.Event()
    journal = MemoryJournal()
    async with Cache("memory://", clock=clock) as cache:
        rows = behind(cache, table, journal=journal)
        await rows.put(2, "v")
        clock.advance(5)
        await rows.put(1, "v")
        assert rows.backlog.oldest_age == pytest.approx(5)
        await rows.aclose(timeout=0)
        clock.advance(5)
        async with behind(cache, table, journal=journal) as again:
            assert again.backlog.oldest_age == pytest.approx(10)
            table.gate.set()


@pytest.mark.asyncio
async def test_the_oldest_age_is_that_of_another_key_once_a_key_was_flushed_under_a_newer_write(table, turn):
    clock = ManualClock()
    table.gate = asyncio.Event()
    seen = []
    async with Cache("memory://", clock=clock) as cache:
        cache.subscribe(seen.append)
        async with behind(cache, table) as rows:
            await rows.put(1, "a")
            await turn()  # its flush is under way
            clock.advance(1)
            await rows.put(2, "a")
            clock.advance(1)
            await rows.put(1, "b")
            table.gate.set()
            while not (flushed := [event for event in seen if isinstance(event, BatchFlushed)]):
                await asyncio.sleep(0)
            assert (flushed[0].pending, flushed[0].oldest_age) == (2, pytest.approx(1))


@pytest.mark.asyncio
async def test_a_failed_flush_says_how_often_it_was_tried_and_what_waits(real, table):
    seen = []
    real.subscribe(seen.append)
    table.away = 2
    async with behind(real, table) as rows:
        await rows.put_many({1: "a", 2: "a"})
        await rows.flush()
    failed = [event for event in seen if isinstance(event, FlushFailed)]
    assert [(event.attempt, event.records, event.pending) for event in failed] == [(1, 2, 2), (2, 2, 2)]
    assert all(event.pause > 0 for event in failed)
    await real.aclose()


@pytest.mark.asyncio
async def test_a_letter_that_is_discarded_twice_is_counted_once(real, table):
    async with behind(real, table) as rows:
        await rows.put_many({1: "bad", 2: "bad"})
        await rows.flush()
        assert rows.backlog.dead == 2
        letter, _ = await letters(rows)
        await rows.discard(letter)
        await rows.discard(letter)
        assert rows.backlog.dead == 1
    await real.aclose()


@pytest.mark.asyncio
async def test_whoever_gives_up_waiting_for_a_flush_leaves_nothing_behind(real, table):
    table.gate = asyncio.Event()
    async with behind(real, table) as rows:
        await rows.put(1, "v")
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(rows.flush(), 0.001)
        assert rows._backlog._waiters == []
        table.gate.set()
    await real.aclose()


@pytest.mark.asyncio
async def test_batches_fill_again_after_a_flush_that_was_asked_for(real, table):
    async with behind(real, table, max_delay=60, batch_size=4) as rows:
        table.gate = asyncio.Event()
        await rows.put(0, "v")
        flushing = asyncio.ensure_future(rows.flush())
        await asyncio.sleep(0)
        await rows.put(1, "v")
        table.gate.set()
        await flushing
        await rows.put_many(dict.fromkeys((2, 3, 4), "v"))
        while rows.backlog.pending:
            await asyncio.sleep(0)
        assert table.batches == [[0], [1, 2, 3, 4]]
    await real.aclose()


# --- dead letters -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_crash_while_a_write_is_buried_does_not_bring_back_what_it_replaced(real, table):
    class Crashing(MemoryJournal):
        steps = 0

        async def bury(self, write, error):
            self.steps += 1
            if self.steps == 1:
                raise JournalFailed("the power went")
            await super().bury(write, error)

    journal = Crashing()
    rows = behind(real, table, journal=journal, max_delay=60)
    await rows.put(1, "replaced")
    await rows.put(1, "bad")
    flushing = asyncio.ensure_future(rows.flush())
    while not journal.steps:
        await asyncio.sleep(0)
    flushing.cancel()
    await rows.aclose(timeout=0)
    assert [write.payload for write in [write async for write in journal.recover()]] == [b"\xa3bad"]
    await real.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("buried", [False, True])
async def test_a_crash_while_a_write_is_buried_leaves_nothing_of_it_in_the_cache(real, table, buried):
    class Crashing(MemoryJournal):
        steps = 0

        async def bury(self, write, error):
            if buried:
                await super().bury(write, error)
            self.steps += 1
            raise JournalFailed("the power went")

    journal = Crashing()
    rows = behind(real, table, journal=journal)
    await rows.put(1, "bad")
    while not journal.steps:
        await asyncio.sleep(0)
    await rows.aclose(timeout=0)
    assert [letter.key async for letter in journal.dead()] == (["row:1"] if buried else [])
    assert await real.get("row:1") is None
    await real.aclose()


@pytest.mark.asyncio
async def test_requeueing_is_refused_once_something_newer_was_flushed(real, table):
    async with behind(real, table) as rows:
        await rows.put(1, "bad")
        await rows.flush()
        [letter] = await letters(rows)
        await rows.put(1, "good")
        await rows.flush()
        with pytest.raises(JournalFailed, match="newer"):
            await rows.requeue(letter)
        assert rows.backlog.dead == 1
    assert table.rows == {1: "good"}
    await real.aclose()


@pytest.mark.asyncio
async def test_a_cancelled_requeue_is_whole(real, table, turn):
    class Slow(MemoryJournal):
        async def revive(self, letter):
            await super().revive(letter)
            await asyncio.sleep(0)

    table.rows[1] = "before"
    async with behind(real, table, journal=Slow(), max_delay=60) as rows:
        await rows.put(1, "bad")
        await rows.flush()
        [letter] = await letters(rows)
        requeue = asyncio.ensure_future(rows.requeue(letter))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        requeue.cancel()
        await turn()
        assert (rows.backlog.pending, rows.backlog.dead) == (1, 0)
        assert await rows.get(1) == "bad"
    await real.aclose()


# --- writing ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_update_refuses_what_put_refuses(real, table):
    async with behind(real, table) as rows:
        await rows.put(1, "v")
        with pytest.raises(TypeError, match="remove"):
            await rows.update(1, lambda _: None)
        assert await rows.get(1) == "v"
        with pytest.raises(TypeError, match="iterable"):
            await rows.get_many("12")
    await real.aclose()


@pytest.mark.asyncio
async def test_a_journaled_write_is_flushed_although_its_put_failed_afterwards(real, table, monkeypatch):
    async with behind(real, table) as rows:
        lower = rows._reader.engine.authority.release

        async def release(keys, tags, token, *, commits):
            await lower(keys, tags, token, commits=commits)
            if commits:
                raise InvalidationFailed("the remote store is away", written=True)

        monkeypatch.setattr(
            type(rows._reader.engine.authority), "release", lambda _, *a, **k: release(*a, **k)
        )
        with pytest.raises(InvalidationFailed):
            await rows.put(1, "v")
        async with asyncio.timeout(30):
            while not table.rows:
                await asyncio.sleep(0)
    assert table.rows == {1: "v"}
    await real.aclose()


@pytest.mark.asyncio
async def test_the_rate_towards_the_source_is_bounded(real, table):
    loop = asyncio.get_running_loop()
    async with behind(real, table, max_rate=100, batch_size=2) as rows:
        start = loop.time()
        await rows.put_many(dict.fromkeys(range(8), "v"))
        await rows.flush()
        assert loop.time() - start >= 0.059  # three pauses of two records each
    await real.aclose()


@pytest.mark.asyncio
async def test_a_refused_version_guard_is_an_event_and_spares_nothing(real, table):
    seen = []
    real.subscribe(seen.append)

    async def newer(items, *, versions=None):
        return Saved(refused=tuple(items))

    table.save = newer
    table.rows[1] = "newer"
    async with behind(real, table) as rows:
        await rows.put(1, "older")
        await rows.flush()
        assert await rows.get(1) == "newer"
        assert rows.backlog.pending == 0
    assert [event.key for event in seen if isinstance(event, WriteRefused)] == ["row:1"]
    await real.aclose()


# --- many writers at once -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_writes_that_come_together_share_an_append(real, table):
    appends = []

    class Counting(MemoryJournal):
        async def append(self, writes):
            appends.append(len(writes))
            await super().append(writes)

    async with behind(real, table, journal=Counting(), max_delay=60) as rows:
        await asyncio.gather(*(rows.put(id, "v") for id in range(1200)))
        assert sum(appends) == 1200
        assert len(appends) < 10
        assert max(appends) <= 500
    await real.aclose()


@pytest.mark.asyncio
async def test_a_write_that_the_journal_refuses_harms_none_that_came_with_it(real, table):
    class Picky(MemoryJournal):
        async def append(self, writes):
            if any(write.key == "row:3" for write in writes):
                raise JournalFailed("too large")
            await super().append(writes)

    journal = Picky()
    async with behind(real, table, journal=journal) as rows:
        done = await asyncio.gather(*(rows.put(id, "v") for id in range(6)), return_exceptions=True)
        assert [type(each) for each in done] == [type(None)] * 3 + [JournalFailed] + [type(None)] * 2
        assert await rows.get(3) is None
        await rows.flush()
    assert set(table.rows) == {0, 1, 2, 4, 5}
    await real.aclose()


@pytest.mark.asyncio
async def test_what_breaks_a_whole_fence_is_told_to_everybody_under_it(real, table):
    class Broken(MemoryJournal):
        broken = True

        async def append(self, writes):
            if self.broken:
                raise ZeroDivisionError
            await super().append(writes)

    journal = Broken()
    async with behind(real, table, journal=journal, max_backlog=4) as rows:
        done = await asyncio.gather(*(rows.put(id, "v") for id in range(3)), return_exceptions=True)
        assert [type(each) for each in done] == [ZeroDivisionError] * 3
        journal.broken = False
        await rows.put_many(dict.fromkeys(range(4), "v"))  # keys and room are free again
    assert len(table.rows) == 4
    await real.aclose()


@pytest.mark.asyncio
async def test_a_cancelled_put_does_not_overtake_the_next_one_of_its_key(real, table, turn):
    journal = SlowJournal()
    async with behind(real, table, journal=journal, max_delay=60) as rows:
        for steps in range(12):
            first = asyncio.ensure_future(rows.put(1, f"first {steps}"))
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
            await rows.put(1, f"second {steps}")
            await turn()
            assert await rows.get(1) == f"second {steps}"
    await real.aclose()
