"""A transaction inside a fence: the cache never keeps what the transaction may take back.

Knows aiosqlite and one method of a cache."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

import aiosqlite

from acache.errors import ConfigurationError

W_co = TypeVar("W_co", covariant=True)


class Fencing(Protocol[W_co]):
    """What is asked of a cache: `acache.Cache` has it."""

    def writing(self, *keys: str, tags: Iterable[str] = ()) -> AbstractAsyncContextManager[W_co]:
        """Fence *keys* and *tags*; see `Cache.writing`."""
        ...


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
    rolls back. The connection must not be in a transaction (`ConfigurationError`), nor be used by
    other tasks meanwhile: their statements would belong to this one."""
    if connection.in_transaction:
        msg = "connection=: it is inside a transaction already; commit or roll back first"
        raise ConfigurationError(msg)
    async with cache.writing(*keys, tags=tags) as writer:
        try:
            await connection.execute("BEGIN IMMEDIATE")
            yield writer
            await connection.commit()
        except BaseException:
            # After a commit that was cancelled on its way this changes nothing: the thread takes
            # both in order, and the fence drops the keys whatever the database decided.
            await connection.rollback()
            raise
