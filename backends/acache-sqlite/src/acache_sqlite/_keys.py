"""Keys as a statement binds them, and which key a row answers. Pure."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar, cast
from uuid import UUID

from acache.errors import SourceRefused
from acache_sqlite._errors import Unfit
from acache_sqlite._rows import PLAIN, Bindable, bindable

K = TypeVar("K")

BoundKey = tuple[Bindable, ...]

Read = Callable[[object], object]
"""Makes of a column of a key what a row has in its place."""

_HIGHEST = 2**63
_EXACT = frozenset({int, str, bytes, bool, UUID})  # of one type and equal is of one text


class KeyShape(Generic[K]):
    """How a key is spread over columns: one value, or a tuple of as many as there are columns.

    SQLite finds row 1 for 1.0 and True, and 'ann' for 'Ann' where the column says so; to a cache
    those are several keys. So a key is answered only by a row that has exactly that key: as the
    row's type reads it, where *readers* has what reads a column, else as SQLite returns it."""

    __slots__ = ("_plain", "_readers", "columns", "composite")

    def __init__(self, key: str | Iterable[str], readers: Mapping[str, Read] = MappingProxyType({})) -> None:
        self.composite = not isinstance(key, str)
        self.columns = (key,) if isinstance(key, str) else tuple(key)
        each = tuple(readers.get(name) for name in self.columns)
        self._readers = each if any(each) else None
        self._plain = self._readers is None and not self.composite

    def bind(self, keys: Iterable[K], *, new: bool = False) -> dict[K, BoundKey]:
        """Return each of *keys*, once, with what it binds. `SourceRefused` names those that cannot.

        What SQLite would return as another key, 1 for True, has no row and is left out; if the rows
        are to be *new* it is refused."""
        bound: dict[K, BoundKey] = {}
        unfit: list[K] = []
        for key in keys:
            # The plainest key, and the most frequent: a number of one column.
            if self._plain and type(key) is int and -_HIGHEST <= cast("int", key) < _HIGHEST:
                bound.setdefault(key, (cast("int", key),))
                continue
            try:
                parts = self._bound(key)
            except Unfit:
                unfit.append(key)
                continue
            if self.answers(parts, key):
                bound.setdefault(key, parts)
            elif new or not _plain(key):
                unfit.append(key)
        if unfit:
            needed = f"a tuple of {len(self.columns)} values" if self.composite else "one value"
            msg = (
                f"{len(unfit)} keys are not {needed} that SQLite can store as it is: what it has no type for,"
                " a UUID or a date, is a key where type= has a field of that type; else pass what is stored"
            )
            raise SourceRefused(msg, keys=unfit)
        return bound

    def answers(self, row: tuple[object, ...], key: K) -> bool:
        """Return whether *row*, the columns of a key as SQLite returns them, is exactly *key*."""
        if self._readers is not None:
            row = tuple(
                [part if read is None else read(part) for part, read in zip(row, self._readers, strict=True)]
            )
        parts = cast("tuple[object, ...]", key) if self.composite else (key,)
        return all(map(_alike, row, parts))

    def _bound(self, key: K) -> BoundKey:
        parts: tuple[object, ...] = (key,)
        if self.composite:
            if not isinstance(key, tuple) or len(cast("tuple[object, ...]", key)) != len(self.columns):
                raise Unfit
            parts = cast("tuple[object, ...]", key)
        return tuple(_storable(bindable(part)) for part in parts)


def order(key: BoundKey) -> tuple[tuple[str, Bindable], ...]:
    """Return something that sorts keys of any kind."""
    return tuple((_kind(part), part) for part in key)


def loosely(key: tuple[object, ...]) -> tuple[tuple[str, object], ...]:
    """Return what keys have in common that a column may take for one another."""
    return tuple(
        (_kind(part), part.rstrip(" ").casefold() if isinstance(part, str) else part) for part in key
    )


def in_order(keys: Mapping[K, BoundKey]) -> list[K]:
    """Return *keys* sorted by what they bind, so that neighbours are written together."""
    try:
        return sorted(keys, key=lambda key: cast("tuple[int, ...]", keys[key]))
    except TypeError:  # of several kinds
        return sorted(keys, key=lambda key: order(keys[key]))


def _kind(value: object) -> str:
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _plain(key: object) -> bool:
    return all(
        type(part) in PLAIN
        for part in (cast("tuple[object, ...]", key) if isinstance(key, tuple) else (key,))
    )


def _alike(held: object, part: object) -> bool:
    """Return whether two parts of keys are the same in type and text: 0.0 and -0.0 differ."""
    kind = type(part)
    return type(held) is kind and held == part and (kind in _EXACT or repr(held) == repr(part))


def _storable(value: object) -> Bindable:
    if isinstance(value, int):
        if not -_HIGHEST <= value < _HIGHEST:
            raise Unfit
        return int(value)  # SQLite has no booleans
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unfit from None
    return cast("Bindable", value)
