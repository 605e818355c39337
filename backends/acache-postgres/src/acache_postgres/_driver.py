"""All that is used of asyncpg, which has no types of its own. Imports it; nothing else here does."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeGuard, cast

import asyncpg  # type: ignore[import-untyped]

_asyncpg = cast("Any", asyncpg)


class Pool(Protocol):
    """An `asyncpg.Pool`."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Return what awaits a connection."""
        ...

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """Take a connection back."""
        ...


class Connection(Protocol):
    """An `asyncpg.Connection`, or what a pool hands out for one."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a statement, or without arguments several."""
        ...

    def is_in_transaction(self) -> bool:
        """Return whether a transaction is open."""
        ...


connect: Callable[..., Awaitable[Any]] = _asyncpg.connect
create_pool: Callable[..., Any] = _asyncpg.create_pool

PostgresError: type[Exception] = _asyncpg.PostgresError
InterfaceError: type[Exception] = _asyncpg.InterfaceError
InternalClientError: type[Exception] = _asyncpg.InternalClientError
InsufficientPrivilegeError: type[Exception] = _asyncpg.InsufficientPrivilegeError

ALTERED: tuple[type[Exception], ...] = (
    _asyncpg.UndefinedColumnError,
    _asyncpg.UndefinedTableError,
    _asyncpg.UndefinedObjectError,
    _asyncpg.UndefinedFunctionError,
    _asyncpg.InvalidColumnReferenceError,
    _asyncpg.DatatypeMismatchError,
    _asyncpg.CannotCoerceError,
    _asyncpg.InvalidCachedStatementError,
    _asyncpg.OutdatedSchemaCacheError,
    _asyncpg.InternalServerError,  # "cache lookup failed": a type was made anew
)
"""What says that a table is not what it was when it was looked at."""


def is_pool(given: object) -> TypeGuard[Pool]:
    """Return whether *given* is a pool."""
    return isinstance(given, _asyncpg.Pool)


def is_connection(given: object) -> TypeGuard[Connection]:
    """Return whether *given* is a connection, or what a pool handed out for one."""
    return isinstance(given, (_asyncpg.Connection, _asyncpg.pool.PoolConnectionProxy))


def is_gone(connection: Any) -> bool:
    """Return whether the connection was closed; what a pool handed out for it says so by an error."""
    try:
        return bool(connection.is_closed())
    except InterfaceError:
        return True


def bare(connection: Any) -> Any:
    """Return the connection itself, where a pool handed out something that stands for it."""
    return getattr(connection, "_con", None) or connection
