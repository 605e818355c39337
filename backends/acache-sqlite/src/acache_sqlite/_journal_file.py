"""One journal file: its tables, its rows, its checks. Synchronous; knows nothing of locks or loops.

The high-water mark is a row of its own, so numbers never repeat although the file was emptied.
Every record carries a checksum: SQLite finds torn pages, not a flipped bit inside a value."""

# ruff: noqa: S608 - the names are constants of this file

import sqlite3
import zlib
from collections.abc import Callable, Sequence
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
FIELDS = "key, sequence, id, payload, tags, at, attempts, checksum"
_PAGE = 500
_pack = msgspec.msgpack.Encoder().encode
_NO_TAGS = _pack(())


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


def page(key: str, sequence: int, *, up_to: int) -> Callable[[sqlite3.Connection], list[Write]]:
    """Return what reads the pending writes that follow one, by key and number, up to a number."""

    def read(connection: sqlite3.Connection) -> list[Write]:
        rows = connection.execute(
            f"SELECT {FIELDS} FROM pending WHERE (key, sequence) > (?, ?) AND sequence <= ? "
            "ORDER BY key, sequence LIMIT ?",
            (key, sequence, up_to, _PAGE),
        )
        return [_read(row) for row in rows]

    return read


def dead_letters(connection: sqlite3.Connection) -> list[DeadLetter]:
    """Return the dead letters, oldest first."""
    rows = connection.execute(f"SELECT {FIELDS}, error, buried FROM dead ORDER BY buried, sequence, key")
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
    tags = _pack(write.tags) if write.tags else _NO_TAGS
    fields = write.key, write.sequence, write.id, write.payload, tags, write.at
    try:
        return *fields, 0, _checksum(fields)
    except UnicodeEncodeError:
        msg = "a key holds half a surrogate pair, which no file can store"
        raise JournalFailed(msg) from None


def _read(row: Sequence[Any]) -> Write:
    key, sequence, identity, payload, tags, at, _, checksum = row
    if _checksum((key, sequence, identity, payload, tags, at)) != checksum:
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


def _checksum(fields: tuple[object, ...]) -> int:
    return zlib.crc32(_pack(fields))
