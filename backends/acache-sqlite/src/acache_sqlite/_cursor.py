"""Statements and how they are run: whole transactions, reads by key, probes for the row to blame.

Synchronous; runs on the connection's thread. Knows nothing of tables' schemas or values' types."""

import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TypeVar

from acache.errors import SourceRefused, SourceUnavailable
from acache_sqlite import _sql
from acache_sqlite._keys import BoundKey, KeyShape
from acache_sqlite._rows import Bindable

K = TypeVar("K")

Row = tuple[object, ...]

_select = lru_cache(128)(_sql.select)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Cursor]:
    """Run the block whole or not at all, the write lock taken first so that it cannot deadlock."""
    if connection.in_transaction:
        msg = (
            "the lent connection is inside a transaction, which may still be rolled back: "
            "commit first, or lend a connection of its own"
        )
        raise SourceUnavailable(msg)
    cursor = cursor_of(connection)
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors end the transaction by themselves
            cursor.execute("ROLLBACK")
        raise


def cursor_of(connection: sqlite3.Connection) -> sqlite3.Cursor:
    """Return a cursor that gives plain tuples, whatever a lender set on the connection."""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor


def read(
    cursor: sqlite3.Cursor,
    table: str,
    shape: KeyShape[K],
    columns: Sequence[str],
    keys: Mapping[K, BoundKey],
    confused: list[K] | None = None,
) -> dict[K, Row]:
    """Return *columns* of those of *keys* that exist; *confused* collects those whose row has another."""
    names = shape.columns
    width = len(names)
    found: dict[K, Row] = {}
    twice: list[K] = []
    limit = cursor.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // width
    wanted = list(keys)
    for start in range(0, len(wanted), limit):
        chunk = wanted[start : start + limit]
        # Few distinct texts, so that SQLite has them compiled: padded with NULL, which equals nothing.
        count = min(1 << (len(chunk) - 1).bit_length(), limit)
        bound = [part for key in chunk for part in keys[key]]
        bound += [None] * (width * count - len(bound))
        for row in cursor.execute(_select(table, names, tuple(columns), count), bound):
            key = chunk[int(row[0])]
            if not shape.answers(row[1 : width + 1], key):
                if confused is not None:
                    confused.append(key)
            elif key in found:
                twice.append(key)
            else:
                found[key] = row[width + 1 :]
    if twice:
        msg = f"table {table!r} has several rows under {len(twice)} of the keys"
        raise SourceRefused(msg, keys=twice)
    return found


def fails(cursor: sqlite3.Cursor, text: str, row: Sequence[Bindable]) -> bool:
    """Return whether this row alone is refused; leaves no trace of it."""
    cursor.execute("SAVEPOINT probe")
    try:
        cursor.execute(text, row)
    except (sqlite3.Error, ValueError, OverflowError):
        return True
    finally:
        with suppress(sqlite3.Error):  # some errors roll everything back by themselves
            cursor.execute("ROLLBACK TO probe")
            cursor.execute("RELEASE probe")
    return False


def compiles(cursor: sqlite3.Cursor, text: str, row: Sequence[Bindable]) -> bool:
    try:
        cursor.execute("EXPLAIN " + text, row).fetchall()
    except sqlite3.Error:
        return False
    return True
