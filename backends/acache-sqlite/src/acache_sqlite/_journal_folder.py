"""The folder of journal files: one for each living process, the others waiting to be adopted.

Runs on the journal's thread; knows nothing of loops. A file whose lock nobody holds is an orphan:
its process has ended, and its records go to the next journal that opens. A file that is damaged or
not understood stays where it is, and opening fails."""

import os
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from acache.errors import JournalFailed
from acache_sqlite import _journal_file, _wal
from acache_sqlite._journal_file import Damaged
from acache_sqlite._lock import LockFile

_SUFFIX = ".db"
_NEW = ".new"
_SLACK = 65_536  # bytes: rows that end within a page, and indexes
_PATIENCE = 30.0  # seconds: another process adopts a large file meanwhile


class JournalFolder:
    """The folder as one process sees it, and the one file that it owns."""

    def __init__(self, path: Path, *, name: Callable[[], str]) -> None:
        self.path = path
        self._name = name
        self._lock: LockFile | None = None  # of the file that is ours
        self._file: Path | None = None
        self._inode = 0
        self._alone = False  # whether everything that could be adopted was

    @property
    def place(self) -> Path:
        """What an error is about: the file, or the folder while there is none."""
        return self._file or self.path

    def open(self) -> sqlite3.Connection:
        """Return a connection to this process's file, made if need be, with every orphan adopted."""
        with naming(self.path):
            if self._alone and self._file is not None:  # closed for a fork: ours all the same
                return self._connected(self._file)
            _make_folder(self.path)
            door = LockFile(self.path / "folder.lock")
            if not door.wait(_PATIENCE):
                msg = "another process has been opening its journal there for long"
                raise JournalFailed(msg)
            try:
                return self._entered()
            finally:
                door.release()

    def verify(self) -> None:
        """Raise `JournalFailed` if the file is no longer there: what is written to it would be lost."""
        try:
            found = self._file.stat().st_ino if self._file else None
        except FileNotFoundError:
            found = None
        if found != self._inode or self._file is None or not _beside(self._file, "-wal").exists():
            msg = f"{self._file}: somebody deleted it or its -wal: restart, and keep others out of the folder"
            raise JournalFailed(msg)

    def visited(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection to every file in turn, whoever owns it; the folder is locked meanwhile."""
        with naming(self.path):
            door = LockFile(self.path / "folder.lock")
            if not door.path.exists():  # a visitor leaves no trace in a folder that is none of ours
                msg = f"{self.path}: there is no journal here"
                raise JournalFailed(msg)
            if not door.wait(_PATIENCE):
                msg = f"{self.path}: a process has been opening its journal there for long"
                raise JournalFailed(msg)
            try:
                for file in sorted(self.path.glob("*" + _SUFFIX)):
                    yield from _visited(file)
            finally:
                door.release()

    def check_room(self, size: int, added: int, cursor: sqlite3.Cursor, *, spare: int) -> None:
        """Raise `JournalFailed` unless the disk has *spare* bytes beside *size*.

        *added* are those of the transaction so far, which the disk does not know of yet.
        Where it has not, files that hold room left by what was flushed still take writes, which then go
        there, down to half of *spare*: a log that is being rewound takes room for a while."""
        disk = os.statvfs(self.path)
        free = disk.f_bavail * disk.f_frsize - added
        if free - size >= spare:
            return
        if free < spare // 2 or _journal_file.reusable(cursor) < 2 * size + _SLACK:
            msg = f"{self.path}: the disk is full up to {free:,} bytes, and spare={spare:,} are left alone"
            raise JournalFailed(msg)

    def leave(self) -> None:
        """Stop owning the file; the next journal that opens adopts it."""
        lock, self._lock, self._file, self._alone = self._lock, None, None, False
        if lock is not None:
            lock.release()

    def _entered(self) -> sqlite3.Connection:
        """Make a file of our own and take over what others left; the folder is locked meanwhile."""
        if self._file is None:
            _sweep(self.path)
            self._claim(self.path / (self._name() + _SUFFIX))
        assert self._file is not None  # noqa: S101 - claimed
        connection = self._connected(self._file)
        try:
            self._adopt_all(connection, self._file)
        except BaseException:
            connection.close()  # the file stays ours: the next attempt goes on with it
            raise
        self._alone = True
        return connection

    def _claim(self, file: Path) -> None:
        lock = _lock_of(file)
        if not lock.acquire():
            msg = f"{file}: another process chose this name"
            raise JournalFailed(msg)
        try:
            _create(file)
        except BaseException:
            lock.delete()
            raise
        self._lock, self._file = lock, file

    def _connected(self, file: Path) -> sqlite3.Connection:
        connection = _connect(file)
        try:
            with naming(file):
                _journal_file.check(connection)
                _journal_file.configure(connection)
        except BaseException:
            connection.close()
            raise
        self._inode = file.stat().st_ino
        return connection

    def _adopt_all(self, connection: sqlite3.Connection, own: Path) -> None:
        for file in sorted(self.path.glob("*" + _SUFFIX)):
            if file == own:
                continue
            with naming(file):
                lock = _lock_of(file)
                if not lock.acquire():
                    _journal_file.raise_mark(connection.cursor(), _mark_of(file))
                    continue
                try:
                    _adopt(connection, file)
                except BaseException:
                    lock.release()
                    raise
                lock.delete()


def _visited(file: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to *file*."""
    with naming(file):
        lock = _lock_of(file)
        orphan = lock.acquire()
        try:
            if orphan:
                _check_log(file)  # before SQLite sees it: closing the last connection empties the log
            with closing(_connect(file)) as connection:
                _journal_file.check(connection)
                yield connection
        finally:
            lock.release()


def _check_log(file: Path) -> None:
    log = _beside(file, "-wal")
    if log.exists() and _wal.is_damaged(log.read_bytes()):
        msg = "its write-ahead log is damaged: SQLite would drop acknowledged writes without a word"
        raise Damaged(msg)


def _adopt(connection: sqlite3.Connection, file: Path) -> None:
    """Copy an orphan's records, durably, and only then delete it."""
    _check_log(file)
    connection.execute("ATTACH ? AS orphan", (file.absolute().as_uri() + "?mode=rw",))
    try:
        _journal_file.check(connection, schema="orphan")
        _journal_file.adopt(connection, schema="orphan")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute("DETACH orphan")
    # The database first: a log without one is ignored, one without its log would be an older state.
    for path in (file, _beside(file, "-wal"), _beside(file, "-shm")):
        path.unlink(missing_ok=True)


def _mark_of(file: Path) -> int:
    """Return the high-water mark of a living process's file."""
    connection = _connect(file)
    try:
        return _journal_file.highest(connection)
    finally:
        connection.close()


def _sweep(folder: Path) -> None:
    """Delete what crashes left of files in the making; files are made only while the folder is locked."""
    for new in folder.glob(f"*{_NEW}*"):
        new.unlink()
    for lock in folder.glob("*-*.lock"):
        if not lock.with_suffix(_SUFFIX).exists():
            lock.unlink()


def _create(file: Path) -> None:
    """Make a complete file under its name, or none: an empty one is a damaged one."""
    new = file.with_suffix(_NEW)
    new.touch(mode=0o600)
    connection = _connect(new)
    try:
        _journal_file.create(connection)
    finally:
        connection.close()
    new.rename(file)
    _sync(file.parent)


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        file.absolute().as_uri() + "?mode=rw",
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)


def _lock_of(file: Path) -> LockFile:
    return LockFile(file.with_suffix(".lock"))


def _make_folder(path: Path) -> None:
    """Make *path* and the folders above it, durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Turn an error into `JournalFailed` that says which file it is about."""
    try:
        yield
    except Damaged as error:
        msg = f"{path}: {error}; nothing was deleted: to go on without it, move it away with its -wal file"
        raise JournalFailed(msg) from error
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        # SQLite quotes damaged text in its errors, which sqlite3 then cannot decode.
        said = "it is damaged" if isinstance(error, UnicodeDecodeError) else str(error)
        msg = f"{path}: {said}"
        raise JournalFailed(msg) from error
