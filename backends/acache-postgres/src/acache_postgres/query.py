"""Hand-written SQL as a source, for what one table cannot say: joins, views, aggregates.

Binds what callers hand in; what a batch does on its connection is in `_query_work`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from acache.errors import ConfigurationError
from acache.protocols import Saved
from acache_postgres._connection import Database
from acache_postgres._keys import KeyShape
from acache_postgres._named import Statement, statement
from acache_postgres._query_work import QueryWork
from acache_postgres._rows import shape_of
from acache_postgres._source import PostgresSource

K = TypeVar("K")
V = TypeVar("V")


class QuerySource(PostgresSource[K, V]):
    """Three statements of your own, with named parameters.

    *database*, *timeout*, *pool_size*: as in `PostgresTable`. *load*: a SELECT of the rows of all
    keys. *save*: the statement that writes one value. *remove*: the statement that removes one key.
    *key*: the key's column or columns in the result of `load`. *type*: what a row is, as in
    `PostgresTable`.

    - `load` runs once for all keys, which it takes as an array in `:keys`, and returns the key's
      column or columns among those of the row:
      `SELECT u.id, u.name, t.name AS team FROM users u JOIN teams t ON t.id = u.team
      WHERE u.id = ANY(:keys)`.
      Composite keys arrive as one array for each column, by its name:
      `JOIN unnest(:tenant::text[], :id::int8[]) AS k(tenant, id) USING (tenant, id)`.
    - `save` runs for each item, all of a batch in one transaction, and takes the columns of the
      value, those of the key and `:version` (NULL if the batch has none) by name.
      A batch with versions reports an item whose statement changed no row as refused.
    - `remove` likewise for each key; with versions, a row that `load` still finds afterwards was
      refused.

    Guards and tombstones are the statements' own business. A row answers the very key that it has,
    in type and text."""

    def __init__(
        self,
        database: Database,
        *,
        load: str,
        save: str | None = None,
        remove: str | None = None,
        key: str | Iterable[str] = "id",
        type: type[V] = dict,  # type: ignore[assignment]
        timeout: float = 5.0,
        pool_size: int = 10,
    ) -> None:
        """Prepare; the statements are compiled by the first batch. Raises `ConfigurationError`."""
        try:
            super().__init__(database, what="query", timeout=timeout, pool_size=pool_size)
        finally:
            del database  # it may hold a password, and reporters of errors show variables
        shape = shape_of(type)
        self._key: KeyShape[K] = KeyShape(key)
        self._save = statement(save) if save is not None else None
        self._remove = statement(remove) if remove is not None else None
        self._work: QueryWork[K, V] = QueryWork(statement(load), key=self._key, shape=shape)

    async def load(self, keys: Sequence[K]) -> Mapping[K, V]:
        """Return the values of those of *keys* that the query finds; rows of other keys are ignored.

        Errors and cancellation as in `PostgresTable.load`."""
        bound = self._key.bind(keys)
        if not bound:
            return {}
        return await self._read(lambda connection: self._work.load(connection, bound), bound)

    async def save(self, items: Mapping[K, V], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Run the `save` statement for every item, all or none; return the rows that `load` finds otherwise.

        Raises `ConfigurationError` if there is no such statement; else as `PostgresTable.save`."""
        given = _given(self._save, "save")
        bound = self._key.bind(items)
        if not bound:
            return Saved()
        held = dict(items)
        return await self._write_or_blame(
            lambda connection: self._work.save(connection, given, held, bound, versions),
            lambda connection, bad: self._work.probe(connection, given, held, bound, versions, bad),
            bound,
        )

    async def remove(self, keys: Sequence[K], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Run the `remove` statement for every key, all or none.

        Raises `ConfigurationError` if there is no such statement; else as `PostgresTable.remove`."""
        given = _given(self._remove, "remove")
        bound = self._key.bind(keys)
        if not bound:
            return Saved()
        return await self._write(
            lambda connection: self._work.remove(connection, given, bound, versions), bound
        )


def _given(given: Statement | None, name: str) -> Statement:
    if given is None:
        raise ConfigurationError(f"{name}=: this QuerySource was made without a statement to {name}")
    return given
