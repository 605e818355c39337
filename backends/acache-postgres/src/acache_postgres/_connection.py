"""Connections and pools of asyncpg, opened here or lent. Knows no statement and no transaction."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from acache.errors import CacheClosed, ConfigurationError, SourceUnavailable
from acache_postgres._driver import Connection, Pool, bare, create_pool, is_connection, is_pool
from acache_postgres._errors import FOREIGN
from acache_postgres._settling import GRACE

Database = str | Pool | Connection
"""A URL, or a pool or connection of asyncpg that is lent."""


class Connections(Protocol):
    """Where batches get a connection from."""

    def lend(self, *, writing: bool) -> AbstractAsyncContextManager[Any]:
        """Lend a connection for the block, which may be cancelled at any await."""
        ...

    def open(self) -> None:
        """Allow batches again after `aclose`."""
        ...

    async def aclose(self) -> None:
        """Close what was opened here, after the batches that have begun. Safe to call twice."""
        ...


def connections_to(database: Database, *, size: int, patience: float) -> Connections:
    """Return connections to *database*: a URL, or a pool or connection that is lent.

    A pool of our own has at most *size* of them, and *patience* seconds to end when it is closed."""
    if isinstance(database, str):
        try:
            return OwnPools(checked_url(database), size=size, patience=patience)
        finally:
            del database  # where errors are reported with the variables of their frames
    if is_pool(database):
        return LentPool(database)
    if is_connection(database):
        return LentConnection(database)
    raise ConfigurationError(
        "database= must be a postgresql:// URL, or a pool or connection of asyncpg, "
        f"not {type(database).__name__}"
    )


def checked_url(url: str) -> str:
    """Return *url* as asyncpg takes it. `ConfigurationError` never shows it: it holds a password."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:  # its words quote the host, or what was taken for it
        scheme = None
    if scheme is None:
        del url
        raise ConfigurationError("database=: the URL has no valid host")
    if scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        del url
        raise ConfigurationError(f"database=: a URL begins with postgresql://, not {scheme!r}")
    return url.replace("postgresql+asyncpg", "postgresql", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A pool in the loop that it belongs to, and what ends it with that loop."""

    pool: Any
    life: AsyncGenerator[None]


class OwnPools:
    """A pool for each loop and process that uses it, opened on first use."""

    def __init__(self, url: str, *, size: int, patience: float) -> None:
        self._url = url
        self._size = size
        self._patience = patience
        self._process = os.getpid()
        self._opened: dict[asyncio.AbstractEventLoop, _Opened] = {}
        self._closed = False

    @asynccontextmanager
    async def lend(self, *, writing: bool) -> AsyncGenerator[Any]:
        """Lend a connection of this loop's pool."""
        del writing
        if self._closed:
            raise CacheClosed("this was closed; open it again with `async with`")
        async with borrowed(await self._pool()) as connection:
            yield connection

    def open(self) -> None:
        """Allow batches again after `aclose`."""
        self._closed = False

    async def aclose(self) -> None:
        """Close this loop's pool after the batches that have begun; others end with their loops."""
        self._closed = True
        opened = self._opened.get(asyncio.get_running_loop())
        if opened is not None:
            await opened.life.aclose()

    async def _pool(self) -> Any:
        if self._process != os.getpid():
            # A child must not touch its parent's connections, not even by letting go of them.
            _of_parents.append(self._opened)
            self._process, self._opened = os.getpid(), {}
        loop = asyncio.get_running_loop()
        opened = self._opened.get(loop)
        if opened is None:
            for ended in [loop for loop in self._opened if loop.is_closed()]:
                del self._opened[ended]
            # No await between looking and keeping: an empty pool is opened without one.
            pool = create_pool(self._url, min_size=0, max_size=self._size, reset=_nothing_to_reset)
            opened = self._opened[loop] = _Opened(pool=pool, life=self._until_the_loop_ends(loop, pool))
            await anext(opened.life)
        return opened.pool

    async def _until_the_loop_ends(self, loop: asyncio.AbstractEventLoop, pool: Any) -> AsyncGenerator[None]:
        """Keep *pool* open until closed: by us, or by the loop, which ends its generators when it ends.

        So a source that outlives its loop (each test of pytest has one of its own) leaves no socket."""
        await pool
        try:
            yield
        finally:
            self._opened.pop(loop, None)
            with suppress(Exception):  # a pool that cannot be closed in time was terminated by asyncpg
                async with asyncio.timeout(self._patience):
                    await pool.close()


class LentPool:
    """A pool of the caller's, never closed here."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._process = os.getpid()

    @asynccontextmanager
    async def lend(self, *, writing: bool) -> AsyncGenerator[Any]:
        """Lend a connection of the pool."""
        del writing
        same_process(self._process)
        async with borrowed(self._pool) as connection:
            yield connection

    def open(self) -> None:
        """Do nothing: its owner opens it."""

    async def aclose(self) -> None:
        """Do nothing: its owner closes it."""


class LentConnection:
    """A connection of the caller's, one batch at a time, never closed here."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._process = os.getpid()
        # Shared by all the sources that were lent this connection.
        self._turns = _turns.setdefault(bare(connection), asyncio.Lock())

    @asynccontextmanager
    async def lend(self, *, writing: bool) -> AsyncGenerator[Any]:
        """Lend the connection; refused for writing while its owner's transaction is open."""
        same_process(self._process)
        async with self._turns:
            if writing and self._connection.is_in_transaction():
                raise SourceUnavailable(
                    "the lent connection is inside a transaction, which may still be rolled back: "
                    "commit first, or lend a pool"
                )
            yield self._connection

    def open(self) -> None:
        """Do nothing: it is open already."""

    async def aclose(self) -> None:
        """Do nothing: the lender closes it."""


@asynccontextmanager
async def borrowed(pool: Any, *, timeout: float | None = None) -> AsyncGenerator[Any]:
    """Take a connection of *pool* for the block and give it back, within `GRACE` if it hangs."""
    connection = await pool.acquire(timeout=timeout)
    try:
        yield connection
    finally:
        with suppress(*FOREIGN):  # it is cut then
            await pool.release(connection, timeout=GRACE)


def same_process(process: int) -> None:
    """Raise `ConfigurationError` in a child of the process that was lent a connection."""
    if os.getpid() != process:
        raise ConfigurationError(
            "a lent pool or connection cannot be used after a fork: lend the child its own, or pass a URL"
        )


async def _nothing_to_reset(_: Connection) -> None:
    """Save the statement that asyncpg resets a connection with: batches leave nothing behind."""


_turns: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()
_of_parents: list[object] = []  # connections of parent processes, kept from being collected
