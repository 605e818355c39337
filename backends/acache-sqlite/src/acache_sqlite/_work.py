"""What a table does on its connection's thread: one function from begin to commit.

Synchronous and without a clock; knows nothing of event loops. Every method takes the connection."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved
from acache_sqlite import _sql
from acache_sqlite._cursor import Row, compiles, cursor_of, fails, read, transaction
from acache_sqlite._errors import Unfit, is_data
from acache_sqlite._keys import BoundKey, KeyShape, in_order, order
from acache_sqlite._rows import Bindable, Shape
from acache_sqlite._schema import plan_of, schema_version
from acache_sqlite._sql import Plan

K = TypeVar("K")
V = TypeVar("V")

Columns = dict[str, Bindable]


class TableWork(Generic[K, V]):
    """The batches of one table. Owned by one source; used on one thread at a time."""

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
        self._planned: tuple[int, Plan] | None = None

    def load(self, connection: sqlite3.Connection, keys: Mapping[K, BoundKey]) -> dict[K, V]:
        """Return the values of those of *keys* that exist."""
        cursor = cursor_of(connection)
        plan = self._plan(cursor)
        rows = read(cursor, plan.table, self._key, plan.columns, keys)
        return values_of(self._shape, plan.columns, rows)

    def save(
        self,
        connection: sqlite3.Connection,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> Saved[K, V]:
        """Upsert *items* in one transaction; return the rows that differ and the keys refused."""
        with transaction(connection) as cursor:
            plan = self._plan(cursor)
            if not plan.unique:
                msg = (
                    f"key={list(plan.keys)}: save needs it to be the PRIMARY KEY or UNIQUE in {plan.table!r}"
                )
                raise ConfigurationError(msg)
            guard = versions if self._version is not None else None
            late = (
                _outlived(cursor, plan, self._key, keys, guard)
                if guard and plan.tombstones
                else frozenset[K]()
            )
            rows = self._rows(plan, items, keys, guard)
            admitted = {key: row for key, row in rows.items() if key not in late}
            self._upsert(cursor, plan, admitted, keys, guarded=guard is not None)
            return self._outcome(cursor, plan, items, {key: keys[key] for key in admitted}, guard, late)

    def remove(
        self,
        connection: sqlite3.Connection,
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
        *,
        now: float,
        keep: float,
    ) -> Saved[K, V]:
        """Delete *keys* in one transaction; *keep*: how many seconds a tombstone stands."""
        with transaction(connection) as cursor:
            plan = self._plan(cursor)
            column = (plan.version,) if plan.version is not None else ()
            others: list[K] = []
            held = read(cursor, plan.table, self._key, column, keys, others)
            keys = {key: bound for key, bound in keys.items() if key not in others and plan.keeps(bound)}
            if plan.version is None:
                cursor.executemany(_sql.delete(plan.table, plan.keys), [keys[key] for key in held])
                return Saved()
            stored = {key: _version(row[0]) for key, row in held.items()}
            refused = {
                key for key in keys if versions is not None and _is_newer(stored.get(key), versions[key])
            }
            gone = [key for key in stored if key not in refused]
            cursor.executemany(_sql.delete(plan.table, plan.keys), [keys[key] for key in gone])
            # Without a version of its own a removal outlives what it removed.
            graves = {
                key: stored.get(key) if versions is None else versions[key]
                for key in keys
                if key not in refused
            }
            self._entomb(
                cursor, plan, {keys[key]: v for key, v in graves.items() if v is not None}, now, keep
            )
            return Saved(refused=tuple(key for key in keys if key in refused))

    def _plan(self, cursor: sqlite3.Cursor) -> Plan:
        version = schema_version(cursor)
        if self._planned is None or self._planned[0] != version:
            plan = plan_of(
                cursor, self._table, key=self._key.columns, columns=self._columns, version=self._version
            )
            self._planned = version, plan
        return self._planned[1]

    def _rows(
        self,
        plan: Plan,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> dict[K, Columns]:
        """Return what to write of each item, sorted by key; `SourceRefused` names those that cannot be."""
        rows: dict[K, Columns] = {}
        unfit: dict[K, Unfit] = {}
        for key in in_order(keys):
            try:
                row = _row(plan, self._shape.write(items[key]), keys[key])
            except Unfit as error:
                unfit[key] = error
                continue
            if versions is not None and plan.version is not None:
                row[plan.version] = versions[key]
            rows[key] = row
        if unfit:
            msg = f"table {plan.table!r} refused {len(unfit)} of the rows: {next(iter(unfit.values()))}"
            raise SourceRefused(msg, keys=tuple(unfit))
        return rows

    def _upsert(
        self,
        cursor: sqlite3.Cursor,
        plan: Plan,
        rows: Mapping[K, Columns],
        keys: Mapping[K, BoundKey],
        *,
        guarded: bool,
    ) -> None:
        statements: dict[tuple[str, ...], list[K]] = {}
        for key, row in rows.items():
            statements.setdefault(tuple(row), []).append(key)
        for columns, group in statements.items():
            text = _sql.upsert(plan, columns, guarded=guarded)
            many = [tuple(rows[key].values()) for key in group]
            try:
                cursor.executemany(text, many)
            except (sqlite3.Error, ValueError, OverflowError) as error:
                bad = [key for key, row in zip(group, many, strict=True) if fails(cursor, text, row)]
                if not bad or not (is_data(error) or compiles(cursor, text, many[0])):
                    raise
                msg = f"table {plan.table!r} refused {len(bad)} of the rows: {error}"
                raise SourceRefused(msg, keys=bad) from error
        if guarded and plan.tombstones:
            cursor.executemany(_sql.delete(plan.side, plan.keys), [keys[key] for key in rows])

    def _outcome(
        self,
        cursor: sqlite3.Cursor,
        plan: Plan,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
        late: frozenset[K],
    ) -> Saved[K, V]:
        """Read back what was written: RETURNING would not show what triggers changed afterwards."""
        extra = (plan.version,) if versions is not None and plan.version is not None else ()
        confused: list[K] = []
        held = read(cursor, plan.table, self._key, (*plan.columns, *extra), keys, confused)
        if confused:
            msg = f"table {plan.table!r} has {len(confused)} of the keys as another type or text"
            raise SourceRefused(msg, keys=confused)
        refused = set(late)
        if versions is not None:
            refused |= {key for key, row in held.items() if _is_newer(row[-1], versions[key])}
            held = {key: row[:-1] for key, row in held.items() if key not in refused}
        rows = {
            key: value
            for key, value in values_of(self._shape, plan.columns, held).items()
            if not self._shape.same(value, items[key])
        }
        return Saved(rows=rows, refused=tuple(key for key in items if key in refused))

    def _entomb(
        self,
        cursor: sqlite3.Cursor,
        plan: Plan,
        graves: Mapping[BoundKey, int],
        now: float,
        keep: float,
    ) -> None:
        if not graves:
            return
        if not plan.tombstones:
            for statement in _sql.create_tombstones(plan):
                cursor.execute(statement)
        rows = [(*key, graves[key], now) for key in sorted(graves, key=order)]
        cursor.executemany(_sql.bury(plan), rows)
        cursor.execute(_sql.prune(plan), (now - keep,))


def values_of(shape: Shape[V], columns: Sequence[str], rows: Mapping[K, Row]) -> dict[K, V]:
    """Return *rows* as values; `SourceRefused` names those that do not fit the type."""
    values: dict[K, V] = {}
    unfit: dict[K, Unfit] = {}
    for key, row in rows.items():
        try:
            values[key] = shape.read(columns, row)
        except Unfit as error:
            unfit[key] = error
    if unfit:
        raise SourceRefused(str(next(iter(unfit.values()))), keys=tuple(unfit))
    return values


def _outlived(
    cursor: sqlite3.Cursor,
    plan: Plan,
    shape: KeyShape[K],
    keys: Mapping[K, BoundKey],
    versions: Mapping[K, int],
) -> frozenset[K]:
    """Return the keys that were removed by a later write than this one."""
    version, _ = _sql.tombstone_columns(plan)
    graves = read(cursor, plan.side, shape, (version,), keys)
    return frozenset(key for key, row in graves.items() if not _is_newer(versions[key], row[0]))


def _row(plan: Plan, columns: Columns, key: BoundKey) -> Columns:
    """Return what to write of one item: its columns that can be written, led by its key."""
    if not columns.keys() <= plan.known:
        msg = f"it names a column that is not among {', '.join(map(repr, plan.columns))}"
        raise Unfit(msg)
    row: Columns = {}
    for name, part in zip(plan.keys, key, strict=True):
        if part is None or columns.get(name, part) not in (part, None):
            msg = f"column {name!r} of the key is NULL or differs between the key and its value"
            raise Unfit(msg)
        row[name] = part
    row |= columns
    row |= zip(plan.keys, key, strict=True)
    if not row.keys() <= plan.writable:
        row = {name: value for name, value in row.items() if name in plan.writable}
    return row


def _is_newer(version: object, other: object) -> bool:
    """Return whether *version* is above *other*; no version is below any."""
    left, right = _version(version), _version(other)
    return left is not None and (right is None or left > right)


def _version(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None
