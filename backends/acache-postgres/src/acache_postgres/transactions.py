"""A transaction inside a fence: the cache never keeps what the transaction may take back.

Knows asyncpg and one method of a cache."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from acache.errors import ConfigurationError
from acache_postgres._connection import borrowed
from acache_postgres._driver import Connection, Pool, bare, is_pool
from acache_postgres._errors import FOREIGN
from acache_postgres._settling import GRACE, concluded


class Writing(Protocol):
    """What a fence hands to its block: `acache.Writer` is one."""

    def commit(self, key: str, value: object, *, tags: Iterable[str] | None = ..., **options: Any) -> None:
        """Note a value to store when the fence falls after a clean end."""
        ...


class Fencing(Protocol):
    """What is asked of a cache: `acache.Cache` has it."""

    def writing(self, *keys: str, tags: Iterable[str] = ()) -> AbstractAsyncContextManager[Writing]:
        """Fence *keys* and *tags*; see `Cache.writing`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A transaction that runs, on `connection`."""

    connection: Any  # asyncpg.Connection, or what a pool hands out for one
    writer: Writing

    def commit(self, key: str, value: object, *, tags: Iterable[str] | None = None, **options: Any) -> None:
        """Note *value* to be stored under *key* once the database committed.

        Takes what the `commit` of a cache's writer takes."""
        self.writer.commit(key, value, tags=tags, **options)


_fences: WeakKeyDictionary[Any, AsyncExitStack] = WeakKeyDictionary()
"""What falls when the innermost transaction that runs on a connection, or one around it, has ended."""


@asynccontextmanager
async def transaction(
    cache: Fencing,
    pool_or_connection: Pool | Connection,
    *keys: str,
    tags: Iterable[str] = (),
) -> AsyncGenerator[Transaction]:
    """Fence, begin, run the block, commit or roll back, then leave the fence.

        async with transaction(cache, pool, "user:42", tags=["users"]) as work:
            await work.connection.execute("UPDATE users SET name = $1 WHERE id = 42", name)
            work.commit("user:42", user, ttl=300)    # optional: stored once the database committed

    While the block runs, loads of *keys* and *tags* are served but stored by nobody; afterwards
    nothing that was loaded before is left, however the block ended: an exception or cancellation
    rolls back, and is waited for.

    Inside the block of another `transaction`, on its connection, it is a savepoint: its fence then
    stands until the outermost transaction has ended. A connection inside a transaction that was
    begun otherwise is refused (`ConfigurationError`): nobody could tell when that ends."""
    if is_pool(pool_or_connection):
        async with (
            cache.writing(*keys, tags=tags) as writer,
            borrowed(pool_or_connection) as taken,
            _outermost(taken),
        ):
            yield Transaction(connection=taken, writer=writer)
        return
    connection: Any = pool_or_connection
    if bare(connection) in _fences:
        async with _nested(cache.writing(*keys, tags=tags), connection) as writer:
            yield Transaction(connection=connection, writer=writer)
        return
    if connection.is_in_transaction():
        raise ConfigurationError(
            "pool_or_connection=: it is inside a transaction already; "
            "begin that one with acache_postgres.transaction too"
        )
    async with cache.writing(*keys, tags=tags) as writer, _outermost(connection):
        yield Transaction(connection=connection, writer=writer)


@asynccontextmanager
async def _outermost(connection: Any) -> AsyncGenerator[None]:
    running = connection.transaction()
    async with AsyncExitStack() as fences:
        _fences[bare(connection)] = fences
        try:
            await concluded(connection, running.start())
            yield
            # PostgreSQL answers the COMMIT of a transaction in which a statement failed with a silent
            # rollback; any other statement says so.
            await connection.execute("SELECT")
        except BaseException:
            with suppress(*FOREIGN):  # without its connection the transaction is rolled back too
                await concluded(connection, running.rollback(), within=GRACE)
            raise
        else:
            await concluded(connection, running.commit())
        finally:
            del _fences[bare(connection)]


@asynccontextmanager
async def _nested(fence: AbstractAsyncContextManager[Writing], connection: Any) -> AsyncGenerator[Writing]:
    outer = _fences[bare(connection)]
    async with AsyncExitStack() as own:
        writer = await own.enter_async_context(fence)
        _fences[bare(connection)] = own  # if this is taken back, so is what ends inside it
        try:
            async with connection.transaction():
                yield writer
        finally:
            _fences[bare(connection)] = outer
        # What was written may still be taken back, and must not be loaded until it cannot.
        outer.push_async_exit(own.pop_all())
