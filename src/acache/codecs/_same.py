"""Whether what came back is what went in. Knows no codec."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, time, timedelta, tzinfo
from decimal import Decimal
from math import copysign
from typing import Any, Final, cast

__all__ = ["plain", "same"]


def plain(value: object) -> bool:
    """Return whether *value* is a scalar, or a dict of scalars by texts, as most rows are.

    MessagePack without a type brings these back as they are: nobody needs to look."""
    kind = type(value)
    if kind is not dict:
        return kind in _SCALARS
    row = cast("dict[object, object]", value)
    return _TEXT.issuperset(map(type, row)) and _SCALARS.issuperset(map(type, row.values()))


def same(a: object, b: object) -> bool:
    """Return whether *a* and *b* are equal in value and in type, all the way down.

    Stricter than `==`: 1, True and 1.0 differ, as do a class and its subclass, a list and a tuple, 0.0
    and -0.0, one moment in two time zones, and dicts in another order. Laxer for one value: NaN is the
    same as NaN. Objects without a usable `==` are compared by what they would be pickled from. Never
    raises: what cannot be compared, a structure that contains itself for one, is not the same.
    """
    try:
        return _same(a, b)
    except Exception:  # noqa: BLE001 - any code of the values' classes may have run
        return False


def _same(a: object, b: object) -> bool:
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b):
        return False
    if kind in _PLAIN:
        return a == b
    judge = _JUDGES.get(kind) or next(filter(None, map(_JUDGES.get, kind.__mro__)), None)
    if judge is not None:
        return judge(a, b)
    names = _field_names(kind)
    if names is not None:
        return all(_same(getattr(a, name), getattr(b, name)) for name in names)
    return _same_objects(a, b)


def _same_floats(a: float, b: float) -> bool:
    if a != a:  # noqa: PLR0124 - only NaN differs from itself
        return b != b  # noqa: PLR0124
    return a == b and copysign(1.0, a) == copysign(1.0, b)


def _same_complex(a: complex, b: complex) -> bool:
    return _same_floats(a.real, b.real) and _same_floats(a.imag, b.imag)


def _same_decimals(a: Decimal, b: Decimal) -> bool:
    return a.as_tuple() == b.as_tuple()  # 1.0 and 1.00 are printed differently


def _same_times(a: datetime, b: datetime) -> bool:
    fixed = _fixed_offset(a.tzinfo) is not None  # then `fold` means nothing
    wall = a.replace(tzinfo=None) == b.replace(tzinfo=None) and (fixed or a.fold == b.fold)
    return wall and _same_zones(a.tzinfo, b.tzinfo)


def _same_zones(a: tzinfo | None, b: tzinfo | None) -> bool:
    if a is None or b is None or a == b:
        return a is b or a == b
    offset = _fixed_offset(a)
    return offset is not None and offset == _fixed_offset(b)


def _fixed_offset(zone: tzinfo | None) -> timedelta | None:
    # A zone that knows its offset without a date has no rules, and so is no more than its offset.
    return zone.utcoffset(None) if zone else None


def _same_sequences(a: Collection[object], b: Collection[object]) -> bool:
    return len(a) == len(b) and (_same_scalars(list(a), list(b)) or all(map(_same, a, b)))


def _same_mappings(a: Mapping[object, object], b: Mapping[object, object]) -> bool:
    return _same_sequences(a, b) and _same_sequences(a.values(), b.values())


def _same_scalars(a: list[object], b: list[object]) -> bool:
    # What most keys are, and the fields of most rows: compared without a call for each. Only of zeros
    # `==` says too little, and NaN it does not find: False is no answer.
    kinds = list(map(type, a))
    if kinds != list(map(type, b)) or not _SCALARS.issuperset(kinds):
        return False
    return a == b and (float not in kinds or 0.0 not in a)


def _same_sets(a: Collection[object], b: Collection[object]) -> bool:
    partners = {element: element for element in b}
    if not all(_same(element, partners[element]) for element in a if element in partners):
        return False
    # What `==` does not find in the other set: NaN may be there all the same.
    return _same_sequences([e for e in a if e not in partners], [e for e in b if e not in a])


_PLAIN: Final = frozenset({int, str, bytes, bool})  # nothing but their value, and most of what there is
_TEXT: Final = frozenset({str})
_SCALARS: Final = frozenset({*_PLAIN, float, type(None)})
_JUDGES: Final[Mapping[type, Callable[[Any, Any], bool]]] = {
    float: _same_floats,
    complex: _same_complex,
    Decimal: _same_decimals,
    datetime: _same_times,
    time: _same_times,
    list: _same_sequences,
    tuple: _same_sequences,
    deque: _same_sequences,
    dict: _same_mappings,
    set: _same_sets,
    frozenset: _same_sets,
}


def _field_names(kind: Any) -> Iterable[str] | None:
    # What a class that declares its fields declares; None for any other.
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    if hasattr(kind, "__struct_fields__"):
        return kind.__struct_fields__  # type: ignore[no-any-return]  # msgspec
    if hasattr(kind, "__attrs_attrs__"):
        return [attribute.name for attribute in kind.__attrs_attrs__]
    if hasattr(kind, "__pydantic_fields__"):
        return [*kind.__pydantic_fields__, "__pydantic_extra__", "__pydantic_private__"]
    return None


def _same_objects(a: Any, b: Any) -> bool:
    equality: object = type(a).__eq__
    if equality is not object.__eq__:
        try:
            equal = a == b
        except Exception:  # noqa: BLE001 - then it says nothing, as an array's does
            equal = None
        if isinstance(equal, bool):
            return equal
    return _same_sequences(_recipe(a), _recipe(b))


def _recipe(value: Any) -> list[object]:
    # What pickle would write: what to call with which arguments, state, items.
    recipe = value.__reduce_ex__(4)
    if isinstance(recipe, str):
        return [recipe]
    return [list(part) if index in {3, 4} and part else part for index, part in enumerate(recipe)]
