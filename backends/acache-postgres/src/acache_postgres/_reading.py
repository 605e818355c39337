"""Records to values: what is common to tables and queries. Knows columns and types, no statements."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from acache.errors import SourceRefused
from acache_postgres._errors import Unfit
from acache_postgres._rows import Shape
from acache_postgres._values import Codecs, Give, from_json, giver

K = TypeVar("K")
V = TypeVar("V")

Row = Sequence[Any]


class Reading(Generic[V]):
    """How the columns of a result become a value."""

    __slots__ = ("_gives", "_names", "_shape")

    def __init__(self, shape: Shape[V], columns: Sequence[tuple[str, str, str]], codecs: Codecs) -> None:
        """*columns*: name, base type and category of each."""
        self._shape = shape
        self._names = tuple(name for name, _, _ in columns)
        self._gives: list[tuple[int, Give]] = []
        for place, (name, base, category) in enumerate(columns):
            give = giver(base, category, codecs)
            if give is None and name in shape.nested and category == "S":
                give = from_json
            if give is not None:
                self._gives.append((place, give))

    def values(self, rows: Mapping[K, Row]) -> dict[K, V]:
        """Return *rows* as values; `SourceRefused` names those that do not fit the type."""
        if self._shape.columns is None and not self._gives:  # a dict of what came
            names = self._names
            plain: Any = {key: dict(zip(names, row, strict=True)) for key, row in rows.items()}
            return cast("dict[K, V]", plain)
        values: dict[K, V] = {}
        unfit: dict[K, Unfit] = {}
        for key, row in rows.items():
            try:
                values[key] = self._shape.read(self._names, self._given(row) if self._gives else row)
            except Unfit as error:
                unfit[key] = error
        if unfit:
            raise SourceRefused(str(next(iter(unfit.values()))), keys=tuple(unfit))
        return values

    def _given(self, row: Row) -> Row:
        given = list(row)
        for place, give in self._gives:
            given[place] = give(given[place])
        return given


async def codecs_of(connection: Any, bases: Sequence[str]) -> Codecs:
    """Return how *connection* hands over JSON, asked for only if there is any among the types."""
    if not any("json" in base for base in bases):
        return Codecs()
    json, jsonb = await connection.fetchrow("SELECT '0'::json, '0'::jsonb")
    return Codecs(json=isinstance(json, str), jsonb=isinstance(jsonb, str))
