"""What PostgreSQL's errors mean to a cache. Knows asyncpg's exceptions, no connection.

PostgreSQL quotes values in the details of its errors, and asyncpg in the messages of its own: both
are taken out of the cause before it is passed on, so that no value ends up in a log."""

from collections.abc import Collection

from acache.errors import CacheError, ConfigurationError, SourceRefused, SourceUnavailable
from acache_postgres._driver import InterfaceError, InternalClientError, PostgresError


class Unfit(ValueError):
    """A key or value that cannot be stored or read; the message carries no value."""


# By the first two characters of PostgreSQL's error codes: see its manual, appendix A.
_DATA = frozenset({"22", "23", "44", "P0"})
_MADE_WRONG = frozenset({"0A", "26", "34", "42"})
_TWICE = "21000"  # one statement would change a row twice
_TOO_BIG = frozenset({"54000"})  # a row or an index entry
_SECRETS = ("detail", "context", "query", "internal_query", "message")

_SAID = (PostgresError, InterfaceError, InternalClientError, OSError, Unfit)
_NONSENSE = (AssertionError, BufferError, LookupError, ValueError)  # what damaged bytes lead a parser to

FOREIGN = (*_SAID, *_NONSENSE)
"""What may come out of asyncpg, a broken connection's `TimeoutError` included."""


def is_data(error: BaseException) -> bool:
    """Return whether *error* is about what was handed to a statement, not about the database."""
    if isinstance(error, Unfit):
        return True
    code = _code(error)
    return code[:2] in _DATA or code in _TOO_BIG or code == _TWICE


def is_twice(error: BaseException) -> bool:
    """Return whether two keys of a batch are one row to the database."""
    return _code(error) == _TWICE


def translated(error: BaseException, *, what: str, keys: Collection[object] = ()) -> CacheError:
    """Return the error of acache's that *error* means; the caller raises it from *error*.

    *what* names the table or query, *keys* those whose data are to blame if data are."""
    if is_data(error):
        return SourceRefused(f"{what} refused {len(keys)} of the rows: {described(error)}", keys=keys)
    if _code(error)[:2] in _MADE_WRONG:
        return ConfigurationError(f"{what}: {described(error)}")
    return SourceUnavailable(f"{what}: {described(error)}")


def described(error: BaseException) -> str:
    """Return what *error* says, without values; they are taken out of *error* itself too."""
    code = _code(error)
    if not isinstance(error, _SAID):
        error.args = ()  # it may quote a value
        return f"an answer that makes no sense ({type(error).__name__})"
    if isinstance(error, TimeoutError):
        return str(error) or "the connection timed out"
    if code.startswith("22"):
        # Its messages quote the value, and so do the errors that asyncpg made them from.
        error.args = (f"{type(error).__name__}, code {code}",)
        error.__cause__ = error.__context__ = None
    for name in _SECRETS:
        if getattr(error, name, None) is not None:
            setattr(error, name, None)
    return str(error) or type(error).__name__


def _code(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""
