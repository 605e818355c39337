"""The triggers that tell of changes. Pure: a table's columns in, SQL text out.

One trigger for each kind of statement, not for each row: it sees all rows that the statement
changed, names each once and packs many into a message. Two limits keep it from ever failing the
statement that it watches, and from flooding: a message has far less than the
8,000 bytes that a payload may have, and beyond
`MOST` rows, or with a longer name than `LONGEST`, it says only that the table changed."""

# ruff: noqa: S608 - names cannot be bound: they are quoted

from dataclasses import dataclass
from hashlib import sha256

from acache_postgres._sql import Column, quoted
from acache_postgres._watched import WHOLE

PAGE = 2_000
"""Bytes of a message after which another one begins: a millisecond or two of its reader's time."""
LONGEST = 1_500
MOST = 10_000

EVENTS = ("insert", "update", "delete", "truncate")
INSTALLING = 0x61636374
"""Our advisory lock around installing ("acct"), so that processes which start together take turns."""

_AS_THEY_ARE = frozenset(
    {"int2", "int4", "int8", "float4", "float8", "bool", "text", "varchar", "name", "uuid"}
    | {"date", "time", "timestamp", "timestamptz"}
)
_FORMAT = 1  # raised when the messages change, so that processes of two versions each get their own

MISSING = """
SELECT n.nspname::text AS schema, c.relname::text AS name, event
FROM (SELECT $1::int8::oid UNION SELECT relid FROM pg_partition_tree($1::int8::oid)) AS t(oid)
LEFT JOIN pg_class c ON c.oid = t.oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest($3::text[]) AS event
WHERE NOT EXISTS (
  SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgname = $2 || '_' || event AND tgenabled <> 'D'
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """The triggers of one table for one set of columns."""

    schema: str
    table: str
    columns: tuple[Column, ...]

    @property
    def channel(self) -> str:
        """The channel that they notify; the function and the triggers are named after it."""
        parts = (str(_FORMAT), self.schema, self.table, *(f"{c.name}\0{c.base}" for c in self.columns))
        return "acache_" + sha256("\0".join(parts).encode()).hexdigest()[:24]

    @property
    def function(self) -> str:
        """The function that they call, in the table's schema."""
        return f"{quoted(self.schema)}.{quoted(self.channel)}()"

    def create_function(self) -> str:
        """Make the function. It finds its own way to what it calls, whatever the writer's path is."""
        old, new = (self._items(f"acache_{which}") for which in ("old", "new"))
        cases = {"INSERT": new, "UPDATE": f"{old} UNION ALL {new}", "DELETE": old}
        branches = " ".join(
            f"WHEN '{event}' THEN PERFORM pg_notify('{self.channel}', page) FROM ({_pages(items)}) AS pages;"
            for event, items in cases.items()
        )
        return (
            f"CREATE OR REPLACE FUNCTION {self.function} RETURNS trigger LANGUAGE plpgsql "
            "SET search_path = pg_catalog, pg_temp AS $acache$ BEGIN CASE TG_OP "
            f"{branches} ELSE PERFORM pg_notify('{self.channel}', '{WHOLE}'); END CASE; "
            "RETURN NULL; END $acache$"
        )

    def create_trigger(self, schema: str, table: str, event: str) -> tuple[str, str]:
        """Make the trigger of one kind of statement on the table or one of its partitions."""
        tables = {
            "insert": "REFERENCING NEW TABLE AS acache_new",
            "update": "REFERENCING OLD TABLE AS acache_old NEW TABLE AS acache_new",
            "delete": "REFERENCING OLD TABLE AS acache_old",
        }
        name, target = quoted(f"{self.channel}_{event}"), f"{quoted(schema)}.{quoted(table)}"
        return (
            f"DROP TRIGGER IF EXISTS {name} ON {target}",
            (
                f"CREATE TRIGGER {name} AFTER {event} ON {target} {tables.get(event, '')} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {self.function}"
            ),
        )

    def drop(self) -> str:
        """Drop the function, and the triggers with it."""
        return f"DROP FUNCTION IF EXISTS {self.function} CASCADE"

    def _items(self, rows: str) -> str:
        values = ",".join(_expression(column) for column in self.columns)
        return f'SELECT jsonb_build_array({values})::text COLLATE "C" AS item FROM {rows}'


def _expression(column: Column) -> str:
    """Return a column's value such that JSON keeps it and `value_of` can read it."""
    if column.base == "bytea":
        return f"encode({quoted(column.name)},'hex')"
    return quoted(column.name) + ("" if column.base in _AS_THEY_ARE else "::text")


def _pages(items: str) -> str:
    """Return the messages for *items*, a query of one text column: pages of distinct items."""
    return (
        f"WITH items AS (SELECT DISTINCT item FROM ({items}) AS every LIMIT {MOST + 1}), "
        f"many AS (SELECT count(*)>{MOST} OR max(octet_length(item))>{LONGEST} AS too FROM items) "
        f"SELECT '{WHOLE}' AS page FROM many WHERE too UNION ALL "
        "SELECT '['||string_agg(item,',')||']' FROM (SELECT item,"
        f"(sum(octet_length(item)+1) OVER (ORDER BY item)-1)/{PAGE} AS number FROM items) AS numbered "
        "WHERE NOT (SELECT too FROM many) GROUP BY number"
    )
