"""Which rows of a refused batch are to blame. Knows nothing of tables: it is handed a way to try."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from acache_postgres._driver import InterfaceError, PostgresError
from acache_postgres._errors import is_data

K = TypeVar("K")

Attempt = Callable[[Sequence[K]], Awaitable[object]]
"""Writes the rows of some keys; raises if one of them is refused."""


async def blame(connection: Any, keys: Sequence[K], attempt: Attempt[K], bad: list[K]) -> None:
    """Collect in *bad* the keys whose rows are refused although all the others are in.

    Inside a transaction, which the caller rolls back. Halves are tried, so that one bad row among
    a thousand costs some twenty statements. What is refused is tried again as long as that helps:
    a row may need another one that came later."""
    # Constraints that would wait for the commit speak now.
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    await _try(connection, keys, attempt, bad)
    before = len(keys) + 1
    while 0 < len(bad) < before:
        before, again = len(bad), list(bad)
        bad.clear()
        await _try(connection, again, attempt, bad)


async def _try(connection: Any, keys: Sequence[K], attempt: Attempt[K], bad: list[K]) -> None:
    await connection.execute("SAVEPOINT probe")
    try:
        await attempt(keys)
    except (PostgresError, InterfaceError) as error:
        if not is_data(error):
            raise
        await connection.execute("ROLLBACK TO probe")
    else:
        await connection.execute("RELEASE probe")
        return
    if len(keys) == 1:
        bad.append(keys[0])
        return
    middle = len(keys) // 2
    await _try(connection, keys[:middle], attempt, bad)
    await _try(connection, keys[middle:], attempt, bad)
