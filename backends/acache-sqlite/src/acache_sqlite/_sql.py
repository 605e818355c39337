"""The statements of a table. Pure: names in, SQL text out; values are only ever bound.

Every name is quoted and, in a query, qualified: SQLite takes an unqualified quoted name that it
does not find for a string."""

# ruff: noqa: S608 - names cannot be bound: they are quoted

from collections.abc import Sequence
from dataclasses import dataclass

from acache.errors import ConfigurationError


def quoted(name: str) -> str:
    """Return *name* as an identifier, whatever is in it. Refuses what SQLite cannot name."""
    if not name or "\0" in name:
        msg = f"{name!r} cannot name a table or column"
        raise ConfigurationError(msg)
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column as the schema has it."""

    name: str
    generated: bool = False
    kind: str = ""  # as it was declared

    def keeps(self, value: object) -> bool:
        """Whether a number of this type stays of this type: integers are REAL ones in such a column."""
        declared = self.kind.upper()
        integral = "INT" in declared
        if isinstance(value, int):
            real = any(word in declared for word in ("REAL", "FLOA", "DOUB"))
            return integral or not real
        whole = isinstance(value, float) and value.is_integer()
        return not (whole and (integral or any(word in declared for word in ("NUM", "DEC"))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to read and write of a table whose schema was looked at."""

    table: str
    key: tuple[Column, ...]
    keys: tuple[str, ...]  # the names of the key's columns
    columns: tuple[str, ...]  # what makes a row
    known: frozenset[str]  # what a value may name: those and the key's
    writable: frozenset[str]
    unique: bool  # whether the key is, which an upsert needs
    version: str | None = None
    tombstones: bool = False  # whether the side table is there

    def keeps(self, key: Sequence[object]) -> bool:
        """Whether numbers in *key* are stored as what they are."""
        return all(column.keeps(part) for column, part in zip(self.key, key, strict=True))

    @property
    def side(self) -> str:
        """The name of the side table that keeps the versions of removed rows."""
        return f"{self.table}__acache_tombstones"


def select(table: str, keys: Sequence[str], columns: Sequence[str], count: int) -> str:
    """Read *columns* of *count* keys, each row led by the number of its key and the key itself.

    The number says which key a row may answer: what is exactly that key is told afterwards. The
    cross join makes the keys the outer loop: one index search each."""
    parameters = ",?" * len(keys)
    wanted = ",".join(f"({number}{parameters})" for number in range(count))
    names = ",".join(f"k{number}" for number in range(len(keys)))
    chosen = ",".join(f"t.{quoted(name)}" for name in (*keys, *columns))
    match = " AND ".join(f"t.{quoted(name)}=w.k{number}" for number, name in enumerate(keys))
    return (
        f"WITH w(i,{names}) AS (VALUES {wanted}) "
        f"SELECT w.i,{chosen} FROM w CROSS JOIN {quoted(table)} AS t ON {match}"
    )


def upsert(plan: Plan, columns: Sequence[str], *, guarded: bool) -> str:
    """Insert a row of *columns* or update the one with its key; *guarded*: only a lower version."""
    names = ",".join(map(quoted, columns))
    values = ",".join("?" * len(columns))
    key = ",".join(map(quoted, plan.keys))
    sets = ",".join(f"{quoted(name)}=excluded.{quoted(name)}" for name in columns if name not in plan.keys)
    text = f"INSERT INTO {quoted(plan.table)} AS t ({names}) VALUES ({values}) ON CONFLICT ({key}) DO "
    if not sets:
        return text + "NOTHING"
    text += f"UPDATE SET {sets}"
    if guarded and plan.version is not None:
        version = quoted(plan.version)
        text += f" WHERE t.{version} IS NULL OR t.{version}<excluded.{version}"
    return text


def delete(table: str, keys: Sequence[str]) -> str:
    """Delete the row of a key."""
    return f"DELETE FROM {quoted(table)} WHERE " + " AND ".join(f"{quoted(name)}=?" for name in keys)


def create_tombstones(plan: Plan) -> tuple[str, str]:
    """Make the side table and the index that prunes it.

    Its key has neither types nor collations: they would make one of '1' and 1, of 'Ann' and 'ann'."""
    columns = ",".join(f"{quoted(column.name)} NOT NULL" for column in plan.key)
    key = ",".join(map(quoted, plan.keys))
    version, removed = map(quoted, tombstone_columns(plan))
    table = (
        f"CREATE TABLE {quoted(plan.side)} ({columns},{version} INTEGER NOT NULL,"
        f"{removed} REAL NOT NULL,PRIMARY KEY ({key})) WITHOUT ROWID"
    )
    return table, f"CREATE INDEX {quoted(plan.side + '_age')} ON {quoted(plan.side)} ({removed})"


def tombstone_columns(plan: Plan) -> tuple[str, str]:
    """Return the names of the side table's version and time, made unlike the key's columns."""
    taken = {name.lower() for name in plan.keys}
    version, removed = "version", "removed_at"
    while version in taken:
        version = "_" + version
    while removed in taken:
        removed = "_" + removed
    return version, removed


def bury(plan: Plan) -> str:
    """Keep the version of a removed row, unless a higher one is kept already."""
    version, removed = map(quoted, tombstone_columns(plan))
    key = ",".join(map(quoted, plan.keys))
    values = ",".join("?" * (len(plan.keys) + 2))
    return (
        f"INSERT INTO {quoted(plan.side)} AS t ({key},{version},{removed}) VALUES ({values}) "
        f"ON CONFLICT ({key}) DO UPDATE SET {version}=excluded.{version},{removed}=excluded.{removed} "
        f"WHERE t.{version}<excluded.{version}"
    )


def prune(plan: Plan) -> str:
    """Forget the tombstones that are older than a moment."""
    return f"DELETE FROM {quoted(plan.side)} WHERE {quoted(tombstone_columns(plan)[1])}<?"
