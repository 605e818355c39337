"""The journal in files: the contract, and appends that share a transaction."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import aclosing
from dataclasses import replace

import pytest
from journal_files import pending

from acache.errors import JournalFailed
from acache.testing.contracts.journal import JournalContract, write
from acache_sqlite import SQLiteJournal, _journal_jobs


class TestSQLiteJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.path = tmp_path / "some" / "folder"

    def open(self):
        return SQLiteJournal(self.path)


# --- group commit -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_hundred_concurrent_appends_take_two_transactions(tmp_path, monkeypatch):
    groups = []
    original = _journal_jobs.write
    monkeypatch.setattr(
        _journal_jobs,
        "write",
        lambda connection, jobs: groups.append(len(jobs)) or original(connection, jobs),
    )
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal.last()
        await asyncio.gather(*(journal.append([write(f"k{n}", n)]) for n in range(1, 101)))
    assert len(groups) <= 2
    assert sum(groups) == 100


@pytest.mark.asyncio
async def test_writes_that_share_a_transaction_share_its_statements(tmp_path):
    seen = []
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal._connection.run(lambda connection: connection.set_trace_callback(seen.append))
        await asyncio.gather(*(journal.append([write(f"k{n}", n)]) for n in range(1, 251)))
        counted = Counter(statement.split()[0] for statement in seen)
        assert counted["INSERT"] <= counted["COMMIT"] + 3
        assert counted["UPDATE"] == counted["COMMIT"]  # of the high-water mark
        seen.clear()
        await journal.acknowledge({f"k{n}": n for n in range(1, 241)})
        assert Counter(statement.split()[0] for statement in seen)["DELETE"] == 3
        assert await pending(journal) == sorted((f"k{n}", n) for n in range(241, 251))


@pytest.mark.asyncio
async def test_a_write_for_which_there_is_no_room_harms_none_that_shares_its_transaction(tmp_path):
    def check(size, added, cursor):
        if size > 1000:
            raise JournalFailed("no room")

    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal.last()
        journal._check_room = check
        large = replace(write("large", 50), payload=b"x" * 2000)
        calls = [journal.append([each]) for each in (write("a", 1), large, write("b", 2))]
        assert [str(each) for each in await asyncio.gather(*calls, return_exceptions=True)] == [
            "None",
            "no room",
            "None",
        ]
        assert await pending(journal) == [("a", 1), ("b", 2)]


@pytest.mark.asyncio
async def test_a_write_that_no_file_can_hold_harms_none_that_shares_its_transaction(tmp_path):
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal._connection.run(lambda c: c.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000))
        huge = replace(write("huge", 50), payload=b"x" * 200_000)
        calls = [journal.append([write(f"k{n}", n)]) for n in range(1, 20)]
        outcomes = await asyncio.gather(journal.append([huge]), *calls, return_exceptions=True)
        assert isinstance(outcomes[0], JournalFailed)
        assert outcomes[1:] == [None] * 19
        assert len(await pending(journal)) == 19


@pytest.mark.asyncio
@pytest.mark.parametrize(("key", "sequence"), [("\ud800", 1), ("k", 2**63), ("k", -1)])
async def test_a_write_that_cannot_be_stored_is_refused_before_it_is_queued(tmp_path, key, sequence):
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        with pytest.raises(JournalFailed):
            await journal.append([replace(write("k", 1), key=key, sequence=sequence)])


def test_a_loop_that_ends_under_an_append_leaves_nobody_waiting(tmp_path):
    journal = SQLiteJournal(tmp_path)

    async def give_up():
        for n in range(1, 20):
            asyncio.ensure_future(journal.append([write(f"k{n}", n)]))
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(give_up(), 5))

    async def go_on():
        await journal.append([write("after", 99)])
        assert ("after", 99) in await pending(journal)
        await journal.aclose()

    asyncio.run(go_on())


def test_a_loop_that_was_closed_under_an_append_does_not_block_the_next(tmp_path):
    journal = SQLiteJournal(tmp_path)
    loop = asyncio.new_event_loop()
    left = loop.create_task(journal.append([write("left", 1)]))
    loop.run_until_complete(asyncio.sleep(0))
    left._log_destroy_pending = journal._commits._line.writer._log_destroy_pending = False  # it is the point
    loop.close()
    asyncio.run(asyncio.wait_for(journal.append([write("after", 2)]), 5))
    asyncio.run(journal.aclose())
    assert not left.done()


@pytest.mark.asyncio
async def test_whoever_waits_is_told_when_the_writing_task_is_cancelled(tmp_path):
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        first = asyncio.ensure_future(journal.append([write("a", 1)]))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(journal.append([write("b", 2)]))
        await asyncio.sleep(0)
        journal._commits._line.writer.cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 5)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        await journal.append([write("c", 3)])
