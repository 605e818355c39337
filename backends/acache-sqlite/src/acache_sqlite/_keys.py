"""Keys as a statement binds them, and which key a row answers. Pure."""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar, cast

from acache.errors import SourceRefused
from acache_sqlite._errors import Unfit
from acache_sqlite._rows import Bindable, bindable

K = TypeVar("K")

BoundKey = tuple[Bindable, ...]

_HIGHEST = 2**63


class KeyShape(Generic[K]):
    """How a key is spread over columns: one value, or a tuple of as many as there are columns."""

    __slots__ = ("columns", "composite")

    def __init__(self, key: str | Iterable[str]) -> None:
        self.composite = not isinstance(key, str)
        self.columns = (key,) if isinstance(key, str) else tuple(key)

    def bind(self, keys: Iterable[K]) -> dict[K, BoundKey]:
        """Return each of *keys*, once, with what it binds. `SourceRefused` names those that cannot."""
        bound: dict[K, BoundKey] = {}
        unfit: list[K] = []
        for key in keys:
            try:
                # The plainest key, and the most frequent: a number of one column.
                plain = type(key) is int and not self.composite and -_HIGHEST <= cast("int", key) < _HIGHEST
                bound[key] = (cast("int", key),) if plain else self._bound(key)
            except Unfit:
                unfit.append(key)
        if unfit:
            needed = f"a tuple of {len(self.columns)} values" if self.composite else "one value"
            msg = f"{len(unfit)} keys are not {needed} that SQLite can store"
            raise SourceRefused(msg, keys=unfit)
        return bound

    def _bound(self, key: K) -> BoundKey:
        parts: tuple[object, ...] = (key,)
        if self.composite:
            if not isinstance(key, tuple) or len(cast("tuple[object, ...]", key)) != len(self.columns):
                raise Unfit
            parts = cast("tuple[object, ...]", key)
        return tuple(_storable(bindable(part)) for part in parts)


def answers(row: tuple[object, ...], key: BoundKey) -> bool:
    """Return whether the key in *row* is of the same kind as *key*.

    Whether they are equal was SQLite's to say, by the column's collation. But it converts first:
    to a column of integers the text '1' equals 1, and those are two keys."""
    return row == key or all(_kind(held) == _kind(part) for held, part in zip(row, key, strict=True))


def order(key: BoundKey) -> tuple[tuple[str, Bindable], ...]:
    """Return something that sorts keys of any kind."""
    return tuple((_kind(part), part) for part in key)


def in_order(keys: Mapping[K, BoundKey]) -> list[K]:
    """Return *keys* sorted by what they bind, so that neighbours are written together."""
    try:
        return sorted(keys, key=lambda key: cast("tuple[int, ...]", keys[key]))
    except TypeError:  # of several kinds
        return sorted(keys, key=lambda key: order(keys[key]))


def _kind(value: object) -> str:
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _storable(value: object) -> Bindable:
    if isinstance(value, int) and not -_HIGHEST <= value < _HIGHEST:
        raise Unfit
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unfit from None
    return cast("Bindable", value)
