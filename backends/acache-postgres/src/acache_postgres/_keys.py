"""Keys as a statement binds them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar, cast

from acache.errors import ConfigurationError, SourceRefused
from acache_postgres._errors import Unfit
from acache_postgres._sql import quoted

K = TypeVar("K")

BoundKey = tuple[object, ...]


class KeyShape(Generic[K]):
    """How a key is spread over columns: one value, or a tuple of as many as there are columns."""

    __slots__ = ("columns", "composite")

    def __init__(self, key: str | Iterable[str]) -> None:
        self.composite = not isinstance(key, str)
        self.columns = (key,) if isinstance(key, str) else tuple(key)
        if not self.columns:
            raise ConfigurationError("key= names no column")
        for name in self.columns:
            quoted(name)

    def bind(self, keys: Iterable[K]) -> dict[K, BoundKey]:
        """Return each of *keys*, once, with what it binds. `SourceRefused` names those that cannot."""
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
        if not self.composite:
            return (key,)
        if not isinstance(key, tuple) or len(cast("tuple[object, ...]", key)) != len(self.columns):
            raise Unfit
        return cast("tuple[object, ...]", key)


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
