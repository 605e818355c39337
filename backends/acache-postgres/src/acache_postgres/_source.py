"""What every PostgreSQL source shares: its connections, its timeout, its errors, its end."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from acache.errors import ConfigurationError, SourceRefused, SourceUnavailable
from acache_postgres._connection import Database, connections_to
from acache_postgres._driver import InternalClientError, is_gone
from acache_postgres._errors import FOREIGN, described, is_data, translated
from acache_postgres._settling import GRACE, Unbegun, settled

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

Job = Callable[[Any], Awaitable[T]]
"""One batch, on a connection that is its own until it returns."""

Probe = Callable[[Any, list[K]], Awaitable[None]]
"""Finds out which keys of a batch are to blame, as far as it gets, and writes nothing."""


class PostgresSource(Generic[K, V]):
    """An async context manager over connections; `aclose` closes those that were not lent."""

    def __init__(self, database: Database, *, what: str, timeout: float, pool_size: int) -> None:
        if pool_size < 1:
            raise ConfigurationError("pool_size= must be at least 1")
        try:
            self._connections = connections_to(database, size=pool_size, patience=timeout + GRACE)
        finally:
            del database
        self._what = what
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        """Open again after `aclose`; connections themselves open on first use."""
        self._connections.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close what was opened here, after the batches that have begun. Safe to call twice.

        Afterwards every call raises `CacheClosed` until `async with` opens it again."""
        await self._connections.aclose()

    async def _read(self, job: Job[T], keys: Collection[object]) -> T:
        """Run *job* within the timeout, PostgreSQL's errors turned into acache's."""
        return await self._run(job, keys, writing=False)

    async def _write(self, job: Job[T], keys: Collection[object]) -> T:
        """The same, and a caller who is cancelled waits until it is decided what was written."""
        return await settled(self._run(job, keys, writing=True))

    async def _write_or_blame(self, job: Job[T], probe: Probe[K], keys: Collection[K]) -> T:
        """The same; where rows are refused *probe* collects the keys to blame, within a timeout more."""
        try:
            return await self._write(job, keys)
        except SourceRefused as error:
            refusal, cause = error, error.__cause__
            if len(keys) == 1 or cause is None or not is_data(cause):
                raise  # it names the keys already
        bad: list[K] = []
        try:
            await self._write(lambda connection: probe(connection, bad), keys)
        except SourceUnavailable:
            if not bad:
                raise
        if not bad:
            raise SourceUnavailable(f"{self._what} refused rows, and then none of them: try again") from cause
        text = str(refusal).replace(f"refused {len(keys)} of", f"refused {len(bad)} of", 1)
        raise SourceRefused(text, keys=bad) from cause

    async def _run(self, job: Job[T], keys: Collection[object], *, writing: bool) -> T:
        budget = asyncio.timeout(self._timeout)
        try:
            # What ends here by timeout or cancellation is ended on the server too: by asyncpg.
            async with budget:
                return await self._insist(job, writing=writing)
        except FOREIGN as error:
            if budget.expired():
                raise SourceUnavailable(
                    f"{self._what}: no answer within {self._timeout:g} seconds"
                ) from error
            raise translated(error, what=self._what, keys=keys) from error

    async def _insist(self, job: Job[T], *, writing: bool) -> T:
        """Run *job*, once more if its connection was lost: the pool has others, or opens one.

        Of those that a server has just ended any number may lie idle in the pool; each is met once."""
        lost = False
        while True:
            try:
                return await self._attempt(job, writing=writing)
            except _Gone as gone:
                if lost and gone.asked:
                    raise
                lost = lost or gone.asked

    async def _attempt(self, job: Job[T], *, writing: bool) -> T:
        async with self._connections.lend(writing=writing) as connection:
            try:
                return await job(connection)
            except FOREIGN as error:
                # A pool cannot know that the server went away while a connection was idle.
                if is_gone(connection) and (not writing or isinstance(error, Unbegun)):
                    unasked = isinstance(error, InternalClientError) or isinstance(
                        error.__cause__, InternalClientError
                    )
                    raise _Gone(described(error), asked=not unasked) from error
                raise


class _Gone(ConnectionError):
    """A connection was lost before anything was done on it that matters.

    Unasked if it had heard the server's last words before: asyncpg sends nothing then."""

    def __init__(self, said: str, *, asked: bool) -> None:
        super().__init__(said)
        self.asked = asked
