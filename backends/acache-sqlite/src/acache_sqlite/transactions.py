"""A transaction inside a fence: the cache never keeps what the transaction may take back.

Knows aiosqlite and one method of a cache."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import aiosqlite

from acache.errors import ConfigurationError

W_co = TypeVar("W_co", covariant=True)


class Fencing(Protocol[W_co]):
    """What is asked of a cache: `acache.Cache` has it."""

    def writing(self, *keys: str, tags: Iterable[str] = ()) -> AbstractAsyncContextManager[W_co]:
        """Fence *keys* and *tags*; see `Cache.writing`."""
        ...


_fences: WeakKeyDictionary[aiosqlite.Connection, AsyncExitStack] = WeakKeyDictionary()
"""What falls when the innermost transaction that runs on a connection, or one around it, has ended."""


@asynccontextmanager
async def transaction(
    cache: Fencing[W_co], connection: aiosqlite.Connection, *keys: str, tags: Iterable[str] = ()
) -> AsyncGenerator[W_co]:
    """Fence, begin, run the block, commit or roll back, then leave the fence.

        async with transaction(cache, connection, "user:42", tags=["users"]) as writer:
            await connection.execute("UPDATE users SET name = ? WHERE id = 42", (name,))
            writer.commit("user:42", user, ttl=300)    # optional: stored once the database committed

    While the block runs, loads of *keys* and *tags* are served but stored by nobody; afterwards
    nothing that was loaded before is left, however the block ended: an exception or cancellation
    rolls back. Other tasks must not use the connection meanwhile: their statements would belong to
    this transaction.

    Inside the block of another `transaction`, on its connection, it is a savepoint: its fence then
    stands until the outermost transaction has ended. A connection inside a transaction that was
    begun otherwise is refused (`ConfigurationError`): nobody could tell when that ends."""
    if connection in _fences:
        async with _nested(cache.writing(*keys, tags=tags), connection) as writer:
            yield writer
        return
    if connection.in_transaction:
        msg = (
            "connection=: it is inside a transaction already; commit or roll back first, "
            "or begin that one with acache_sqlite.transaction too"
        )
        raise ConfigurationError(msg)
    async with cache.writing(*keys, tags=tags) as writer, _outermost(connection):
        yield writer


@asynccontextmanager
async def _outermost(connection: aiosqlite.Connection) -> AsyncGenerator[None]:
    async with AsyncExitStack() as fences:
        _fences[connection] = fences
        try:
            await connection.execute("BEGIN IMMEDIATE")
            yield
            await connection.commit()
        except BaseException:
            # After a commit that was cancelled on its way this changes nothing: the thread takes
            # both in order, and the fence drops the keys whatever the database decided.
            await connection.rollback()
            raise
        finally:
            del _fences[connection]


@asynccontextmanager
async def _nested(
    fence: AbstractAsyncContextManager[W_co], connection: aiosqlite.Connection
) -> AsyncGenerator[W_co]:
    outer = _fences[connection]
    async with AsyncExitStack() as own:
        writer = await own.enter_async_context(fence)
        _fences[connection] = own  # if this is taken back, so is what ends inside it
        try:
            await connection.execute("SAVEPOINT acache")
            yield writer
        except BaseException:
            await connection.execute("ROLLBACK TO acache")
            await connection.execute("RELEASE acache")
            raise
        finally:
            _fences[connection] = outer
        await connection.execute("RELEASE acache")
        # What was written may still be taken back, and must not be loaded until it cannot.
        outer.push_async_exit(own.pop_all())
