"""A table as a source: many keys in one statement, many rows in one transaction.

The asynchronous shell; what runs on the connection's thread is in `_work`."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from acache.errors import ConfigurationError
from acache.protocols import Saved
from acache_sqlite._clock import WallClock
from acache_sqlite._connection import Database
from acache_sqlite._keys import KeyShape
from acache_sqlite._rows import shape_of
from acache_sqlite._source import SQLiteSource
from acache_sqlite._sql import quoted
from acache_sqlite._work import TableWork

K = TypeVar("K")
V = TypeVar("V")

A_MONTH = 30 * 86_400.0


class SQLiteTable(SQLiteSource[K, V]):
    """Rows of one table by their key.

    *database*: a path, a `sqlite:///` URL, or an open `aiosqlite.Connection`, which is lent: never
    closed here, and refused for writing while its owner's transaction is open. *table*: its name.
    *key*: the column, or the tuple of columns, that identifies a row; composite keys are tuples in
    the same order. *type*: what a row is: dict, a dataclass, a msgspec Struct, a TypedDict, a
    NamedTuple, an attrs class or a pydantic model; its fields are the columns to read. *columns*:
    fewer columns to read. *version_column*: the column that guards writes. *timeout*: seconds to wait
    for another connection's lock. *keep_tombstones*: seconds that the version of a removed row is
    kept. *clock*: tells when tombstones are old, for tests.

    With `version_column` writes that come with versions are guarded: a row is replaced only by a
    higher version, and a removed row leaves its version in the side table
    `<table>__acache_tombstones`, made when first needed, for `keep_tombstones` seconds, so that a
    write that arrives late cannot bring the row back. Without it versions are ignored."""

    def __init__(
        self,
        database: Database,
        table: str,
        *,
        key: str | Iterable[str] = "id",
        type: type[V] = dict,  # type: ignore[assignment]
        columns: Iterable[str] | None = None,
        version_column: str | None = None,
        timeout: float = 5.0,
        keep_tombstones: float = A_MONTH,
        clock: WallClock = time,
    ) -> None:
        """Prepare; the database is opened by the first batch. Raises `ConfigurationError`."""
        super().__init__(database, what=f"table {table!r}", timeout=timeout)
        shape = shape_of(type)
        self._key: KeyShape[K] = KeyShape(key, shape.readers())
        chosen = _chosen(columns, shape.columns, shape.required, positional=shape.positional)
        for name in (
            table,
            *self._key.columns,
            *(chosen or ()),
            *([version_column] if version_column else ()),
        ):
            quoted(name)
        if not self._key.columns:
            msg = "key= names no column"
            raise ConfigurationError(msg)
        self._work: TableWork[K, V] = TableWork(
            table, key=self._key, shape=shape, columns=chosen, version=version_column
        )
        self.version_column = version_column
        self._keep = keep_tombstones
        self._clock = clock

    async def load(self, keys: Sequence[K]) -> Mapping[K, V]:
        """Return the values of those of *keys* that exist, under the objects that were passed.

        One statement; a row answers only the very key that it has, in type and text: neither '1'
        nor True is 1, and 'Ann' is not 'ann' whatever the column's collation. Raises
        `SourceUnavailable` (locked, busy, unreadable), `SourceRefused` with the keys that cannot be
        any, or whose rows do not fit the type, `ConfigurationError` (no such file, table, column).
        Cancelling never disturbs the next batch."""
        bound = self._key.bind(keys)
        if not bound:
            return {}
        return await self._run(lambda connection: self._work.load(connection, bound), bound)

    async def save(self, items: Mapping[K, V], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Insert or update *items* in one transaction, all or none.

        A dict may name fewer columns than there are: the others keep what they hold. `rows` of the
        answer has what the table holds now where that differs: defaults, triggers, conversions.
        `refused` has the keys whose stored version is higher. Errors as in `load`; `SourceRefused`
        names the keys to blame. Cancelled, the batch is written whole or not at all."""
        bound = self._key.bind(items, new=True)
        if not bound:
            return Saved()
        held, guards = dict(items), self._guards(bound, versions)
        return await self._run(lambda connection: self._work.save(connection, held, bound, guards), bound)

    async def remove(self, keys: Sequence[K], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Delete *keys* in one transaction, all or none; those that are not there do not matter.

        Versions, errors and cancellation as in `save`."""
        bound = self._key.bind(keys)
        if not bound:
            return Saved()
        guards, now, keep = self._guards(bound, versions), self._clock.time(), self._keep
        return await self._run(
            lambda connection: self._work.remove(connection, bound, guards, now=now, keep=keep), bound
        )

    def _guards(self, keys: Iterable[K], versions: Mapping[K, int] | None) -> Mapping[K, int] | None:
        if versions is None or self.version_column is None:
            return None
        try:
            return {key: versions[key] for key in keys}
        except KeyError:
            msg = "versions= lacks a version for one of the keys"
            raise ValueError(msg) from None


def _chosen(
    columns: Iterable[str] | None,
    fields: tuple[str, ...] | None,
    required: frozenset[str],
    *,
    positional: bool,
) -> tuple[str, ...] | None:
    """Return the columns to read: those asked for, else the type's, else None for all."""
    if columns is None:
        return fields
    if isinstance(columns, str):
        msg = "columns= must be a collection of names, not one str"
        raise ConfigurationError(msg)
    names = tuple(columns)
    if fields is None:
        return names
    unknown = [name for name in names if name not in fields]
    needed = [name for name in fields if name in required and name not in names]
    if unknown or needed or (positional and names != fields):
        msg = f"columns= must hold the fields of the type: {', '.join(map(repr, fields))}"
        raise ConfigurationError(msg)
    return names
