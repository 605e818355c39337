"""A SQLite connection and the one thread that touches it. Knows nothing of tables or journals.

A batch is one function that runs on that thread from begin to commit: one hop however many
statements it takes, and no statement of another task can slip in between. aiosqlite has no public
way to run a function on a connection's thread, and its thread dies when a loop is closed under a
running statement, so connections of our own run on an executor of one thread. A connection that
was lent stays on the thread that aiosqlite gave it."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

import aiosqlite

from acache.errors import CacheClosed, ConfigurationError, SourceUnavailable
from acache_sqlite import _fork

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]
Database = str | os.PathLike[str] | aiosqlite.Connection


class Connection(Protocol):
    """Where jobs run, one after the other."""

    async def run(self, job: Job[T]) -> T:
        """Return what *job* returns. Cancelling leaves a job that has begun to finish by itself."""
        ...

    def open(self) -> None:
        """Allow jobs again after `aclose`."""
        ...

    async def aclose(self) -> None:
        """Close what was opened here, after the jobs that have begun. Safe to call twice."""
        ...


class OwnConnection:
    """A connection that opens on first use, in any loop and again after a fork.

    Loops may take turns: nothing here belongs to a loop. Before a fork the connection is closed,
    and opens again in whichever process uses it next."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._guard = threading.Lock()  # held while a job runs, and while the process forks
        self._connection: sqlite3.Connection | None = None  # touched under the guard only
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    async def run(self, job: Job[T]) -> T:
        """Run *job* on the connection's thread, opening the connection if need be."""
        if self._closed:
            msg = "this was closed; open it again with `async with`"
            raise CacheClosed(msg)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="acache-sqlite")
            _fork.watch(self)
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._perform, job)

    def open(self) -> None:
        """Allow jobs again after `aclose`."""
        self._closed = False

    async def aclose(self) -> None:
        """Close the connection after the jobs that were started, and end the thread."""
        self._closed = True
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # Shielded: a cancelled close goes on by itself, it does not leave the file open.
        closing = asyncio.wrap_future(executor.submit(self._close))
        executor.shutdown(wait=False)
        await asyncio.shield(closing)

    def before_fork(self) -> None:
        """Wait for the running job, then close: SQLite connections must not cross a fork."""
        self._guard.acquire()
        self._disconnect()

    def after_fork(self, *, child: bool) -> None:
        """Let jobs run again; a child has no thread yet."""
        if child:
            self._executor = None
        self._guard.release()

    def _perform(self, job: Job[T]) -> T:
        with self._guard:
            if self._connection is None:
                self._connection = self._connect()
            return job(self._connection)

    def _close(self) -> None:
        with self._guard:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class LentConnection:
    """A connection of the caller's, open before it was lent and never closed by us."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._lent = connection
        self._process = os.getpid()

    async def run(self, job: Job[T]) -> T:
        """Run *job* between the caller's own statements, never inside one."""
        if os.getpid() != self._process:
            msg = "a lent connection cannot be used after a fork: lend the child its own, or pass a path"
            raise ConfigurationError(msg)
        lent: Any = self._lent
        try:
            raw = lent._conn  # noqa: SLF001
        except ValueError as error:
            msg = "the lent connection is not open"
            raise SourceUnavailable(msg) from error
        # Private, and the same since aiosqlite 0.17: no public call runs a function on the thread,
        # and statements sent one by one could be mixed with those of the connection's owner.
        return cast("T", await lent._execute(job, raw))  # noqa: SLF001

    def open(self) -> None:
        """Do nothing: it is open already."""

    async def aclose(self) -> None:
        """Do nothing: the lender closes it."""


def connection_to(database: Database, *, timeout: float) -> Connection:
    """Return a connection to *database*: a path, a `sqlite:///` URL or an open aiosqlite connection.

    *timeout* is how many seconds a statement waits for a lock of another connection. The file has
    to exist when the first job runs: `ConfigurationError` if it does not."""
    if isinstance(database, aiosqlite.Connection):
        return LentConnection(database)
    path = path_of(database)

    def connect() -> sqlite3.Connection:
        # mode=rw: a mistyped path must not leave an empty database behind.
        target = path if path == ":memory:" else Path(path).absolute().as_uri() + "?mode=rw"
        try:
            return sqlite3.connect(
                target, timeout=timeout, isolation_level=None, check_same_thread=False, uri=True
            )
        except sqlite3.OperationalError as error:
            if Path(path).exists():
                raise
            msg = f"database={path!r}: there is no such file"
            raise ConfigurationError(msg) from error

    return OwnConnection(connect)


def path_of(database: str | os.PathLike[str]) -> str:
    """Return the path in *database*: itself, or what follows `sqlite:///` (a fourth slash: absolute)."""
    text = os.fsdecode(database)
    if not text or "\0" in text:
        msg = "database= must be a path, a sqlite:/// URL or an open aiosqlite connection"
        raise ConfigurationError(msg)
    if not text.startswith(("sqlite:", "sqlite+aiosqlite:")):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets that hold no address
        parts = urlsplit("sqlite:")
    if parts.netloc or not parts.path.startswith("/"):
        msg = "database=: a URL is sqlite:///relative/path or sqlite:////absolute/path"
        raise ConfigurationError(msg)
    if parts.query or parts.fragment:
        msg = "database=: a sqlite URL takes no parameters here; name them as arguments"
        raise ConfigurationError(msg)
    return unquote(parts.path[1:]) or ":memory:"
