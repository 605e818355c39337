"""The journal in files: the contract, and what only files can do: die, be damaged, run full."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import aclosing, contextmanager
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acache.errors import JournalFailed
from acache.testing.contracts.journal import JournalContract, write
from acache_sqlite import SQLiteJournal, SQLiteJournals, _journal_file, _journal_folder, _wal


@contextmanager
def forked(body):
    """Run *body* in a child; each call of `step` here waits for one there, and lets it go on."""
    (heard, say), (wait, let_go) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(heard)
            body(lambda: os.write(say, b"x") and os.read(wait, 1))
        finally:
            os._exit(0)
    os.close(say)
    reached = []

    def step():
        if reached:
            os.write(let_go, b"x")
        reached.append(os.read(heard, 1))
        assert reached[-1], "the child has ended"

    try:
        yield step
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for end in (heard, wait, let_go):
            os.close(end)


class TestSQLiteJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.path = tmp_path / "some" / "folder"

    def open(self):
        return SQLiteJournal(self.path)


async def pending(journal):
    return [(each.key, each.sequence) async for each in journal.recover()]


def files(path, ending="*.db"):
    return sorted(path.glob(ending))


def abandon(journal):
    """Let go of a journal as a killed process would: its log stays, its lock falls."""
    journal._connection._executor.shutdown(wait=True)
    journal._connection._executor = None
    kept = journal._connection._connection
    journal._connection._connection = None
    journal._folder.leave()
    return kept


# --- group commit -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_hundred_concurrent_appends_take_two_transactions(tmp_path, monkeypatch):
    groups = []
    original = _journal_file.write
    monkeypatch.setattr(
        _journal_file,
        "write",
        lambda connection, jobs: groups.append(len(jobs)) or original(connection, jobs),
    )
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal.last()
        await asyncio.gather(*(journal.append([write(f"k{n}", n)]) for n in range(1, 101)))
    assert len(groups) <= 2
    assert sum(groups) == 100


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


# --- files, locks, orphans --------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_each_journal_has_a_file_of_its_own_and_takes_no_living_ones(tmp_path):
    async with aclosing(SQLiteJournal(tmp_path)) as one, aclosing(SQLiteJournal(tmp_path)) as two:
        await one.append([write("a", 10)])
        await two.append([write("b", 5)])
        assert await pending(one) == [("a", 10)]
        assert await pending(two) == [("b", 5)]
        assert len(files(tmp_path)) == 2
        assert await two.last() == 10  # a number that another process gave is not given again


@pytest.mark.asyncio
async def test_the_files_of_ended_processes_are_taken_over(tmp_path):
    for number in range(1, 6):
        async with aclosing(SQLiteJournal(tmp_path)) as journal:
            await journal.append([write("a", number), write(f"k{number}", number)])
            if number == 3:
                await journal.bury(write("k3", 3), "refused")
            if number == 4:
                kept = abandon(journal)
    kept.close()
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        found = await pending(journal)
        assert [sequence for key, sequence in found if key == "a"] == [1, 2, 3, 4, 5]
        assert len(found) == 9
        assert [letter.key async for letter in journal.dead()] == ["k3"]
        assert await journal.last() == 5
        assert len(files(tmp_path)) == 1
        assert len(files(tmp_path, "*.lock")) == 2  # its own and the folder's


@pytest.mark.asyncio
async def test_an_orphan_that_was_copied_before_a_crash_is_not_copied_twice(tmp_path):
    async with aclosing(SQLiteJournal(tmp_path / "j")) as journal:
        await journal.append([write("a", 1), write("b", 2)])
        await journal.bury(write("b", 2), "refused")
    shutil.copytree(tmp_path / "j", tmp_path / "copy")
    async with aclosing(SQLiteJournal(tmp_path / "j")) as journal:
        await journal.last()
    shutil.copytree(tmp_path / "copy", tmp_path / "j", dirs_exist_ok=True)
    assert len(files(tmp_path / "j")) == 2
    async with aclosing(SQLiteJournal(tmp_path / "j")) as journal:
        assert await pending(journal) == [("a", 1)]
        assert [letter.key async for letter in journal.dead()] == ["b"]


@pytest.mark.asyncio
async def test_what_a_crash_left_of_a_file_in_the_making_is_swept_away(tmp_path):
    (tmp_path / "1-a.new").write_bytes(b"half")
    (tmp_path / "1-a.lock").touch()
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal.append([write("a", 1)])
        assert not files(tmp_path, "1-a*")


@pytest.mark.asyncio
async def test_a_journal_opens_again_after_it_was_closed(tmp_path):
    journal = SQLiteJournal(tmp_path)
    await journal.append([write("a", 1)])
    await journal.aclose()
    assert await pending(journal) == [("a", 1)]
    await journal.aclose()


@pytest.mark.asyncio
async def test_a_folder_that_another_process_keeps_locked_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(_journal_folder, "_PATIENCE", 0.02)
    lock = _journal_folder.LockFile(tmp_path / "folder.lock")
    assert lock.acquire()
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        with pytest.raises(JournalFailed, match="another process"):
            await journal.append([write("a", 1)])
        lock.release()
        await journal.append([write("a", 1)])


@pytest.mark.real
def test_a_child_has_a_file_of_its_own_and_does_not_keep_its_parents_locked(tmp_path):
    journal = SQLiteJournal(tmp_path)
    asyncio.run(journal.append([write("parent", 1)]))

    def live(step):
        asyncio.run(journal.append([write("child", 2)]))
        step()

    with forked(live) as step:
        step()
        assert len(files(tmp_path)) == 2
        assert asyncio.run(pending(journal)) == [("parent", 1)]
        asyncio.run(journal.append([write("parent", 3)]))
        asyncio.run(journal.aclose())
        # The child lives, with every descriptor that it inherited: the parent's file is free all the same.
        assert asyncio.run(pending(journal)) == [("parent", 1), ("parent", 3)]
    asyncio.run(journal.aclose())
    assert asyncio.run(pending(journal)) == [("child", 2), ("parent", 1), ("parent", 3)]
    asyncio.run(journal.aclose())


WORKER = """
import asyncio, sys
from acache.protocols import Write
from acache_sqlite import SQLiteJournal

async def writer(journal, name, start):
    for number in range(start, start + 1_000_000):
        sequence = number * 10 + name
        await journal.append([Write(key=f"k{name}", id=b"i", payload=b"x" * 300, sequence=sequence, at=0.0)])
        print("put", name, sequence, flush=True)
        if number % 7 == 0:
            await journal.acknowledge({f"k{name}": sequence - 20})
            print("ack", name, sequence - 20, flush=True)

async def main():
    journal = SQLiteJournal(sys.argv[1])
    start = await journal.last() // 10 + 1
    await asyncio.gather(*(writer(journal, name, start) for name in range(10)))

asyncio.run(main())
"""


@pytest.mark.real
def test_what_was_acknowledged_survives_a_kill_at_any_instant(tmp_path):
    put: dict[str, set[int]] = {}
    acknowledged: dict[str, int] = {}
    rng = random.Random(3)
    for _ in range(6):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, tmp_path], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        said = [worker.stdout.readline()]
        time.sleep(rng.uniform(0.0, 0.15))
        worker.send_signal(signal.SIGKILL)
        said += worker.stdout.readlines()
        worker.stdout.close()
        worker.wait()
        for verb, name, number in (line.split() for line in said if line.endswith("\n")):
            if verb == "put":
                put.setdefault(f"k{name}", set()).add(int(number))
            else:
                acknowledged[f"k{name}"] = max(acknowledged.get(f"k{name}", 0), int(number))
    assert sum(map(len, put.values())) > 50

    async def read():
        async with aclosing(SQLiteJournal(tmp_path)) as journal:
            return await pending(journal), await journal.last()

    found, last = asyncio.run(read())
    assert last >= max(max(numbers) for numbers in put.values())
    assert found == sorted(found)
    for key, numbers in put.items():
        held = {sequence for name, sequence in found if name == key}
        lost = {n for n in numbers if n > acknowledged.get(key, 0)} - held
        # The last acknowledgement may have been done and not said any more.
        assert all(n <= max(numbers) - 20 for n in lost), key
        assert not held & {n for n in numbers if n <= acknowledged.get(key, 0)}, key


# --- damage -----------------------------------------------------------------------------------------


async def orphan(path):
    """Leave a file with a thousand writes behind, closed, and return its path."""
    async with aclosing(SQLiteJournal(path)) as journal:
        await journal.append([write(f"k{number}", number) for number in range(1, 1001)])
    (file,) = files(path)
    return file


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:4096],
        lambda data: data[:100],
        lambda data: b"\0" * len(data),
        lambda data: b"garbage " * 1000,
        lambda data: data[:4096] + os.urandom(len(data) - 4096),
        lambda data: b"\0" * 100 + data[100:],
        # Its own errors quote this, and then cannot be decoded.
        lambda data: data.replace(b"CREATE TABLE pending", b"CREATE TABLE p\xa0nding", 1),
        lambda data: data.replace(b"CREATE TABLE pending", b"CREATE TABL\xa0 pending", 1),
    ],
    ids=["empty", "half", "page", "header", "zeros", "garbage", "pages", "no header", "name", "word"],
)
async def test_a_damaged_file_is_an_error_and_is_kept(tmp_path, damage):
    file = await orphan(tmp_path)
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        for _ in range(2):
            with pytest.raises(JournalFailed, match=file.name):
                await pending(journal)
            with pytest.raises(JournalFailed, match=file.name):
                await journal.append([write("new", 2000)])
        assert file.read_bytes() == damaged
        assert len(files(tmp_path)) == 2  # however often it was tried
        file.rename(tmp_path / "moved away")
        await journal.append([write("new", 2000)])


@pytest.mark.asyncio
async def test_a_flipped_bit_inside_a_record_is_found(tmp_path):
    file = await orphan(tmp_path)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE pending SET payload = x'00' WHERE sequence = 50")
    connection.commit()
    connection.close()
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        with pytest.raises(JournalFailed, match=r"\.db: a record in it is damaged"):
            await pending(journal)


@pytest.mark.asyncio
async def test_a_file_of_a_newer_format_is_left_to_the_version_that_wrote_it(tmp_path):
    file = await orphan(tmp_path)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        with pytest.raises(JournalFailed, match="upgrade"):
            await pending(journal)
    assert file.exists()


@pytest.mark.asyncio
async def test_a_log_that_would_be_cut_short_is_an_error_and_is_kept(tmp_path):
    journal = SQLiteJournal(tmp_path)
    for number in range(1, 21):
        await journal.append([write(f"k{number}", number)])
    (log,) = files(tmp_path, "*-wal")
    kept = abandon(journal)
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    async with aclosing(SQLiteJournal(tmp_path)) as other:
        with pytest.raises(JournalFailed, match="write-ahead log is damaged"):
            await pending(other)
        assert log.read_bytes() == data
    kept.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The log of twelve transactions, and its database as it was before them."""
    path = tmp_path_factory.mktemp("log") / "x.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    for number in range(12):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, b"x" * (1000 * number)))
    data = path.with_name("x.db-wal").read_bytes()
    connection.close()
    return before, data


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_is_damaged_if_and_only_if_a_durable_transaction_would_be_dropped(
    log, tmp_path, place, bit, cut
):
    before, data = log
    broken = bytearray(data)
    offset = int(place * len(data))
    if cut:
        del broken[offset:]
    else:
        broken[offset] ^= 1 << bit
    (tmp_path / "y.db").write_bytes(before)
    (tmp_path / "y.db-wal").write_bytes(broken)
    connection = sqlite3.connect(tmp_path / "y.db")
    (left,) = connection.execute("SELECT count(*) FROM t").fetchone()
    connection.close()
    verdict = _wal.is_damaged(bytes(broken))
    if cut or left >= 11:
        assert not verdict  # a log that was cut short, or whose last transaction is broken, proves nothing
    elif left < 10:
        assert verdict


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["*.db", "*.db-wal"])
async def test_a_file_that_was_deleted_takes_no_more_writes(tmp_path, ending):
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal.append([write("a", 1)])
        (file,) = files(tmp_path, ending)
        file.unlink()
        with pytest.raises(JournalFailed, match="deleted"):
            await journal.append([write("a", 2)])


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", "/proc/acache"):
        async with aclosing(SQLiteJournal(path)) as journal:
            with pytest.raises(JournalFailed, match=str(path)):
                await journal.append([write("a", 1)])


@pytest.mark.asyncio
async def test_a_full_file_acknowledges_nothing_and_goes_on_when_there_is_room(tmp_path):
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal.append([write("before", 1)])

        def limit(pages):
            return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()

        await journal._connection.run(limit(12))
        outcomes = []
        for number in count(2):
            big = replace(write(f"k{number}", number), payload=b"x" * 3000)
            try:
                await journal.append([big])
            except JournalFailed as error:
                assert "full" in str(error)
                break
            outcomes.append((f"k{number}", number))
        assert set(await pending(journal)) == {("before", 1), *outcomes}
        await journal._connection.run(limit(1000))
        await journal.append([write("later", 1000)])
        assert ("later", 1000) in await pending(journal)


@pytest.mark.asyncio
async def test_a_disk_that_is_nearly_full_takes_no_writes_and_still_forgets(tmp_path):
    async with aclosing(SQLiteJournal(tmp_path)) as journal:
        await journal.append([write("a", 1), write("b", 2)])
        journal._spare = 2**62
        with pytest.raises(JournalFailed, match="spare="):
            await journal.append([write("c", 3)])
        await journal.acknowledge({"a": 1})
        await journal.bury(write("b", 2), "refused")
        assert await pending(journal) == []
        [letter] = [letter async for letter in journal.dead()]
        await journal.discard(letter)


@contextmanager
def mounted(path, options):
    """Mount a small disk; skip where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.real
def test_a_disk_that_cannot_be_written_acknowledges_nothing(tmp_path):
    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", tmp_path], check=True)

    async def append():
        async with aclosing(SQLiteJournal(tmp_path, spare=0)) as journal:
            await journal.append([write("a", 1)])

    async def found(journal):
        async with aclosing(journal):
            return await pending(journal)

    with mounted(tmp_path, "ro,size=4m"):
        with pytest.raises(JournalFailed, match=f"{tmp_path}.*Read-only"):
            asyncio.run(append())
        remount("rw")
        asyncio.run(append())
        remount("ro")
        for journal in (SQLiteJournal(tmp_path), SQLiteJournals(tmp_path)):
            with pytest.raises(JournalFailed, match="Read-only"):
                asyncio.run(found(journal))
        remount("rw")
        assert asyncio.run(found(SQLiteJournal(tmp_path))) == [("a", 1)]


@pytest.mark.real
def test_a_full_disk_acknowledges_nothing(tmp_path):
    with mounted(tmp_path, "size=256k"):
        asyncio.run(fill(tmp_path))


async def fill(path):
    acknowledged = []
    async with aclosing(SQLiteJournal(path / "j", spare=0)) as journal:
        for number in range(1, 500):
            big = replace(write(f"k{number:03}", number), payload=b"x" * 2000)
            try:
                await journal.append([big])
            except JournalFailed:
                break
            acknowledged.append((f"k{number:03}", number))
        assert 0 < len(acknowledged) < 400
    async with aclosing(SQLiteJournal(path / "j")) as journal:
        try:
            assert set(await pending(journal)) >= set(acknowledged)
        except JournalFailed:  # no room to adopt: said, and nothing deleted
            roomy = path.parent / "roomy"
            shutil.copytree(path / "j", roomy)
            async with aclosing(SQLiteJournal(roomy)) as journal:
                assert set(await pending(journal)) >= set(acknowledged)
