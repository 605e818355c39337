"""What a table looks like: read from PostgreSQL's catalog, turned into a plan. Knows no values."""

from collections.abc import Sequence
from typing import Any

from acache.errors import ConfigurationError
from acache_postgres._sql import Column, Plan, side_of

_TABLES = """
SELECT c.oid::int8, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
  c.relname::text = $1 AND pg_table_is_visible(c.oid) AS visible
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = ANY('{r,p,v,m,f}')
  AND (c.relname::text = $1 AND pg_table_is_visible(c.oid) OR n.nspname || '.' || c.relname = $1)
ORDER BY 2, 3
"""
_ALL = """
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE n.nspname || '.' END || c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = ANY('{r,p,v,m,f}') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1 LIMIT 50
"""
_COLUMNS = """
SELECT a.attname::text AS name, quote_ident(n.nspname) || '.' || quote_ident(t.typname) AS type,
  coalesce(b.typname, t.typname)::text AS base, t.typcategory::text AS category,
  t.typarray <> 0 AS listed,
  a.attgenerated <> '' OR a.attidentity = 'a' AS generated,
  NOT coalesce(c.collisdeterministic, true) AS collated
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = $1::int8 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_MORE = """
SELECT
  EXISTS (
    SELECT FROM pg_index i WHERE indrelid = $1::int8 AND indisunique AND indisvalid AND indimmediate
      AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = cardinality($2::text[])
      AND NOT EXISTS (
        SELECT FROM unnest(indkey) WITH ORDINALITY AS k(number, place)
        JOIN pg_attribute a ON attrelid = indrelid AND attnum = number
        WHERE place <= indnkeyatts AND attname <> ALL ($2::text[])
      )
  ) AS unique,
  EXISTS (
    SELECT FROM pg_trigger WHERE tgrelid = $1::int8 AND NOT tgisinternal AND tgenabled <> 'D'
      AND tgtype & 66 = 0 AND tgtype & 20 <> 0 AND NOT starts_with(tgname::text, 'acache_')
  ) AS rewritten,
  EXISTS (
    SELECT FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $3 AND relname = $4
  ) AS tombstones
"""


async def table_named(connection: Any, table: str) -> tuple[int, str, str, str]:
    """Return oid, schema, name and kind of *table*: a name on the search path, or `schema.name`.

    Raises `ConfigurationError` naming the tables there are, or the two that it could mean."""
    found = await connection.fetch(_TABLES, table)
    if len(found) > 1:
        places = ", ".join(f"{row['name']!r} in schema {row['schema']!r}" for row in found)
        msg = f"table={table!r} could be {places}: rename one, or set the search_path"
        raise ConfigurationError(msg)
    if not found:
        tables = ", ".join(repr(row["name"]) for row in await connection.fetch(_ALL)) or "none"
        msg = f"there is no table {table!r}; there are: {tables}"
        raise ConfigurationError(msg)
    [row] = found
    return row["oid"], row["schema"], row["name"], row["kind"]


async def columns_of(connection: Any, oid: int) -> dict[str, Column]:
    """Return the columns of a table in their order."""
    return {row["name"]: Column(**dict(row)) for row in await connection.fetch(_COLUMNS, oid)}


async def plan_of(
    connection: Any,
    table: str,
    *,
    key: Sequence[str],
    columns: Sequence[str] | None,
    version: str | None,
) -> Plan:
    """Return the plan for *table*; *columns* None: all there are.

    Raises `ConfigurationError` naming the table or column that is missing, and those that exist."""
    oid, schema, name, _ = await table_named(connection, table)
    found = await columns_of(connection, oid)
    wanted = tuple(columns) if columns is not None else tuple(found)
    chosen = checked(table, found, (*key, *wanted, *([version] if version else ())))
    for column in chosen[: len(key)]:
        if not column.unnests:
            msg = f"key={column.name!r} of table {table!r} is of type {column.type}, which cannot be listed"
            raise ConfigurationError(msg)
    more = await connection.fetchrow(_MORE, oid, list(key), schema, side_of(name))
    return Plan(
        oid=oid,
        schema=schema,
        table=name,
        key=chosen[: len(key)],
        columns=chosen[len(key) : len(key) + len(wanted)],
        version=chosen[-1] if version else None,
        unique=more["unique"],
        rewritten=more["rewritten"],
        tombstones=more["tombstones"],
    )


def checked(table: str, found: dict[str, Column], names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of these *names*; `ConfigurationError` names one that is missing."""
    missing = [name for name in names if name not in found]
    if missing:
        msg = f"table {table!r} has no column {missing[0]!r}; it has: {', '.join(map(repr, found))}"
        raise ConfigurationError(msg)
    return tuple(found[name] for name in names)
