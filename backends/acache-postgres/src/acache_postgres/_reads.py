"""How rows are found by their keys. Functions over a connection and a plan; nothing is kept."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from acache.errors import SourceRefused
from acache_postgres import _sql
from acache_postgres._driver import InterfaceError, PostgresError
from acache_postgres._errors import Unfit, is_data
from acache_postgres._keys import BoundKey, KeyShape, columns_of
from acache_postgres._reading import Reading, Row
from acache_postgres._sql import Column, Plan
from acache_postgres._values import INTEGERS, Codecs, key_given, part_taken

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_select = lru_cache(128)(_sql.select)
_select_plain = lru_cache(128)(_sql.select_plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Generic[V]):
    """What was found out about a table when it was first used."""

    plan: Plan
    key: KeyShape[Any]
    codecs: Codecs
    reading: Reading[V]

    def answers(self, row: Sequence[object], key: object) -> bool:
        """Return whether *row*, which begins with the columns of its key, has exactly *key*."""
        given = [key_given(column.base, part) for column, part in zip(self.plan.key, row, strict=False)]
        return self.key.answers(given, key)


async def read(
    connection: Any,
    planned: Planned[Any],
    columns: tuple[Column, ...],
    keys: Mapping[K, BoundKey],
    confused: list[K] | None = None,
) -> dict[K, Row]:
    """Return *columns* of those of *keys* that exist; *confused* collects those whose row has another.

    `SourceRefused` names keys of several rows."""
    if not keys:
        return {}
    plan = planned.plan
    found: dict[K, Row] = {}
    twice: list[K] = []
    arrays = columns_of(keys.values(), len(plan.key))
    plain = len(plan.key) == 1 and plan.key[0].plain and columns is plan.columns
    if plain:
        rows = await connection.fetch(_select_plain(plan), *arrays)
        named: Any = {bound[0]: key for key, bound in keys.items()}
    else:
        rows = await connection.fetch(_select(plan, columns), *arrays)
        named = dict(enumerate(keys, 1))
    after = 1 if plain else 1 + len(plan.key)
    for row in rows:
        key = named[row[0]]
        if not plain and not planned.answers(row[1:after], key):
            if confused is not None:
                confused.append(key)
            continue
        if key in found:
            twice.append(key)
        found[key] = row[after:]
    if twice:
        raise SourceRefused(
            f"table {plan.table!r} has several rows under {len(twice)} of the keys", keys=twice
        )
    return found


async def of_possible(
    connection: Any,
    planned: Planned[V],
    keys: Mapping[K, BoundKey],
    job: Callable[[Mapping[K, BoundKey]], Awaitable[T]],
) -> T:
    """Return what *job* makes of those of *keys* that the columns can hold; no row has another one.

    What only the database can tell, 2**40 where integers have 32 bits or a label that the enum has
    not, is asked only if *job* fails over it."""
    asked = parts(keys, planned)
    try:
        return await job(asked)
    except (PostgresError, InterfaceError) as error:
        if not is_data(error):
            raise
        fit = await _fit(connection, planned.plan, asked)
        if len(fit) == len(asked):
            raise
    return await job(fit)


def parts(keys: Mapping[K, BoundKey], planned: Planned[V]) -> dict[K, BoundKey]:
    """Return those of *keys* whose parts the columns may hold, with what asyncpg takes for them."""
    kinds = [(column.base, column.category) for column in planned.plan.key]
    plain = not planned.key.composite and kinds[0][0] in INTEGERS
    if plain and all(type(part) is int for (part,) in keys.values()):
        return dict(keys)  # what most keys are, and nothing to do
    found: dict[K, BoundKey] = {}
    for key, bound in keys.items():
        with suppress(Unfit):
            taken = tuple(
                [part_taken(*kind, part, planned.codecs) for kind, part in zip(kinds, bound, strict=True)]
            )
            if planned.answers(taken, key):  # else a row would have another key: 1, where True is asked for
                found[key] = taken
    return found


async def _fit(connection: Any, plan: Plan, keys: Mapping[K, BoundKey]) -> dict[K, BoundKey]:
    """Return those of *keys* that the columns can hold, found by halves."""
    try:
        await connection.execute(_sql.askable(plan), *columns_of(keys.values(), len(plan.key)))
    except (PostgresError, InterfaceError) as error:
        if not is_data(error):
            raise
    else:
        return dict(keys)
    if len(keys) == 1:
        return {}
    items = list(keys.items())
    middle = len(items) // 2
    left = await _fit(connection, plan, dict(items[:middle]))
    return left | await _fit(connection, plan, dict(items[middle:]))
