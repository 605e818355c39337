"""One journal file: its tables, its rows, its checks. Synchronous; knows nothing of locks or loops.

The high-water mark is a row of its own, so numbers never repeat although the file was emptied.
Every record carries a checksum: SQLite finds torn pages, not a flipped bit inside a value."""

# ruff: noqa: S608 - the names are constants of this file

import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from acache.errors import JournalFailed
from acache.protocols import DeadLetter, Write

FORMAT = 1
_APPLICATION = 0x61634A31  # "acJ1", in the file's header


class Damaged(Exception):
    """A file that cannot be read as a journal; whoever knows its name says so to the caller."""


Row = tuple[str, int, bytes, bytes | None, bytes, float, int, int]
"""key, sequence, id, payload, tags, at, attempts, checksum: how a write is stored."""

Job = Callable[[sqlite3.Cursor], None]
"""A part of a transaction. May raise `JournalFailed` before it changed anything: only it failed then."""

Check = Callable[[int, sqlite3.Cursor], None]
"""Raises `JournalFailed` where there is no room for so many bytes."""

_RECORD = (
    "key TEXT NOT NULL, sequence INTEGER NOT NULL, id BLOB NOT NULL, payload BLOB, "
    "tags BLOB NOT NULL, at REAL NOT NULL, attempts INTEGER NOT NULL, checksum INTEGER NOT NULL"
)
_SCHEMA = (
    # By arrival, with an index: clustered by key each write of a group would touch a page of its own.
    f"CREATE TABLE pending ({_RECORD})",
    "CREATE UNIQUE INDEX pending_key ON pending (key, sequence)",
    # `newest`: the highest number of the key that was acknowledged since the burial.
    f"CREATE TABLE dead ({_RECORD}, error TEXT NOT NULL, buried REAL NOT NULL, newest INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX dead_key ON dead (key, sequence)",
    "CREATE TABLE mark (highest INTEGER NOT NULL)",
    "INSERT INTO mark VALUES (0)",
)
_FIELDS = "key, sequence, id, payload, tags, at, attempts, checksum"
_PAGE = 500


def configure(connection: sqlite3.Connection) -> None:
    """Make a commit durable when it returns."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def create(connection: sqlite3.Connection) -> None:
    """Lay out an empty file."""
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    for statement in _SCHEMA:
        connection.execute(statement)


def check(connection: sqlite3.Connection, *, schema: str = "main") -> None:
    """Raise `Damaged` unless this is a whole journal file of a format known here."""
    (application,) = connection.execute(f"PRAGMA {schema}.application_id").fetchone()
    (version,) = connection.execute(f"PRAGMA {schema}.user_version").fetchone()
    if application != _APPLICATION:
        msg = "it is not a journal of acache, or its header is damaged"
        raise Damaged(msg)
    if version > FORMAT:
        msg = f"it has format {version}, this acache knows up to {FORMAT}: upgrade to read it"
        raise Damaged(msg)
    (verdict,) = connection.execute(f"PRAGMA {schema}.quick_check(1)").fetchone()
    if verdict != "ok":
        msg = "it is damaged"
        raise Damaged(msg)


def adopt(connection: sqlite3.Connection, *, schema: str) -> None:
    """Copy everything of an attached file into the main one; what was copied before stays single."""
    connection.execute("BEGIN IMMEDIATE")
    for table in ("pending", "dead"):
        connection.execute(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM {schema}.{table}")
    raise_mark(connection.cursor(), highest(connection, schema=schema))
    connection.execute("COMMIT")


def highest(connection: sqlite3.Connection, *, schema: str = "main") -> int:
    """Return the highest sequence number ever appended."""
    (number,) = connection.execute(f"SELECT highest FROM {schema}.mark").fetchone()
    return int(number)


def reusable(cursor: sqlite3.Cursor) -> int:
    """Return how many bytes of the file hold nothing any more: the next records go there."""
    [[pages]] = cursor.execute("PRAGMA freelist_count").fetchall()
    [[size]] = cursor.execute("PRAGMA page_size").fetchall()
    return int(pages) * int(size)


def raise_mark(cursor: sqlite3.Cursor, number: int) -> None:
    """Raise the high-water mark to *number*; it never falls."""
    cursor.execute("UPDATE mark SET highest = max(highest, ?)", (number,))


# --- jobs -------------------------------------------------------------------------------------------


def append(rows: Sequence[Row], *, check: Check = lambda _size, _cursor: None) -> Job:
    """Add pending writes; one that is there already is replaced by itself. *check* may refuse first."""
    size = sum(len(row[0]) + len(row[2]) + len(row[3] or b"") + len(row[4]) for row in rows)

    def job(cursor: sqlite3.Cursor) -> None:
        check(size, cursor)
        cursor.executemany("INSERT OR REPLACE INTO pending VALUES (?,?,?,?,?,?,?,?)", rows)
        raise_mark(cursor, max(row[1] for row in rows))

    return job


def acknowledge(flushed: Mapping[str, int]) -> Job:
    """Forget, per key, what is pending up to a number, and note it for the dead letters of the key."""
    numbers = list(flushed.items())
    newest = [(number, key, number) for key, number in numbers]

    def job(cursor: sqlite3.Cursor) -> None:
        cursor.executemany("DELETE FROM pending WHERE key = ? AND sequence <= ?", numbers)
        cursor.executemany("UPDATE dead SET newest = max(newest, ?) WHERE key = ? AND sequence < ?", newest)

    return job


def bury(write: Write, error: str, *, now: float) -> Job:
    """Move a pending write to the dead letters; one that is not pending has been flushed past."""
    key, sequence = write.key, write.sequence

    def job(cursor: sqlite3.Cursor) -> None:
        cursor.execute(
            "INSERT OR REPLACE INTO dead "
            "SELECT key, sequence, id, payload, tags, at, attempts + 1, checksum, ?, ?, 0 "
            "FROM pending WHERE key = ? AND sequence = ?",
            (error, now, key, sequence),
        )
        cursor.execute("DELETE FROM pending WHERE key = ? AND sequence = ?", (key, sequence))

    return job


def revive(letter: DeadLetter) -> Job:
    """Move a dead letter back, unless a newer write of its key was acknowledged."""
    place = letter.key, letter.write.sequence

    def job(cursor: sqlite3.Cursor) -> None:
        found = cursor.execute("SELECT newest FROM dead WHERE key = ? AND sequence = ?", place).fetchone()
        if found is None:
            msg = "there is no such dead letter any more"
            raise JournalFailed(msg)
        if found[0]:
            msg = "a newer write of this key has been flushed: the dead letter would take the source back"
            raise JournalFailed(msg)
        cursor.execute(
            f"INSERT OR REPLACE INTO pending SELECT {_FIELDS} FROM dead WHERE key = ? AND sequence = ?",
            place,
        )
        cursor.execute("DELETE FROM dead WHERE key = ? AND sequence = ?", place)

    return job


def discard(letter: DeadLetter) -> Job:
    """Delete a dead letter."""

    def job(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DELETE FROM dead WHERE key = ? AND sequence = ?", (letter.key, letter.write.sequence))

    return job


def write(connection: sqlite3.Connection, jobs: Sequence[Job]) -> list[Exception | None]:
    """Do *jobs* in one transaction, durably; return what each raised, None where it is done.

    If the transaction fails each is tried alone, so that one too large harms no other."""
    try:
        return _together(connection, jobs)
    except (sqlite3.Error, OverflowError):
        if len(jobs) == 1:
            raise
    outcomes: list[Exception | None] = []
    for job in jobs:
        try:
            outcomes += _together(connection, [job])
        except (sqlite3.Error, OverflowError) as error:
            outcomes.append(_failed(error))
    return outcomes


def _together(connection: sqlite3.Connection, jobs: Sequence[Job]) -> list[Exception | None]:
    outcomes: list[Exception | None] = []
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        for job in jobs:
            try:
                job(cursor)
            except JournalFailed as refusal:
                outcomes.append(refusal)
            else:
                outcomes.append(None)
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors end the transaction by themselves
            cursor.execute("ROLLBACK")
        raise
    return outcomes


def _failed(error: Exception) -> JournalFailed:
    failure = JournalFailed(str(error))
    failure.__cause__ = error
    return failure


# --- rows -------------------------------------------------------------------------------------------


def page(key: str, sequence: int, *, up_to: int) -> Callable[[sqlite3.Connection], list[Write]]:
    """Return what reads the pending writes that follow one, by key and number, up to a number."""

    def read(connection: sqlite3.Connection) -> list[Write]:
        rows = connection.execute(
            f"SELECT {_FIELDS} FROM pending WHERE (key, sequence) > (?, ?) AND sequence <= ? "
            "ORDER BY key, sequence LIMIT ?",
            (key, sequence, up_to, _PAGE),
        )
        return [_read(row) for row in rows]

    return read


def dead_letters(connection: sqlite3.Connection) -> list[DeadLetter]:
    """Return the dead letters, oldest first."""
    rows = connection.execute(f"SELECT {_FIELDS}, error, buried FROM dead ORDER BY buried, sequence, key")
    letters: list[DeadLetter] = []
    for *row, error, buried in rows:
        write = _read(tuple(row))
        letters.append(
            DeadLetter(
                id=f"{write.sequence}:{write.key}",
                key=write.key,
                write=write,
                error=error,
                attempts=row[6],
                at=buried,
            )
        )
    return letters


def row_of(write: Write) -> Row:
    """Return how *write* is stored. Raises `JournalFailed` for what cannot be, before it is queued."""
    if not 0 <= write.sequence < 2**63:
        msg = "a sequence number must fit in 63 bits"
        raise JournalFailed(msg)
    try:
        write.key.encode()
    except UnicodeEncodeError:
        msg = "a key holds half a surrogate pair, which no file can store"
        raise JournalFailed(msg) from None
    tags = msgspec.msgpack.encode(write.tags)
    checksum = _checksum(write.key, write.sequence, write.id, write.payload, tags, write.at)
    return write.key, write.sequence, write.id, write.payload, tags, write.at, 0, checksum


def _read(row: Sequence[Any]) -> Write:
    key, sequence, identity, payload, tags, at, _, checksum = row
    if _checksum(key, sequence, identity, payload, tags, at) != checksum:
        msg = "a record in it is damaged"
        raise Damaged(msg)
    return Write(
        key=key,
        id=identity,
        payload=payload,
        tags=msgspec.msgpack.decode(tags, type=tuple[str, ...]),
        sequence=sequence,
        at=at,
    )


def _checksum(*fields: object) -> int:
    return zlib.crc32(msgspec.msgpack.encode(fields))
