"""What every SQLite source shares: its connection, its errors, its end."""

import sqlite3
from collections.abc import Collection
from types import TracebackType
from typing import Generic, Self, TypeVar

from acache_sqlite._connection import Database, Job, connection_to
from acache_sqlite._errors import Unfit, translated

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class SQLiteSource(Generic[K, V]):
    """An async context manager over one connection; `aclose` closes it unless it was lent."""

    def __init__(self, database: Database, *, what: str, timeout: float) -> None:
        self._connection = connection_to(database, timeout=timeout)
        self._what = what

    async def __aenter__(self) -> Self:
        """Open again after `aclose`; the connection itself opens on first use."""
        self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close what was opened here, after the batches that have begun. Safe to call twice.

        Afterwards every call raises `CacheClosed` until `async with` opens it again."""
        await self._connection.aclose()

    async def _run(self, job: Job[T], keys: Collection[object]) -> T:
        """Run *job* on the connection's thread, SQLite's errors turned into acache's."""
        try:
            return await self._connection.run(job)
        except (sqlite3.Error, sqlite3.Warning, Unfit, OverflowError, UnicodeError) as error:
            raise translated(error, what=self._what, keys=keys) from error
