"""Keys as a statement binds them, and which key a row answers. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar, cast
from uuid import UUID

from acache.errors import ConfigurationError, SourceRefused
from acache_postgres._errors import Unfit
from acache_postgres._sql import quoted

K = TypeVar("K")

BoundKey = tuple[object, ...]

_EXACT = frozenset({int, str, bytes, bool})  # of one type and equal is of one text


class KeyShape(Generic[K]):
    """How a key is spread over columns: one value, or a tuple of as many as there are columns.

    PostgreSQL takes the text of a UUID for it, 1 for 1.0 in a numeric column, 'Ann' for 'ann' where
    the column says so; to a cache those are several keys. So a key is answered only by a row that
    has exactly that key, as asyncpg returns it: that is also what `PostgresChanges` invalidates."""

    __slots__ = ("columns", "composite")

    def __init__(self, key: str | Iterable[str]) -> None:
        self.composite = not isinstance(key, str)
        self.columns = (key,) if isinstance(key, str) else tuple(key)
        if not self.columns:
            raise ConfigurationError("key= names no column")
        for name in self.columns:
            quoted(name)

    def answers(self, row: Iterable[object], key: K) -> bool:
        """Return whether *row*, the columns of a key, is exactly *key*."""
        return all(map(_alike, row, cast("tuple[object, ...]", key) if self.composite else (key,)))

    def bind(self, keys: Iterable[K]) -> dict[K, BoundKey]:
        """Return each of *keys*, once, with what it binds. `SourceRefused` names those that cannot."""
        if not self.composite:
            return {key: (key,) for key in keys}
        bound: dict[K, BoundKey] = {}
        unfit: list[K] = []
        for key in keys:
            try:
                bound[key] = self._bound(key)
            except Unfit:
                unfit.append(key)
        if unfit:
            raise SourceRefused(
                f"{len(unfit)} keys are not a tuple of {len(self.columns)} values", keys=unfit
            )
        return bound

    def _bound(self, key: K) -> BoundKey:
        if not isinstance(key, tuple) or len(cast("tuple[object, ...]", key)) != len(self.columns):
            raise Unfit
        return cast("tuple[object, ...]", key)


def _alike(held: object, part: object) -> bool:
    """Return whether two parts of keys are the same in type and text: 0.0 and -0.0 differ."""
    kind = type(part)
    if type(held) is kind:
        return held == part and (kind in _EXACT or repr(held) == repr(part))
    return isinstance(held, UUID) and isinstance(part, UUID) and held == part  # asyncpg has its own


def loosely(key: Iterable[object]) -> tuple[object, ...]:
    """Return what keys have in common that a column may take for one another."""
    return tuple([str(part).rstrip(" ").casefold() if isinstance(part, str | UUID) else part for part in key])


def ordered(keys: Mapping[K, BoundKey]) -> list[K]:
    """Return *keys* sorted by what they bind, so that concurrent batches take locks in one order."""
    try:
        return sorted(keys, key=lambda key: keys[key])
    except TypeError:
        return sorted(keys, key=lambda key: repr(keys[key]))


def columns_of(keys: Iterable[BoundKey], width: int) -> list[Sequence[object]]:
    """Return the parts of *keys* column by column, as `unnest` takes them."""
    rows = list(keys)
    return [[row[place] for row in rows] for place in range(width)]
