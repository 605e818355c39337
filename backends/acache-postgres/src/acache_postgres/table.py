"""A table as a source: many keys in one statement, many rows in one transaction.

Binds what callers hand in; what a batch does on its connection is in `_work`."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from acache.protocols import Saved
from acache_postgres._clock import WallClock
from acache_postgres._connection import Database
from acache_postgres._keys import KeyShape
from acache_postgres._rows import chosen, shape_of
from acache_postgres._source import PostgresSource
from acache_postgres._sql import quoted
from acache_postgres._work import TableWork

K = TypeVar("K")
V = TypeVar("V")

A_MONTH = 30 * 86_400.0


class PostgresTable(PostgresSource[K, V]):
    """Rows of one table by their key.

    *database*: a `postgresql://` URL, for a pool of its own, or a pool or connection of asyncpg, which
    is lent: never closed here, and a connection is refused for writing while its owner's transaction
    is open. *table*: a name on the search path, or `schema.name`, as it is, without quotes. *key*: the
    column, or the tuple of columns, that identifies a row; composite keys are tuples in the same
    order. *type*: what a row is: dict, a dataclass, a msgspec Struct, a TypedDict, a NamedTuple, an
    attrs class or a pydantic model; its fields are the columns to read. *columns*: fewer columns to
    read. *version_column*: the column that guards writes, best a `bigint`. *timeout*: seconds for one
    batch, waiting for a connection included; then its statement is cancelled on the server, which gets
    a second for it. *pool_size*: connections of the pool that a URL makes, opened when needed.
    *keep_tombstones*: seconds that the version of a removed row is kept. *clock*: tells when
    tombstones are old, for tests.

    JSON columns hold what JSON means, arrays are lists. Table and columns are looked up once, and
    again when a statement finds them changed.

    With `version_column` writes that come with versions are guarded: a row is
    replaced only by a higher version, and a removed row leaves its version in the side table
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
        pool_size: int = 10,
        keep_tombstones: float = A_MONTH,
        clock: WallClock = time,
    ) -> None:
        """Prepare; nothing is connected before the first batch. Raises `ConfigurationError`."""
        try:
            super().__init__(database, what=f"table {table!r}", timeout=timeout, pool_size=pool_size)
        finally:
            del database  # it may hold a password, and reporters of errors show variables
        shape = shape_of(type)
        self._key: KeyShape[K] = KeyShape(key)
        wanted = chosen(shape, columns if columns is None or isinstance(columns, str) else tuple(columns))
        for name in (table, *(wanted or ()), *([version_column] if version_column else ())):
            quoted(name)
        self._work: TableWork[K, V] = TableWork(
            table, key=self._key, shape=shape, columns=wanted, version=version_column
        )
        self.version_column = version_column
        self._keep = keep_tombstones
        self._clock = clock

    async def load(self, keys: Sequence[K]) -> Mapping[K, V]:
        """Return the values of those of *keys* that exist, under the objects that were passed.

        One statement; a row answers only the very key that it has, in type and text: the text of a
        UUID is not the UUID, 1 is not Decimal(1), 'Ann' is not 'ann' in a column of `citext`; a
        `char(n)` is asked for without its blanks. A key that the column cannot hold does not exist.
        Raises `SourceUnavailable` (no connection, timeout, deadlock), `SourceRefused` with the keys
        whose rows do not fit the type, `ConfigurationError` (no such table or column, no
        permission). Cancelling ends the statement on the server too."""
        bound = self._key.bind(keys)
        if not bound:
            return {}
        return await self._read(lambda connection: self._work.load(connection, bound), bound)

    async def save(self, items: Mapping[K, V], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Insert or update *items* in one transaction, all or none.

        A dict may name fewer columns than there are: the others keep what they hold. `rows` of the
        answer has what the table holds now where that differs: defaults, triggers, conversions.
        `refused` has the keys whose stored version is higher, or whose row a trigger swallowed.
        Errors as in `load`; `SourceRefused` names the keys to blame. Cancelled or timed out, the
        batch is written whole or not at all, and after a cancellation which of both is decided."""
        bound = self._key.bind(items)
        if not bound:
            return Saved()
        held, guards = dict(items), self._guards(bound, versions)
        return await self._write_or_blame(
            lambda connection: self._work.save(connection, held, bound, guards),
            lambda connection, bad: self._work.probe(connection, held, bound, guards, bad),
            bound,
        )

    async def remove(self, keys: Sequence[K], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Delete *keys* in one transaction, all or none; those that are not there do not matter.

        Versions, errors and cancellation as in `save`."""
        bound = self._key.bind(keys)
        if not bound:
            return Saved()
        guards, now, keep = self._guards(bound, versions), self._clock.time(), self._keep
        return await self._write(
            lambda connection: self._work.remove(connection, bound, guards, now=now, keep=keep), bound
        )

    def _guards(self, keys: Iterable[K], versions: Mapping[K, int] | None) -> Mapping[K, int] | None:
        if versions is None or self.version_column is None:
            return None
        try:
            return {key: versions[key] for key in keys}
        except KeyError:
            raise ValueError("versions= lacks a version for one of the keys") from None
