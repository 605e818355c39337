"""Write a value as canonical text. Knows nothing of keys, templates or functions.

Two values have the same text only if they have the same type and are equal. The grammar:

    text    = "None" | "True" | "False" | int | float     as `repr` writes them
            | escaped                                     a str, if it is none of the above
            | "'" escaped "'"                             a str that would read as one of the above
            | tag "(" ... ")"                             everything else: UUID(...), list(1,'1')
    tag     = name of a type of this file | module "." qualname      a class of somebody's: app.Color(RED)
    escaped = [A-Za-z0-9_.@-], all else as %XX per byte of UTF-8

Letters beyond ASCII are escaped too: which of them are letters changes with the version of Python, and
the processes of one fleet must agree on a key. Braces occur nowhere: Redis hash tags are made of them.
Where an annotation fixes the type the text is bare, `writer(UUID)` says `2f1e...` for a UUID, and a value
of another type is always tagged, `int(1)`, so that the two cannot meet."""

import re
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import NoneType
from typing import Any, Final, NewType
from uuid import UUID

from acache.errors import UncacheableArgument

Writer = Callable[[Any], str]
"""Writes one value, or raises NoText."""

WORDS: Final = frozenset({"None", "True", "False", "inf", "nan"})
"""The identifiers that a str is quoted for: unquoted they are the text of another value."""

_SAFE = re.compile(r"[A-Za-z0-9_.@-]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.@-]+")
_LITERAL = re.compile(rf"|{'|'.join(WORDS)}|-inf|[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_MICROSECOND = timedelta(microseconds=1)
_EXACT_IN_FLOAT = 2**53  # beyond it two ints would become one float


class NoText(Exception):
    """A value of this class has no canonical text; a `reader` says which argument that was."""

    def __init__(self, culprit: type[Any]) -> None:
        super().__init__(culprit)
        self.culprit = culprit


def text(value: object) -> str:
    """Return the canonical text of *value*, whose type no annotation fixes.

    Raises UncacheableArgument for a value of a class that is not listed in this file."""
    return _TEXT(value)


def scalar(annotation: object) -> type[Any] | None:
    """Return the class whose values *annotation* promises, or None where it fixes no single scalar type."""
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    if isinstance(annotation, type) and (annotation in _SCALARS or issubclass(annotation, Enum)):
        return annotation
    return None


def reader(kind: type[Any] | None, *, label: str, remedy: str) -> Callable[[object], str]:
    """Return a function that writes a value of *kind*, a scalar or None for any, as a part of a key.

    It raises UncacheableArgument that starts with *label* ("argument 'user' of app.load") and ends with
    *remedy*, what to do about it."""
    write = _write if kind is None else writer(kind)

    def read(value: object) -> str:
        try:
            return write(value)
        except NoText as error:
            culprit = error.culprit
            found = f"{culprit.__module__}.{culprit.__qualname__}"
            reason = f"it {'is' if culprit is type(value) else 'holds'} a value of class {found}"
        except RecursionError:
            reason = "it is nested too deeply, or contains itself"
        except ValueError:  # the interpreter's own limit on turning ints into digits
            reason = "it has too many digits"
        raise UncacheableArgument(f"{label} has no canonical text, {reason}: {remedy}")

    return read


def writer(kind: type[Any]) -> Writer:
    """Return what writes a value whose annotation is the scalar *kind*: bare, or tagged if it is none."""
    if issubclass(kind, Enum):  # not of a class below *kind*: two of them may share a name
        return lambda value: escape(value._name_) if type(value) is kind and _named(value) else _tagged(value)
    bare = _SCALARS[kind]
    return lambda value: bare(value) if type(value) is kind or _fits(value, kind) else _tagged(value)


def escape(raw: str) -> str:
    """Return *raw* with everything but `[A-Za-z0-9_.@-]` percent-escaped by UTF-8 bytes."""
    if _SAFE.fullmatch(raw):
        return raw
    return _UNSAFE.sub(lambda found: _percent(found[0].encode("utf-8", "surrogatepass")), raw)


def class_name(kind: type[Any]) -> str:
    """Return the text that stands for a class that is not of this file; no two importable ones share it."""
    # The last bare dot parts module from class: a nested one's own dots are escaped, so a.b + C != a + b.C
    return f"{escape(kind.__module__)}.{escape(kind.__qualname__).replace('.', '%2E')}"


def _write(value: object) -> str:
    kind: type[Any] = type(value)
    if kind is str:
        raw = str(value)
        return f"'{escape(raw)}'" if _LITERAL.fullmatch(raw) else escape(raw)
    return _LITERALS[kind](value) if kind in _LITERALS else _tagged(value)


def _tagged(value: object) -> str:
    kind: type[Any] = type(value)
    if kind in _WRITERS:
        return f"{kind.__name__}({_WRITERS[kind](value)})"
    if isinstance(value, UUID):  # database drivers return their own UUIDs, which equal the plain ones
        return f"UUID({_SCALARS[UUID](value)})"
    return f"{class_name(kind)}({_inside(value, kind)})"


def _inside(value: Any, kind: type[Any]) -> str:
    """Write a value of somebody's own class: a subclass like its base, as long as it compares like it."""
    if isinstance(value, Enum):
        return escape(value._name_) if _named(value) else _tagged(value._value_)
    base = next((base for base in kind.__mro__ if base in _WRITERS), None)
    if base is not None and kind.__eq__ is base.__eq__:
        return _WRITERS[base](value)
    if is_dataclass(kind):
        return ",".join(
            f"{escape(field.name)}={_write(getattr(value, field.name))}" for field in fields(kind)
        )
    raise NoText(kind)


def _named(member: Enum) -> bool:
    # Combined flags have invented names, such as "READ|WRITE", or none.
    return type(member).__members__.get(member._name_) is member


def _fits(value: object, kind: type[Any]) -> bool:
    """Whether *value*, of another class than *kind*, is nevertheless what that annotation promises."""
    if kind is float and isinstance(value, int):
        return -_EXACT_IN_FLOAT <= value <= _EXACT_IN_FLOAT
    return isinstance(value, kind) and not (kind is date and isinstance(value, datetime))


def _percent(raw: bytes) -> str:
    return "%" + raw.hex("%").upper()


def _bytes(value: bytes) -> str:
    return _UNSAFE.sub(lambda found: _percent(found[0].encode("latin-1")), value.decode("latin-1"))


def _items(values: Iterable[object]) -> str:
    return ",".join(map(_write, values))


def _unordered(values: Iterable[object]) -> str:
    return ",".join(sorted(map(_write, values)))


def _pairs(mapping: dict[object, object]) -> str:
    return ",".join(sorted(f"{_write(key)}={_write(value)}" for key, value in mapping.items()))


def _as_str(value: object) -> str:
    return escape(str(value))


# The base's own methods, because a subclass may print itself differently.
_SCALARS: Final[dict[type[Any], Writer]] = {
    int: int.__repr__,
    bool: bool.__repr__,
    float: lambda value: escape(float.__repr__(float(value))),
    str: lambda value: escape(str.__str__(value)),
    bytes: _bytes,
    UUID: UUID.__str__,
    Decimal: lambda value: escape(Decimal.__str__(value)),
    datetime: lambda value: escape(datetime.isoformat(value)),
    date: date.isoformat,
    time: lambda value: escape(time.isoformat(value)),
    timedelta: lambda value: f"{timedelta.__floordiv__(value, _MICROSECOND)}us",
}
_LITERALS: Final[dict[type[Any], Writer]] = {
    NoneType: repr,
    int: int.__repr__,
    bool: bool.__repr__,
    float: _SCALARS[float],
}
_WRITERS: Final[dict[type[Any], Writer]] = {
    **_SCALARS,
    **dict.fromkeys((PurePosixPath, PureWindowsPath, PosixPath, WindowsPath), _as_str),
    **dict.fromkeys((IPv4Address, IPv4Interface, IPv4Network), _as_str),
    **dict.fromkeys((IPv6Address, IPv6Interface, IPv6Network), _as_str),
    NoneType: repr,
    tuple: _items,
    list: _items,
    set: _unordered,
    frozenset: _unordered,
    dict: _pairs,
}
_TEXT: Final = reader(None, label="a value", remedy="pass what identifies it, such as its id")
