"""Every journal file of a folder, seen from outside: of processes that run, and of those that have ended.

For whoever looks after a journal (`acache journal`). Nothing is adopted or flushed. While it looks, the
folder is locked, so that nobody opens a journal there and takes a file over meanwhile."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from acache.errors import JournalFailed
from acache.protocols import DeadLetter, Write
from acache_sqlite import _journal_file, _journal_jobs
from acache_sqlite._journal_folder import JournalFolder

T = TypeVar("T")


class SQLiteJournals:
    """All that the processes of a folder have pending, and their dead letters.

    Every method raises `JournalFailed`, which says what is wrong with which file."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Prepare; touches no file."""
        self._folder = JournalFolder(Path(os.fsdecode(directory)), name=str)

    async def recover(self) -> AsyncIterator[Write]:
        """Yield what is pending in any file, per key in the order of sequence numbers."""
        found = await asyncio.to_thread(self._of_all, _pending)
        for write in sorted(found, key=lambda write: (write.key, write.sequence)):
            yield write

    async def dead(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters of all files, oldest first."""
        found = await asyncio.to_thread(self._of_all, _journal_file.dead_letters)
        for letter in sorted(found, key=lambda letter: letter.at):
            yield letter

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again in its file, under its old number.

        The process that owns the file, or the next one that takes it over, tries it again when it opens
        its journal. Refused if a newer write of its key was acknowledged there, or if it is gone."""
        if not await asyncio.to_thread(self._do, letter, _journal_jobs.revive(letter)):
            msg = "there is no such dead letter any more"
            raise JournalFailed(msg)

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter; nothing happens if it is gone."""
        await asyncio.to_thread(self._do, letter, _journal_jobs.discard(letter))

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def _of_all(self, read: Callable[[sqlite3.Connection], list[T]]) -> list[T]:
        return [each for connection in self._files() for each in read(connection)]

    def _do(self, letter: DeadLetter, job: _journal_jobs.Job) -> bool:
        """Do *job* in the file that holds *letter*; say whether there is one."""
        place = letter.key, letter.write.sequence
        for connection in self._files():
            query = "SELECT count(*) FROM dead WHERE key = ? AND sequence = ?"
            [[there]] = connection.execute(query, place)
            if there:
                [refusal] = _journal_jobs.write(connection, [job])
                if refusal is not None:
                    raise refusal
                return True
        return False

    def _files(self) -> Iterator[sqlite3.Connection]:
        return self._folder.visited()


def _pending(connection: sqlite3.Connection) -> list[Write]:
    """Return what is pending in one file."""
    end = _journal_file.highest(connection)
    key, sequence = "", -1
    found: list[Write] = []
    while page := _journal_file.page(key, sequence, up_to=end)(connection):
        found += page
        key, sequence = page[-1].key, page[-1].sequence
    return found
