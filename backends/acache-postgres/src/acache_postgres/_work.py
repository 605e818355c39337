"""What a table does on a connection: one batch from begin to commit. Without a clock or a timeout.

Every method takes a connection that is its own until it returns."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from acache.protocols import Saved
from acache_postgres import _writes
from acache_postgres._blame import blame
from acache_postgres._driver import ALTERED, InterfaceError, PostgresError
from acache_postgres._errors import is_data, is_twice
from acache_postgres._keys import BoundKey, KeyShape
from acache_postgres._reading import Reading, codecs_of
from acache_postgres._reads import Planned, of_possible, read
from acache_postgres._rows import Shape
from acache_postgres._schema import plan_of
from acache_postgres._settling import undone
from acache_postgres._writes import UnknownColumn, batch_of

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_ALTERED: tuple[type[Exception], ...] = (*ALTERED, UnknownColumn)
_FOREIGN_OR_UNKNOWN: tuple[type[Exception], ...] = (PostgresError, InterfaceError, *_ALTERED)


class TableWork(Generic[K, V]):
    """The batches of one table. Owned by one source."""

    def __init__(
        self,
        table: str,
        *,
        key: KeyShape[K],
        shape: Shape[V],
        columns: tuple[str, ...] | None,
        version: str | None,
    ) -> None:
        self._table = table
        self._key = key
        self._shape = shape
        self._columns = columns
        self._version = version
        self._planned: Planned[V] | None = None

    async def load(self, connection: Any, keys: Mapping[K, BoundKey]) -> dict[K, V]:
        """Return the values of those of *keys* that exist."""

        async def load(planned: Planned[V]) -> dict[K, V]:
            async def asked(some: Mapping[K, BoundKey]) -> dict[K, V]:
                rows = await read(connection, planned, planned.plan.columns, some)
                return planned.reading.values(rows)

            return await of_possible(connection, planned, keys, asked)

        return await self._on_plan(connection, load)

    async def save(
        self,
        connection: Any,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> Saved[K, V]:
        """Upsert *items* in one transaction; return the rows that differ and the keys refused."""

        async def save(planned: Planned[V]) -> Saved[K, V]:
            batch = batch_of(planned, self._shape, items, keys, versions)
            try:
                return await _writes.saved(connection, planned, self._shape, batch, singly=False)
            except PostgresError as error:
                if not is_twice(error):
                    raise
            # Two keys are one row to the database, 'Ann' and 'ANN' for instance: one after the other.
            return await _writes.saved(connection, planned, self._shape, batch, singly=True)

        return await self._on_plan(connection, save)

    async def probe(
        self,
        connection: Any,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
        bad: list[K],
    ) -> None:
        """Collect in *bad* the keys to blame for the refusal of a batch; write nothing."""

        async def probe(planned: Planned[V]) -> None:
            batch = batch_of(planned, self._shape, items, keys, versions)

            async def attempt(some: Sequence[K]) -> None:
                rows = {key: batch.rows[key] for key in some}
                await _writes.write(connection, planned, replace(batch, rows=rows), singly=False)

            try:
                await connection.execute("BEGIN")
                await blame(connection, list(batch.rows), attempt, bad)
            finally:
                await undone(connection)

        await self._on_plan(connection, probe)

    async def remove(
        self,
        connection: Any,
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
        *,
        now: float,
        keep: float,
    ) -> Saved[K, V]:
        """Delete *keys* in one transaction; *keep*: how many seconds a tombstone stands."""

        async def remove(planned: Planned[V]) -> Saved[K, V]:
            async def asked(some: Mapping[K, BoundKey]) -> Saved[K, V]:
                refused = await _writes.removed(connection, planned, some, versions, now=now, keep=keep)
                return Saved(refused=refused)

            return await of_possible(connection, planned, keys, asked)

        return await self._on_plan(connection, remove)

    async def _on_plan(self, connection: Any, job: Callable[[Planned[V]], Awaitable[T]]) -> T:
        """Run *job*, once more on a new plan if the table was altered since the plan was made."""
        planned = self._planned
        if planned is not None:
            try:
                return await job(planned)
            except _FOREIGN_OR_UNKNOWN as error:
                altered = isinstance(error, _ALTERED)
                if not altered and not is_data(error):
                    raise
                if altered:
                    await connection.reload_schema_state()
                self._planned = await self._plan(connection)
                if not altered and self._planned.plan == planned.plan:
                    raise
        else:
            self._planned = await self._plan(connection)
        return await job(self._planned)

    async def _plan(self, connection: Any) -> Planned[V]:
        plan = await plan_of(
            connection, self._table, key=self._key.columns, columns=self._columns, version=self._version
        )
        columns = [(column.name, column.base, column.category) for column in plan.columns]
        codecs = await codecs_of(connection, [base for _, base, _ in columns])
        return Planned(plan=plan, key=self._key, codecs=codecs, reading=Reading(self._shape, columns, codecs))
