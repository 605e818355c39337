"""Hand-written SQL as a source, for what one table cannot say: joins, views, aggregates.

The asynchronous shell; what runs on the connection's thread is in `_query_work`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from acache.errors import ConfigurationError
from acache.protocols import Saved
from acache_sqlite._connection import Database
from acache_sqlite._keys import KeyShape
from acache_sqlite._query_work import QueryWork
from acache_sqlite._rows import shape_of
from acache_sqlite._source import SQLiteSource

K = TypeVar("K")
V = TypeVar("V")


class QuerySource(SQLiteSource[K, V]):
    """Three statements of your own.

    *database*, *timeout*: as in `SQLiteTable`. *load*: a SELECT of the rows of all keys. *save*: the
    statement that writes one value. *remove*: the statement that removes one key. *key*: the key's
    column or columns in the result of `load`. *type*: what a row is, as in `SQLiteTable`.

    - `load` runs once for all keys, which it takes as JSON in `:keys`, and returns the key's column
      or columns among those of the row:
      `SELECT u.id, u.name, t.name AS team FROM users u JOIN teams t ON t.id = u.team
      WHERE u.id IN (SELECT value FROM json_each(:keys))`.
      Composite keys arrive as arrays: `value ->> 0`, `value ->> 1`.
    - `save` runs for each item, all of a batch in one transaction, and takes the columns of the
      value, those of the key and `:version` (NULL if the batch has none) by name.
      A batch with versions reports an item whose statement changed no row as refused.
    - `remove` likewise for each key; a row that `load` still finds afterwards was refused.

    Guards and tombstones are the statements' own business."""

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
    ) -> None:
        """Prepare; the statements are compiled by the first batch. Raises `ConfigurationError`."""
        super().__init__(database, what="query", timeout=timeout)
        shape = shape_of(type)
        self._key: KeyShape[K] = KeyShape(key, shape.readers())
        if not self._key.columns:
            msg = "key= names no column"
            raise ConfigurationError(msg)
        self._save = save
        self._remove = remove
        self._work: QueryWork[K, V] = QueryWork(load, key=self._key, shape=shape)

    async def load(self, keys: Sequence[K]) -> Mapping[K, V]:
        """Return the values of those of *keys* that the query finds; rows of other keys are ignored.

        Errors and cancellation as in `SQLiteTable.load`."""
        bound = self._key.bind(keys)
        if not bound:
            return {}
        return await self._run(lambda connection: self._work.load(connection, bound), bound)

    async def save(self, items: Mapping[K, V], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Run the `save` statement for every item, all or none; return the rows that `load` finds otherwise.

        Raises `ConfigurationError` if there is no such statement; else as `SQLiteTable.save`."""
        statement = _given(self._save, "save")
        bound = self._key.bind(items, new=True)
        if not bound:
            return Saved()
        held = dict(items)
        return await self._run(
            lambda connection: self._work.save(connection, statement, held, bound, versions), bound
        )

    async def remove(self, keys: Sequence[K], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Run the `remove` statement for every key, all or none.

        Raises `ConfigurationError` if there is no such statement; else as `SQLiteTable.remove`."""
        statement = _given(self._remove, "remove")
        bound = self._key.bind(keys)
        if not bound:
            return Saved()
        return await self._run(
            lambda connection: self._work.remove(connection, statement, bound, versions), bound
        )


def _given(statement: str | None, name: str) -> str:
    if statement is None:
        msg = f"{name}=: this QuerySource was made without a statement to {name}"
        raise ConfigurationError(msg)
    return statement
