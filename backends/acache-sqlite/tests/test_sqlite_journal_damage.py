"""Damaged files of a journal are an error of ours, and are kept."""

import os
import sqlite3
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_files import abandon, files, pending

from acache.errors import JournalFailed
from acache.testing.contracts.journal import write
from acache_sqlite import SQLiteJournal, _wal

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
