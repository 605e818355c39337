"""Transactions, and what becomes of them when their caller leaves or the server hangs.

Knows a connection, no pool and no table."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from acache_postgres._driver import bare, is_gone
from acache_postgres._errors import FOREIGN, described

T = TypeVar("T")

GRACE = 1.0
"""Seconds that PostgreSQL gets to end a statement which was cancelled, before its connection is cut."""


@asynccontextmanager
async def transaction(connection: Any) -> AsyncGenerator[None]:
    """Run the block whole or not at all; what became of it is settled when this ends.

    READ COMMITTED whatever the server's default is: statements after a lock have to see what was
    committed before it was granted."""
    try:
        await _begun(connection)
        yield
        await connection.execute("COMMIT")
    except BaseException:
        await undone(connection)
        raise


class Unbegun(ConnectionError):
    """A connection was gone when a transaction was to begin on it: nothing was written."""


async def _begun(connection: Any) -> None:
    try:
        await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    except FOREIGN as error:
        if is_gone(connection):
            raise Unbegun(described(error)) from error
        raise


async def undone(connection: Any) -> None:
    """Roll back, or if that takes longer than `GRACE`, cut the connection, which does it too."""
    if is_gone(connection):
        return
    try:
        async with asyncio.timeout(GRACE):
            # asyncpg waits here until PostgreSQL has answered for a statement that was cancelled. A
            # BEGIN may have been that one: only a ROLLBACK, which is harmless without it, makes sure.
            await connection.execute("ROLLBACK")
    except BaseException as error:
        bare(connection).terminate()
        if not isinstance(error, FOREIGN):
            raise


async def settled(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* as a task of its own and, if the caller is cancelled, cancel it and wait for its end.

    However often the caller is cancelled, as anyio does: when this returns, what was written is
    decided. *work* has to end soon after it was cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await _over(task)
        raise


async def concluded(connection: Any, work: Awaitable[None], *, within: float | None = None) -> None:
    """Run *work*, the begin or end of a transaction, to its end although the caller is cancelled.

    The connection is cut if that takes longer than *within* seconds, or `GRACE` once the caller is
    cancelled: then it is rolled back, unless a commit was under way."""
    loop, cut = asyncio.get_running_loop(), bare(connection).terminate
    task = asyncio.ensure_future(work)
    limits = [loop.call_later(within, cut)] if within is not None else []
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        limits.append(loop.call_later(GRACE, cut))
        await _over(task)
        raise
    finally:
        for limit in limits:
            limit.cancel()


async def _over(task: asyncio.Future[Any]) -> None:
    """Wait for the end of *task*, whatever it is, however often the caller is cancelled meanwhile."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
