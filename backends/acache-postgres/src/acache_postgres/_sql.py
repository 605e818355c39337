"""The statements of a table. Pure: names in, SQL text out; values are only ever bound."""

# ruff: noqa: S608 - names cannot be bound: they are quoted

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from acache.errors import ConfigurationError


def quoted(name: str) -> str:
    """Return *name* as an identifier, whatever is in it. Refuses what PostgreSQL cannot name."""
    if not name or "\0" in name:
        msg = f"{name!r} cannot name a table or column"
        raise ConfigurationError(msg)
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column as the catalog has it."""

    name: str
    type: str  # quoted, with its schema
    base: str  # the name of the type, or of the one that a domain is made of
    category: str  # PostgreSQL's: "A" for arrays, "S" for text, "E" for enums, "C" for rows ...
    listed: bool = True  # whether there is an array type of it
    generated: bool = False  # by the database, and never written
    collated: bool = False  # compared by other rules than equality of texts

    @property
    def plain(self) -> bool:
        """Whether its values are equal in Python exactly where they are to the database."""
        return self.base in {"int2", "int4", "int8", "text", "varchar"} and not self.collated

    def decides(self, part: object) -> bool:
        """Whether what is equal to *part* here is the same as it, in type and text."""
        return self.plain or (self.base == "uuid" and isinstance(part, UUID))

    @property
    def unnests(self) -> bool:
        """Whether many values can be sent as one array: of arrays or rows it would fall apart."""
        return self.listed and self.category not in {"A", "C"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to read and write of a table that was looked up."""

    oid: int
    schema: str
    table: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]  # what makes a row
    version: Column | None = None
    unique: bool = False  # whether the key is, which an upsert needs
    rewritten: bool = False  # by triggers after the row was written, which RETURNING does not show
    tombstones: bool = False  # whether the side table is there

    @property
    def name(self) -> str:
        """The table as a statement names it."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    def decides(self, key: Sequence[object]) -> bool:
        """Whether a row whose key is equal to *key* here has the same key, in type and text."""
        return all(column.decides(part) for column, part in zip(self.key, key, strict=True))

    @property
    def side(self) -> str:
        """The side table that keeps the versions of removed rows."""
        return f"{quoted(self.schema)}.{quoted(side_of(self.table))}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the key's columns."""
        return tuple(column.name for column in self.key)


def side_of(table: str) -> str:
    """Return the name of the side table of *table*: never longer than PostgreSQL's 63 bytes."""
    head, tail = table, "__acache_tombstones"
    while len((head + tail).encode()) > _LONGEST:
        head = head[:-1]
    return head + tail


_LONGEST = 63


def tombstone_columns(plan: Plan) -> tuple[str, str]:
    """Return the names of the side table's version and time, made unlike the key's columns."""
    version, removed = "version", "removed_at"
    while version in plan.keys:
        version = "_" + version
    while removed in plan.keys:
        removed = "_" + removed
    return version, removed


def arrays(columns: Sequence[Column], *, first: int = 1) -> str:
    """Return parameters that are arrays of the columns' types: `$1::int8[],$2::text[]`."""
    return ",".join(f"${number}::{column.type}[]" for number, column in enumerate(columns, first))


def wanted(key: Sequence[Column], *more: str) -> str:
    """Return a table of the keys in the parameters: `w`, with `k0`, `k1` ..., *more* and `i` from 1."""
    extra = "".join(f",${number}::{kind}[]" for number, kind in enumerate(more, len(key) + 1))
    names = ",".join([*(f"k{n}" for n in range(len(key))), *(f"m{n}" for n in range(len(more))), "i"])
    return f"unnest({arrays(key)}{extra}) WITH ORDINALITY AS w({names})"


def matching(key: Sequence[Column], table: str = "t") -> str:
    """Return the condition that a row of *table* has the key of `w`."""
    return " AND ".join(f"{table}.{quoted(column.name)}=w.k{n}" for n, column in enumerate(key))


def listed(columns: Sequence[Column], table: str = "t") -> str:
    """Return the columns as a statement reads them."""
    return "".join(f",{table}.{quoted(column.name)}" for column in columns)


def select_plain(plan: Plan) -> str:
    """Read the rows of a list of keys of one plain column, each row led by its key."""
    [key] = plan.key
    name = quoted(key.name)
    return f"SELECT t.{name}{listed(plan.columns)} FROM {plan.name} t WHERE t.{name}=ANY($1::{key.type}[])"


def select(plan: Plan, columns: Sequence[Column]) -> str:
    """Read rows of any keys, each led by its key's number from 1 and the key that it has."""
    shown = listed([*plan.key, *columns])
    return f"SELECT w.i{shown} FROM {wanted(plan.key)} JOIN {plan.name} t ON {matching(plan.key)}"


def askable(plan: Plan) -> str:
    """Ask nothing but whether the keys can be ones."""
    return f"SELECT count(*) FROM {wanted(plan.key)}"


def upsert(plan: Plan, columns: Sequence[Column], *, many: bool, guarded: bool) -> str:
    """Insert rows of *columns* or update those with their key, and return what came of them.

    *many*: the parameters are arrays, else values. *guarded*: only where the version is lower and
    no tombstone is as high."""
    names = ",".join(quoted(column.name) for column in columns)
    source = f"unnest({arrays(columns)}) AS v({names})"
    if not many:
        values = ",".join(f"${n}::{column.type}" for n, column in enumerate(columns, 1))
        source = f"(VALUES ({values})) AS v({names})"
    if guarded and plan.tombstones:
        same = " AND ".join(f"s.{quoted(name)}=v.{quoted(name)}" for name in plan.keys)
        grave = quoted(tombstone_columns(plan)[0])
        source += (
            f" WHERE NOT EXISTS (SELECT FROM {plan.side} s WHERE {same} AND s.{grave}>=v.{_version(plan)})"
        )
    sets = ",".join(
        f"{quoted(column.name)}=excluded.{quoted(column.name)}"
        for column in columns
        if column.name not in plan.keys
    )
    # Without anything to set a row is still touched, or it would not be returned.
    sets = sets or f"{quoted(plan.keys[0])}=t.{quoted(plan.keys[0])}"
    key = ",".join(map(quoted, plan.keys))
    text = (
        f"INSERT INTO {plan.name} AS t ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {source} "
        f"ON CONFLICT ({key}) DO UPDATE SET {sets}"
    )
    if guarded:
        version = _version(plan)
        text += f" WHERE t.{version} IS NULL OR t.{version}<excluded.{version}"
    return f"{text} RETURNING {listed([*plan.key, *plan.columns])[1:]}"


def delete(plan: Plan, *, guarded: bool) -> str:
    """Delete the rows of the keys, locked in the order of the keys; return the versions they had.

    *guarded*: a further parameter has a version per key, and only rows no higher than that go."""
    given = wanted(plan.key, *(["int8"] if guarded else []))
    inner = ",".join(f"t.{quoted(name)} AS k{n}" for n, name in enumerate(plan.keys))
    higher = f" AND (t.{_version(plan)} IS NULL OR t.{_version(plan)}<=w.m0)" if guarded else ""
    version = f",t.{_version(plan)}" if plan.version is not None else ""
    return (
        f"DELETE FROM {plan.name} t USING (SELECT w.i AS i,{inner}{',w.m0' if guarded else ''} FROM {given} "
        f"JOIN {plan.name} t ON {matching(plan.key)} ORDER BY w.i FOR UPDATE OF t) w "
        f"WHERE {matching(plan.key)}{higher} RETURNING w.i{version}"
    )


def create_tombstones(plan: Plan) -> tuple[str, str, str]:
    """Make the side table, its key compared like the table's own, and the index for pruning."""
    version, removed = map(quoted, tombstone_columns(plan))
    key = ",".join(map(quoted, plan.keys))
    # A copy of the columns keeps their types and collations; nothing else of the table comes along.
    table = (
        f"CREATE TABLE {plan.side} AS SELECT {key},0::int8 AS {version},now() AS {removed} "
        f"FROM {plan.name} WITH NO DATA"
    )
    shape = (
        f"ALTER TABLE {plan.side} ADD PRIMARY KEY ({key}), ALTER {version} SET NOT NULL, "
        f"ALTER {removed} SET NOT NULL"
    )
    return table, shape, f"CREATE INDEX ON {plan.side} ({removed})"


def bury(plan: Plan) -> str:
    """Keep the versions of removed rows, unless higher ones are kept already.

    Parameters: the keys, the versions, the time in seconds since the epoch."""
    version, removed = map(quoted, tombstone_columns(plan))
    key = ",".join(map(quoted, plan.keys))
    given = ",".join(f"w.k{n}" for n in range(len(plan.key)))
    return (
        f"INSERT INTO {plan.side} AS t ({key},{version},{removed}) "
        f"SELECT {given},w.m0,to_timestamp(${len(plan.key) + 2}::float8) FROM {wanted(plan.key, 'int8')} "
        f"ON CONFLICT ({key}) DO UPDATE SET {version}=excluded.{version},{removed}=excluded.{removed} "
        f"WHERE t.{version}<excluded.{version}"
    )


def prune(plan: Plan) -> str:
    """Forget the tombstones that are older than a moment, in seconds since the epoch."""
    return f"DELETE FROM {plan.side} WHERE {quoted(tombstone_columns(plan)[1])}<to_timestamp($1::float8)"


def _version(plan: Plan) -> str:
    assert plan.version is not None  # noqa: S101 - guarded statements are made of guarded tables only
    return quoted(plan.version.name)
