"""What a column takes and gives, where that is not what asyncpg takes and gives. Pure.

JSON is what Python makes of it, not text; a UUID is the standard library's, a row of a composite
type a dict; an enum is written as its value. Lenders of a connection may have set codecs of their
own for JSON, which `Codecs` tells: then asyncpg is handed the object."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from operator import index
from typing import Any, SupportsIndex, cast
from uuid import UUID

import msgspec

from acache_postgres._errors import Unfit

Give = Callable[[Any], object]

_JSON = frozenset({"json", "jsonb"})
_TEXT = frozenset({"S", "E"})
INTEGERS = frozenset({"int2", "int4", "int8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Codecs:
    """Whether a connection hands JSON over as text, by the name of the type."""

    json: bool = True
    jsonb: bool = True

    def text(self, base: str) -> bool:
        """Return whether columns of this type are JSON that comes as text."""
        return self.jsonb if base == "jsonb" else self.json if base == "json" else False


def giver(base: str, category: str, codecs: Codecs) -> Give | None:
    """Return what turns asyncpg's value of a column into the one to hand on; None if it is that."""
    if base in _JSON:
        return from_json if codecs.text(base) else None
    if base == "uuid":
        return _uuid
    if base in {"_json", "_jsonb"} and codecs.text(base[1:]):
        return lambda held: None if held is None else _each(held, from_json)
    if base == "_uuid":
        return lambda held: None if held is None else _each(held, _uuid)
    return _mapping if category == "C" else None


def untouched(base: str, category: str) -> frozenset[type]:
    """Return the types of the values that `taken` hands on as they are, in a column of this type."""
    if base in INTEGERS:
        return frozenset({int, type(None)})
    if base in _JSON or category == "A":
        return frozenset({type(None)})
    return frozenset({str, type(None)} if category in _TEXT else {bool, int, float, str, bytes, type(None)})


def taken(  # noqa: PLR0911 - one return for each kind of column
    base: str, category: str, value: object, codecs: Codecs
) -> object:
    """Return what asyncpg takes for *value* in a column of this type. Raises `Unfit`.

    Also where asyncpg would cut off what does not fit: the fraction of a number, the time of a day."""
    if value is None:
        return None
    if base in INTEGERS:
        return value if type(value) is int else _integer(value)
    if base in _JSON:
        return to_json(value) if codecs.text(base) else plain(value)
    if category == "A":
        return _listed(base, value, codecs)
    if isinstance(value, Enum):
        value = value.value
    if category in _TEXT and not isinstance(value, str):
        simple = plain(value)
        # What is no text in Python becomes text where one way is the only one: dates, UUIDs, Decimal.
        # Collections are JSON. A number is neither: it would come back as text.
        if isinstance(simple, (list, dict)):
            return to_json(cast("object", simple))
        return simple
    if base == "date" and isinstance(value, dt.datetime):
        raise Unfit("a datetime cannot be stored in a column of dates")
    return value


def part_taken(base: str, category: str, value: object, codecs: Codecs) -> object:
    """Return what asyncpg takes for a part of a key. Raises `Unfit`: no row has such a one.

    PostgreSQL's texts hold no NUL and no surrogates."""
    part = taken(base, category, value, codecs)
    if part is None or (isinstance(part, str) and ("\0" in part or not _is_unicode(part))):
        raise Unfit("a part of the key is NULL, or text that PostgreSQL cannot hold")
    return part


def key_given(base: str, held: object) -> object:
    """Return a part of a key as it is asked for, where asyncpg adds to it.

    A `char(n)` without the blanks that fill it up; a number without exponent, 10000 for 1E+4."""
    if base == "bpchar" and isinstance(held, str):
        return held.rstrip(" ")
    if isinstance(held, Decimal) and held.is_finite() and cast("int", held.as_tuple().exponent) > 0:
        return Decimal(int(held))
    return _uuid(held) if isinstance(held, UUID) else held


def plain(value: object) -> object:
    """Return *value* as lists, dicts, texts and numbers, where it can be. Raises `Unfit`."""
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_dumped)
    except (TypeError, ValueError, RecursionError):
        raise Unfit(f"a {type(value).__name__} cannot be stored in a column of text or JSON") from None


def to_json(value: object) -> str:
    """Return *value* as JSON text. Raises `Unfit`."""
    try:
        return msgspec.json.encode(value, enc_hook=_dumped).decode()
    except (TypeError, ValueError, RecursionError):
        raise Unfit(f"a {type(value).__name__} cannot be stored as JSON") from None


def from_json(held: str | bytes | None) -> object:
    """Return what JSON text says. Raises `Unfit`."""
    if held is None:
        return None
    try:
        return msgspec.json.decode(held)
    except msgspec.DecodeError:
        raise Unfit("a column that should hold JSON does not") from None


def _dumped(value: Any) -> object:
    """Return a pydantic model as a dict; what else msgspec does not know has no JSON."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError


def _integer(value: object) -> int:
    value = value.value if isinstance(value, Enum) else value
    try:
        return index(cast("SupportsIndex", value))
    except TypeError:
        raise Unfit(f"a {type(value).__name__} cannot be stored in a column of integers") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _uuid(held: UUID | str | None) -> object:
    # asyncpg has a subclass of its own, which would not be equal in type after a remote store.
    return UUID(int=held.int) if isinstance(held, UUID) else held


def _mapping(held: Mapping[str, object] | None) -> object:
    return None if held is None else dict(held.items())


def _each(held: Sequence[Any], give: Give) -> list[object]:
    """Return an array of any dimensions with *give* applied to its elements."""
    return [
        _each(cast("Sequence[Any]", part), give) if isinstance(part, list) else give(part) for part in held
    ]


def _listed(base: str, value: object, codecs: Codecs) -> object:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | Set):
        raise Unfit(f"a {type(value).__name__} cannot be stored in a column of arrays")
    element = base.removeprefix("_")
    as_json = codecs.text(element)

    def one(part: object) -> object:
        if part is None:
            return None
        if as_json:
            return to_json(part)
        if isinstance(part, list | tuple):
            return list(map(one, cast("Sequence[object]", part)))
        return part.value if isinstance(part, Enum) else part

    return list(map(one, cast("Sequence[object]", value)))
