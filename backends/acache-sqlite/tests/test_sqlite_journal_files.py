"""A journal's files: one for each process, those of ended ones taken over, no acknowledged write lost."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import aclosing, contextmanager

import pytest
from journal_files import abandon, files, pending

from acache.errors import JournalFailed
from acache.testing.contracts.journal import write
from acache_sqlite import SQLiteJournal, _journal_folder


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
