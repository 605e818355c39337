"""The journal in files: acknowledged writes that survive the process. Knows nothing of sources.

The asynchronous shell. Jobs of concurrent callers share one transaction and one fsync (`_commits`);
what a job does is in `_journal_jobs`, whose file it is in `_journal_folder`."""

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from acache.protocols import DeadLetter, Write
from acache_sqlite import _fork, _journal_file, _journal_jobs
from acache_sqlite._clock import WallClock
from acache_sqlite._commits import GroupCommit
from acache_sqlite._connection import Job as ReadJob
from acache_sqlite._connection import OwnConnection
from acache_sqlite._journal_folder import JournalFolder, naming
from acache_sqlite._journal_jobs import Job

T = TypeVar("T")
SPARE = 8 * 1024 * 1024


class SQLiteJournal:
    """A durable journal in a folder of its own, one file for each process that uses it.

    The folder is made if it is not there; it must be on a local disk. The file is opened by the
    first call, which also takes over the files of processes that have ended: `recover` yields
    their writes too. Every method raises `JournalFailed`, with the cause kept, and then nothing of
    it was acknowledged. Damaged files are never deleted. Loops may take turns; after a fork the
    child has a file of its own. What is left at the end stays in the file for the next start."""

    def __init__(
        self, directory: str | os.PathLike[str], *, spare: int = SPARE, clock: WallClock = time
    ) -> None:
        """Prepare; touches no file.

        *directory*: the folder, on a local disk. *spare*: bytes of the disk that `append` leaves free
        and refuses to write into, because to forget what was flushed takes room as well: a journal on
        a full disk could never shrink. *clock*: dates the dead letters."""
        self._spare = spare
        self._clock = clock
        self._folder = JournalFolder(Path(os.fsdecode(directory)), name=_new_name)
        self._connection = OwnConnection(self._folder.open)
        self._commits: GroupCommit[Job] = GroupCommit(self._write)
        _fork.watch(self)

    async def append(self, writes: Sequence[Write]) -> None:
        """Return once every write is on the disk. Concurrent appends share one fsync.

        Cancelled, the writes may be on the disk or not, all of them or none."""
        if writes:
            rows = [_journal_file.row_of(write) for write in writes]
            await self._commits.run(_journal_jobs.Append(rows, check=self._check_room))

    async def last(self) -> int:
        """Return the highest sequence number ever appended to this folder, 0 if it is new."""
        return await self._run(_journal_file.highest)

    async def recover(self) -> AsyncIterator[Write]:
        """Yield what is pending when it begins, per key in the order of sequence numbers."""
        end = await self._run(_journal_file.highest)
        key, sequence = "", -1
        while True:
            page = await self._run(_journal_file.page(key, sequence, up_to=end))
            for write in page:
                yield write
            if not page:
                return
            key, sequence = page[-1].key, page[-1].sequence

    async def acknowledge(self, flushed: Mapping[str, int]) -> None:
        """Forget, per key, everything up to this sequence number, and nothing of other keys."""
        if flushed:
            await self._commits.run(_journal_jobs.acknowledge(flushed))

    async def bury(self, write: Write, error: str) -> None:
        """Move a pending write to the dead letters; nothing happens if it is pending no longer."""
        await self._commits.run(_journal_jobs.bury(write, error, now=self._clock.time()))

    async def dead(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        for letter in await self._run(_journal_file.dead_letters):
            yield letter

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again, under its old number.

        Refused, with `JournalFailed`, if a newer write of its key was acknowledged since its burial
        or if it is no longer there."""
        await self._commits.run(_journal_jobs.revive(letter))

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter; nothing happens if it is gone."""
        await self._commits.run(_journal_jobs.discard(letter))

    async def aclose(self) -> None:
        """Close the file and leave it to the next journal that opens. Safe to call twice.

        Another call afterwards opens a file again."""
        await self._commits.drain()
        await self._connection.aclose()
        self._folder.leave()
        self._connection.open()

    def before_fork(self) -> None:
        """Nothing to do: the connection waits for what it writes, and closes."""

    def after_fork(self, *, child: bool) -> None:
        """In a child, forget the parent's file and whatever the parent's tasks wait for."""
        if child:
            self._folder.leave()
            self._commits = GroupCommit(self._write)

    def _check_room(self, size: int, added: int, cursor: sqlite3.Cursor) -> None:
        self._folder.check_room(size, added, cursor, spare=self._spare)

    async def _run(self, job: ReadJob[T]) -> T:
        with naming(self._folder.place):
            return await self._connection.run(job)

    async def _write(self, jobs: Sequence[Job]) -> Sequence[Exception | None]:
        def write(connection: sqlite3.Connection) -> Sequence[Exception | None]:
            outcomes = _journal_jobs.write(connection, jobs)
            self._folder.verify()
            return outcomes

        return await self._run(write)


def _new_name() -> str:
    """Return a name that no other journal ever had."""
    return f"{os.getpid()}-{os.urandom(8).hex()}"
