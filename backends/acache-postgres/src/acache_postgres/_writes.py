"""How batches are written: statements inside a transaction, and what came of them.

Functions over a connection and a plan; nothing is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved
from acache_postgres import _sql
from acache_postgres._errors import Unfit
from acache_postgres._keys import BoundKey, columns_of, ordered
from acache_postgres._reading import Row
from acache_postgres._reads import Planned, parts, read
from acache_postgres._rows import Shape
from acache_postgres._settling import transaction
from acache_postgres._sql import Plan
from acache_postgres._values import taken, untouched

K = TypeVar("K")
V = TypeVar("V")

LOCKS = 0x61636163
"""The first number of our advisory locks ("acac"); the second is the table's."""

_upsert = lru_cache(64)(_sql.upsert)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[K, V]):
    """What to save: the rows in the order of their keys, and the items that they came from."""

    items: Mapping[K, V]
    keys: Mapping[K, BoundKey]
    rows: Mapping[K, Mapping[str, object]]
    versions: Mapping[K, int] | None


class UnknownColumn(SourceRefused):
    """Items name a column that the table did not have when it was looked up."""


def batch_of(
    planned: Planned[V],
    shape: Shape[V],
    items: Mapping[K, V],
    keys: Mapping[K, BoundKey],
    versions: Mapping[K, int] | None,
) -> Batch[K, V]:
    """Return what to write. `SourceRefused` names the keys whose values cannot be."""
    plan = planned.plan
    if not plan.unique:
        raise ConfigurationError(
            f"key={list(plan.keys)}: save needs it to be the PRIMARY KEY or UNIQUE in {plan.table!r}"
        )
    fit = parts(keys, planned)
    unfit = {key: Unfit("its key is nothing that the column can hold") for key in keys if key not in fit}
    rows: dict[K, dict[str, object]] = {}
    rower = _Rower(planned, shape)
    for key, bound in fit.items():
        try:
            rows[key] = rower.row(items[key], bound)
        except Unfit as error:
            unfit[key] = error
    if unfit:
        refusal = UnknownColumn if any(map(_is_unknown, unfit.values())) else SourceRefused
        reason = next(iter(unfit.values()))
        raise refusal(f"table {plan.table!r} refused {len(unfit)} of the rows: {reason}", keys=tuple(unfit))
    guards = versions if plan.version is not None else None
    if guards is not None and plan.version is not None:
        for key, row in rows.items():
            row[plan.version.name] = guards[key]
    in_order = {key: rows[key] for key in ordered(fit)}
    return Batch(items=items, keys=fit, rows=in_order, versions=guards)


async def saved(
    connection: Any, planned: Planned[V], shape: Shape[V], batch: Batch[K, V], *, singly: bool
) -> Saved[K, V]:
    """Write *batch* in one transaction; return the rows that differ and the keys refused."""
    async with transaction(connection):
        if batch.versions is not None:
            planned = replace(planned, plan=await _with_writers_of_versions(connection, planned.plan))
        found = await write(connection, planned, batch, singly=singly)
        held, refused = await _outcome(connection, planned, batch, found)
        rows = {
            key: value
            for key, value in planned.reading.values(held).items()
            if not shape.same(value, batch.items[key])
        }
    return Saved(rows=rows, refused=tuple(key for key in batch.items if key in refused))


async def write(connection: Any, planned: Planned[Any], batch: Batch[K, V], *, singly: bool) -> dict[K, Row]:
    """Upsert the rows of *batch*; return what the table holds, where the key shows whose row it is."""
    plan = planned.plan
    named = {batch.keys[key]: key for key in batch.rows}
    known = {
        column.name: column
        for column in (*plan.columns, *plan.key, *([plan.version] if plan.version else []))
    }
    groups: dict[tuple[str, ...], list[Mapping[str, object]]] = {}
    for row in batch.rows.values():
        groups.setdefault(tuple(row), []).append(row)
    found: dict[K, Row] = {}
    for names, rows in groups.items():
        columns = tuple(known[name] for name in names)
        many = not singly and all(column.unnests for column in columns)
        text = _upsert(plan, columns, many=many, guarded=batch.versions is not None)
        if many:
            records = await connection.fetch(text, *([row[name] for row in rows] for name in names))
        else:
            records = await connection.fetchmany(text, [tuple(row.values()) for row in rows])
        width = len(plan.key)
        for record in records:
            key = named.get(tuple(record[:width]))
            if key is not None and planned.answers(record[:width], key):
                found[key] = record[width:]
    return found


async def removed(
    connection: Any,
    planned: Planned[Any],
    keys: Mapping[K, BoundKey],
    versions: Mapping[K, int] | None,
    *,
    now: float,
    keep: float,
) -> tuple[K, ...]:
    """Delete *keys* in one transaction and leave tombstones; return the keys refused."""
    plan = planned.plan
    async with transaction(connection):
        others: list[K] = []
        if not all(map(plan.decides, keys.values())):
            await read(connection, planned, (), keys, others)
        order = [key for key in ordered(keys) if key not in others]
        keys = {key: keys[key] for key in order}
        arrays = columns_of(keys.values(), len(plan.key))
        if plan.version is None:
            await connection.execute(_sql.delete(plan, guarded=False), *arrays)
            return ()
        await connection.execute("SELECT pg_advisory_xact_lock($1::int4, $2::int4)", LOCKS, _number(plan))
        guards = [] if versions is None else [[versions[key] for key in order]]
        gone = await connection.fetch(_sql.delete(plan, guarded=versions is not None), *arrays, *guards)
        left = await read(connection, planned, (), keys) if versions is not None else {}
        # Without a version of its own a removal outlives what it removed.
        graves: dict[Any, int] = (
            {order[number - 1]: version for number, version in gone if version is not None}
            if versions is None
            else {key: versions[key] for key in order if key not in left}
        )
        if graves:
            await _entomb(
                connection, plan, {key: (keys[key], version) for key, version in graves.items()}, now, keep
            )
    return tuple(left)


async def _entomb(
    connection: Any, plan: Plan, graves: Mapping[K, tuple[BoundKey, int]], now: float, keep: float
) -> None:
    if not plan.tombstones and not await _has_tombstones(connection, plan):
        for statement in _sql.create_tombstones(plan):
            await connection.execute(statement)
    arrays = columns_of([bound for bound, _ in graves.values()], len(plan.key))
    await connection.execute(_sql.bury(plan), *arrays, [version for _, version in graves.values()], now)
    await connection.execute(_sql.prune(plan), now - keep)


async def _with_writers_of_versions(connection: Any, plan: Plan) -> Plan:
    """Keep removals out until the transaction ends; return the plan with the tombstones there are.

    Without it a removal could miss the row that is just being inserted, and the insertion the
    tombstone that is just being written. Writers do not keep each other out."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1::int4, $2::int4)", LOCKS, _number(plan))
    if plan.tombstones:
        return plan
    return replace(plan, tombstones=await _has_tombstones(connection, plan))


async def _has_tombstones(connection: Any, plan: Plan) -> bool:
    return bool(await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", plan.side))


async def _outcome(
    connection: Any, planned: Planned[Any], batch: Batch[K, V], found: dict[K, Row]
) -> tuple[dict[K, Row], set[K]]:
    """Return what the table holds of *batch*, and the keys that it refused.

    What RETURNING did not show is read: rows that a higher version kept from being written, those
    of another key (refused all together), and everything where triggers write after the row."""
    plan = planned.plan
    unseen = {key: batch.keys[key] for key in batch.rows if plan.rewritten or key not in found}
    if not unseen:
        return found, set()
    extra = () if batch.versions is None or plan.version is None else (plan.version,)
    refused = set(unseen)
    confused: list[K] = []
    rows = await read(connection, planned, (*plan.columns, *extra), unseen, confused)
    if confused:
        raise SourceRefused(
            f"table {plan.table!r} has {len(confused)} of the keys as another type or text", keys=confused
        )
    for key, row in rows.items():
        if batch.versions is None or (row[-1] or 0) <= batch.versions[key]:
            found[key] = row[: len(plan.columns)]
            refused.discard(key)
    for key in refused:
        found.pop(key, None)
    return found, refused


class _Rower(Generic[V]):
    """Makes the rows of a batch; what is to know of each column is found out once."""

    __slots__ = ("_codecs", "_key", "_known", "_partial", "_shape", "_written")

    def __init__(self, planned: Planned[V], shape: Shape[V]) -> None:
        plan = planned.plan
        self._codecs = planned.codecs
        self._shape = shape
        self._partial = shape.columns is not None  # of a type there may be more fields than columns
        self._key = plan.key
        self._known = {column.name: column for column in plan.columns}
        own = {column.name for column in plan.key}
        self._written = {
            column.name: untouched(column.base, column.category)
            for column in plan.columns
            if column.name not in own and not column.generated
        }

    def row(self, value: V, key: BoundKey) -> dict[str, object]:
        """Return what to write of one item: its columns that can be written, led by its key."""
        known, codecs = self._known, self._codecs
        given = self._shape.write(value)
        if not given.keys() <= known.keys():
            if not self._partial:
                unknown = next(name for name in given if name not in known)
                raise _Unknown(f"there is no column {unknown!r} among {', '.join(map(repr, known))}")
            given = {name: held for name, held in given.items() if name in known}
        row: dict[str, object] = {}
        for column, part in zip(self._key, key, strict=True):
            own = given.get(column.name)
            if own is not None and own != part and taken(column.base, column.category, own, codecs) != part:
                raise Unfit(f"column {column.name!r} differs between the key and its value")
            row[column.name] = part
        written = self._written
        for name, held in given.items():
            if name in written:
                as_is = type(held) in written[name]
                row[name] = held if as_is else taken(known[name].base, known[name].category, held, codecs)
        return row


class _Unknown(Unfit):
    """A column that the table has not."""


def _is_unknown(error: Unfit) -> bool:
    return isinstance(error, _Unknown)


def _number(plan: Plan) -> int:
    """Return the table's oid as the signed number that a lock takes."""
    return plan.oid - (plan.oid >> 31 << 32)
