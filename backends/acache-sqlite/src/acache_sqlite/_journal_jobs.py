"""What is done to a journal file: jobs, and the transaction that many of them share.

Synchronous; runs on the journal's thread, and knows nothing of who waits for a job."""

# ruff: noqa: S608 - the names are constants of this package

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, groupby

from acache.errors import JournalFailed
from acache.protocols import DeadLetter, Write
from acache_sqlite._journal_file import FIELDS, Row, raise_mark

Other = Callable[[sqlite3.Cursor], None]
"""What adds nothing. May raise `JournalFailed` before it changed anything: only it failed then."""

Check = Callable[[int, int, sqlite3.Cursor], None]
"""Raises `JournalFailed` where there is no room for so many bytes after so many of the transaction."""

_CHUNK = 100  # rows of a statement; SQLite takes 32,766 parameters, and had taken 999 before 3.32


class Append:
    """Adds pending writes; one that is there already is replaced by itself. *check* may refuse first."""

    __slots__ = ("check", "rows")

    def __init__(self, rows: Sequence[Row], *, check: Check) -> None:
        """Add *rows*, at least one."""
        self.rows = rows
        self.check = check

    def do(self, cursor: sqlite3.Cursor, *, added: int) -> int:
        """Do it after *added* bytes of the same transaction; return how many there are now."""
        rows = self.rows
        size = sum(len(row[0]) + len(row[2]) + len(row[3] or b"") + len(row[4]) for row in rows)
        self.check(size, added, cursor)
        _in_chunks(cursor, "INSERT OR REPLACE INTO pending VALUES {}", rows)
        raise_mark(cursor, max(row[1] for row in rows))
        return added + size

    @classmethod
    def joined(cls, jobs: Sequence["Append"]) -> "Append":
        """Return what does all of *jobs* at once, or refuses all."""
        return cls([row for job in jobs for row in job.rows], check=jobs[0].check)


Job = Append | Other
"""A part of a transaction."""


def acknowledge(flushed: Mapping[str, int]) -> Other:
    """Forget, per key, what is pending up to a number, and note it for the dead letters of the key."""
    numbers = list(flushed.items())

    def job(cursor: sqlite3.Cursor) -> None:
        _in_chunks(cursor, _ACKNOWLEDGE, numbers)
        if cursor.execute("SELECT EXISTS (SELECT 1 FROM dead)").fetchone() != (0,):
            newest = [(number, key, number) for key, number in numbers]
            cursor.executemany(
                "UPDATE dead SET newest = max(newest, ?) WHERE key = ? AND sequence < ?", newest
            )

    return job


# CROSS JOIN: in this order, an index look-up for each key.
_ACKNOWLEDGE = (
    "DELETE FROM pending WHERE rowid IN (SELECT p.rowid FROM (VALUES {}) AS flushed "
    "CROSS JOIN pending AS p ON p.key = flushed.column1 AND p.sequence <= flushed.column2)"
)


def _in_chunks(cursor: sqlite3.Cursor, text: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Execute *text* over *rows*, a hundred at a time in the place of `{}`.

    A statement for each row would let go of the interpreter for each, and wait for its turn after: the
    loop is busy on the other thread."""
    place = f"({','.join('?' * len(rows[0]))})"
    for at in range(0, len(rows), _CHUNK):
        some = rows[at : at + _CHUNK]
        cursor.execute(text.format(",".join([place] * len(some))), list(chain.from_iterable(some)))


def bury(write: Write, error: str, *, now: float) -> Other:
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


def revive(letter: DeadLetter) -> Other:
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
            f"INSERT OR REPLACE INTO pending SELECT {FIELDS} FROM dead WHERE key = ? AND sequence = ?",
            place,
        )
        cursor.execute("DELETE FROM dead WHERE key = ? AND sequence = ?", place)

    return job


def discard(letter: DeadLetter) -> Other:
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
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        outcomes = _done(cursor, jobs)
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors end the transaction by themselves
            cursor.execute("ROLLBACK")
        raise
    return outcomes


def _done(cursor: sqlite3.Cursor, jobs: Sequence[Job]) -> list[Exception | None]:
    """Do *jobs* in their order: appends that follow one another at once, where there is room for all."""
    outcomes: list[Exception | None] = []
    added = 0
    for _, some in groupby(jobs, key=lambda job: isinstance(job, Append)):
        group = list(some)
        appends = [job for job in group if isinstance(job, Append)]
        if len(appends) > 1:
            with suppress(JournalFailed):  # there is room for none, or not for all
                added = Append.joined(appends).do(cursor, added=added)
                outcomes += [None] * len(appends)
                continue
        for job in group:
            try:
                if isinstance(job, Append):
                    added = job.do(cursor, added=added)
                else:
                    job(cursor)
            except JournalFailed as refusal:
                outcomes.append(refusal)
            else:
                outcomes.append(None)
    return outcomes


def _failed(error: Exception) -> JournalFailed:
    failure = JournalFailed(str(error))
    failure.__cause__ = error
    return failure
