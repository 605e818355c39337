"""A journal whose disk is full, read-only or gone acknowledges nothing."""

import asyncio
import os
import shutil
import subprocess
from contextlib import aclosing, contextmanager
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from journal_files import files, pending

from acache.errors import JournalFailed
from acache.testing.contracts.journal import write
from acache_sqlite import SQLiteJournal, SQLiteJournals


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


@pytest.mark.asyncio
async def test_writes_that_share_a_transaction_do_not_fill_the_spare_room_together(tmp_path, monkeypatch):
    spare, room, size = 10**9, 25_000, 10_000
    disk = os.statvfs(tmp_path)
    async with aclosing(SQLiteJournal(tmp_path, spare=spare)) as journal:
        await journal.append([write("old", 1)])
        free = SimpleNamespace(f_bavail=spare + room, f_frsize=1, f_bsize=disk.f_bsize)
        monkeypatch.setattr(os, "statvfs", lambda _: free)
        big = [replace(write(f"k{number}", number), payload=b"x" * size) for number in range(2, 8)]
        first, between, *others = (journal.append([each]) for each in big)
        outcomes = await asyncio.gather(
            first, journal.acknowledge({"old": 1}), between, *others, return_exceptions=True
        )
        taken = [outcome for outcome in outcomes if outcome is None]
        assert len(taken) == 3  # one is another's acknowledgement
        assert all(isinstance(outcome, JournalFailed) for outcome in outcomes if outcome is not None)
        assert await pending(journal) == [("k2", 2), ("k3", 3)]


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
