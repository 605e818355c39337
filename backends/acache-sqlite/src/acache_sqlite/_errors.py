"""What SQLite's errors mean to a cache. Pure: looks at an exception, returns another.

Messages never carry a value: SQLite's own name tables and columns only."""

import sqlite3
from collections.abc import Collection

from acache.errors import CacheError, ConfigurationError, SourceRefused, SourceUnavailable

# Said by a Warning up to CPython 3.11, by a ProgrammingError after it.
_TWO_STATEMENTS = "one statement at a time"
_REFUSED = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})


class Unfit(ValueError):
    """A key or value that cannot be stored or read; the message carries no value."""


def is_data(error: Exception) -> bool:
    """Return whether *error* is about what was bound to a statement, not about the database."""
    if isinstance(error, (Unfit, OverflowError, UnicodeError)):
        return True
    if isinstance(error, sqlite3.Error) and _TWO_STATEMENTS not in str(error):
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is None:  # raised by the sqlite3 module itself: a type that it cannot bind
            return isinstance(error, (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError))
        return code & 0xFF in _REFUSED
    return False


def translated(error: Exception, *, what: str, keys: Collection[object] = ()) -> CacheError:
    """Return the error of acache's that *error* means; the caller raises it from *error*.

    *what* names the table or query, *keys* those whose data are to blame if data are."""
    if is_data(error):
        return SourceRefused(f"{what} refused {len(keys)} of the rows: {error}", keys=keys)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
    if code == sqlite3.SQLITE_ERROR or _TWO_STATEMENTS in str(
        error
    ):  # does not compile: nothing that waiting would change
        return ConfigurationError(f"{what}: {error}")
    return SourceUnavailable(f"{what}: {error}")
