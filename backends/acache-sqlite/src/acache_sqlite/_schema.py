"""What a table looks like now: read from SQLite, turned into a plan. Knows nothing of values."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from acache.errors import ConfigurationError
from acache_sqlite._sql import Column, Plan

_COLUMNS = "SELECT name, pk, hidden, type FROM pragma_table_xinfo(?)"
_INDEXES = 'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial'
_INDEXED = "SELECT name FROM pragma_index_xinfo(?) WHERE key"
_TABLES = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name"
_HIDDEN = 1  # of a virtual table
_GENERATED = frozenset({2, 3})


def schema_version(cursor: sqlite3.Cursor) -> int:
    """Return the number that SQLite raises at every change of the schema."""
    (version,) = cursor.execute("PRAGMA schema_version").fetchone()
    return int(version)


def plan_of(
    cursor: sqlite3.Cursor,
    table: str,
    *,
    key: Sequence[str],
    columns: Sequence[str] | None,
    version: str | None,
) -> Plan:
    """Return the plan for *table*; *columns* None: all there are.

    Raises `ConfigurationError` naming the table or column that is missing, and those that exist."""
    found = {
        str(name): Column(name=str(name), generated=hidden in _GENERATED, kind=str(kind or ""))
        for name, _, hidden, kind in cursor.execute(_COLUMNS, (table,))
        if hidden != _HIDDEN
    }
    if not found:
        tables = ", ".join(repr(name) for (name,) in cursor.execute(_TABLES)) or "none"
        msg = f"there is no table {table!r}; there are: {tables}"
        raise ConfigurationError(msg)
    wanted = tuple(columns) if columns is not None else tuple(found)
    missing = [name for name in (*key, *wanted, *([version] if version else [])) if name not in found]
    if missing:
        msg = f"table {table!r} has no column {missing[0]!r}; it has: {', '.join(map(repr, found))}"
        raise ConfigurationError(msg)
    plan = Plan(
        table=table,
        key=tuple(found[name] for name in key),
        keys=tuple(key),
        columns=wanted,
        known=frozenset((*wanted, *key)),
        writable=frozenset(name for name, column in found.items() if not column.generated),
        unique=_unique(cursor, table, key),
        version=version,
    )
    side = cursor.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (plan.side,)).fetchone()
    return replace(plan, tombstones=side is not None)


def _unique(cursor: sqlite3.Cursor, table: str, key: Sequence[str]) -> bool:
    """Return whether there is one row for a key."""
    for (index,) in cursor.execute(_INDEXES, (table,)).fetchall():
        if {str(name) for (name,) in cursor.execute(_INDEXED, (index,))} == set(key):
            return True
    # The row id needs no index.
    return [name for name, rank, *_ in cursor.execute(_COLUMNS, (table,)) if rank] == list(key)
