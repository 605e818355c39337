"""What hand-written SQL does on its connection's thread: one function from begin to commit.

Synchronous; knows nothing of event loops. Every method takes the connection."""

import sqlite3
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved
from acache_sqlite._cursor import Row, cursor_of, transaction
from acache_sqlite._errors import Unfit, is_data
from acache_sqlite._keys import BoundKey, KeyShape, in_order, loosely
from acache_sqlite._rows import Bindable, Shape
from acache_sqlite._work import values_of

K = TypeVar("K")
V = TypeVar("V")


class QueryWork(Generic[K, V]):
    """The batches of one set of statements."""

    def __init__(self, load: str, *, key: KeyShape[K], shape: Shape[V]) -> None:
        self._load = load
        self._key = key
        self._shape = shape

    def load(self, connection: sqlite3.Connection, keys: Mapping[K, BoundKey]) -> dict[K, V]:
        """Return the values of those of *keys* that the query finds."""
        return self._found(cursor_of(connection), keys)

    def save(
        self,
        connection: sqlite3.Connection,
        statement: str,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> Saved[K, V]:
        """Run *statement* for each item; return the rows that differ and the keys that changed nothing."""
        rows = self._rows(items, keys, versions)
        with transaction(connection) as cursor:
            changed = {key: _changes(cursor, statement, row, key) for key, row in rows.items()}
            refused = [key for key in items if versions is not None and not changed[key]]
            confused: list[K] = []
            asked = {key: keys[key] for key in keys if versions is None or changed[key]}
            held = self._found(cursor, asked, confused)
            if wrong := [key for key in confused if key not in held]:
                msg = f"{len(wrong)} of the keys are found as another type or text"
                raise SourceRefused(msg, keys=wrong)
            differing = {key: v for key, v in held.items() if not self._shape.same(v, items[key])}
            return Saved(rows=differing, refused=tuple(refused))

    def remove(
        self,
        connection: sqlite3.Connection,
        statement: str,
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> Saved[K, V]:
        """Run *statement* for each key; refused are those that can still be loaded."""
        with transaction(connection) as cursor:
            others: list[K] = []
            held = self._found(cursor, keys, others)
            keys = {key: bound for key, bound in keys.items() if key in held or key not in others}
            for key in in_order(keys):
                _changes(cursor, statement, self._named(keys[key], key, versions), key)
            left = self._found(cursor, keys) if versions is not None else {}
            return Saved(refused=tuple(left))

    def _found(
        self, cursor: sqlite3.Cursor, keys: Mapping[K, BoundKey], confused: list[K] | None = None
    ) -> dict[K, V]:
        """Return the values of *keys*; *confused* collects those that have a row of a similar key."""
        asked: dict[object, list[K]] = {}
        for key, bound in keys.items():
            asked.setdefault(loosely(bound), []).append(key)
        cursor.execute(self._load, {"keys": self._as_json(keys)})
        names = [str(column[0]) for column in cursor.description or ()]
        columns = self._shape.columns if self._shape.columns is not None else tuple(names)
        missing = [name for name in (*self._key.columns, *columns) if name not in names]
        if missing:
            msg = f"load= returns no column {missing[0]!r}; it returns: {', '.join(map(repr, names))}"
            raise ConfigurationError(msg)
        key_at = [names.index(name) for name in self._key.columns]
        at = [names.index(name) for name in columns]
        rows: dict[K, Row] = {}
        for row in cursor:
            value = tuple(row[place] for place in at)
            own = tuple(row[place] for place in key_at)
            for key in asked.get(loosely(own), ()):
                if not self._key.answers(own, key):
                    if confused is not None:
                        confused.append(key)
                    continue
                # The same row twice is no contradiction: a join with 1 and '1' asked for does that.
                if rows.setdefault(key, value) != value:
                    msg = "load= returned several rows of one key"
                    raise SourceRefused(msg, keys=(key,))
        return values_of(self._shape, columns, rows)

    def _as_json(self, keys: Mapping[K, BoundKey]) -> str:
        binary = [key for key, bound in keys.items() if any(isinstance(part, bytes) for part in bound)]
        if binary:
            msg = f"{len(binary)} keys are bytes, which JSON cannot hold: use text, or SQLiteTable"
            raise SourceRefused(msg, keys=binary)
        plain = [bound if self._key.composite else bound[0] for bound in keys.values()]
        return msgspec.json.encode(plain).decode()

    def _rows(
        self, items: Mapping[K, V], keys: Mapping[K, BoundKey], versions: Mapping[K, int] | None
    ) -> dict[K, dict[str, Bindable]]:
        rows: dict[K, dict[str, Bindable]] = {}
        unfit: dict[K, Unfit] = {}
        for key in in_order(keys):
            try:
                rows[key] = self._shape.write(items[key]) | self._named(keys[key], key, versions)
            except Unfit as error:
                unfit[key] = error
        if unfit:
            msg = f"{len(unfit)} of the rows cannot be saved: {next(iter(unfit.values()))}"
            raise SourceRefused(msg, keys=tuple(unfit))
        return rows

    def _named(self, bound: BoundKey, key: K, versions: Mapping[K, int] | None) -> dict[str, Bindable]:
        version = versions[key] if versions is not None else None
        return dict(zip(self._key.columns, bound, strict=True)) | {"version": version}


def _changes(cursor: sqlite3.Cursor, statement: str, row: Mapping[str, Bindable], key: object) -> bool:
    """Run *statement*; return whether it changed a row. `SourceRefused` names *key* if its data failed."""
    try:
        # To its end: a statement with RETURNING has done only as much as was fetched.
        cursor.execute(statement, row).fetchall()
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        if not is_data(error):
            raise
        msg = f"the statement refused a row: {error}"
        raise SourceRefused(msg, keys=(key,)) from error
    return cursor.rowcount != 0
