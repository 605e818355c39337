"""Which keys and tags the rows of a table stand for. Pure: knows no connection.

A row arrives as a JSON array of the columns that the templates name; its values become what
asyncpg would have made of them, so that the names are those that an application builds."""

import datetime as dt
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import ip_interface, ip_network
from string import Formatter
from typing import Any, Protocol, cast
from uuid import UUID

from acache.errors import ConfigurationError

WHOLE = "*"
"""The message that says that anything in the table may have changed."""


class Naming(Protocol):
    """What is asked of a cache to build names: `acache.Cache` has it."""

    def key(self, template: str, *args: object, **named: object) -> str:
        """Return the key that the decorators build."""
        ...

    def tag(self, template: str, *args: object, **named: object) -> str:
        """Return the tag that the decorators build."""
        ...


@dataclass(slots=True, kw_only=True)
class Names:
    """Keys and tags to invalidate."""

    keys: set[str] = field(default_factory=set[str])
    tags: set[str] = field(default_factory=set[str])
    everything: bool = False

    def add(self, other: "Names") -> None:
        """Add what *other* has."""
        self.keys |= other.keys
        self.tags |= other.tags
        self.everything |= other.everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template and the columns that it names."""

    text: str
    columns: tuple[str, ...]

    def name(self, build: Callable[..., str], row: Mapping[str, object]) -> str:
        """Return the key or tag of *row*, as *build* builds it from the template and its values."""
        return build(self.text, *(row[column] for column in self.columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A table and what its rows stand for."""

    table: str
    keys: tuple[Template, ...]
    tags: tuple[Template, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its templates name, each once, in the order of a message's arrays."""
        named = (column for template in (*self.keys, *self.tags) for column in template.columns)
        return tuple(dict.fromkeys(named))

    def check(self, naming: Naming) -> None:
        """Raise `InvalidTemplate` if a template cannot be one of a key or tag."""
        for build, templates in ((naming.key, self.keys), (naming.tag, self.tags)):
            for template in templates:
                with suppress(TypeError):  # an annotation that wants something else than a number
                    template.name(build, dict.fromkeys(template.columns, 0))

    def whole(self) -> Names:
        """Return what the whole table stands for: a tag without a field, or else everything."""
        fixed = Names(
            keys={template.text for template in self.keys if not template.columns},
            tags={template.text for template in self.tags if not template.columns},
        )
        fixed.everything = not fixed.tags and any(t.columns for t in (*self.keys, *self.tags))
        return fixed

    def names(self, message: str, naming: Naming, types: Mapping[str, str]) -> Names:
        """Return what *message* stands for; one that cannot be read stands for the whole table."""
        if message == WHOLE:
            return self.whole()
        names = Names()
        try:
            rows = json.loads(message)
            if not isinstance(rows, list):
                return self.whole()
            for values in cast("list[list[object]]", rows):
                row = {
                    column: value_of(types[column], value)
                    for column, value in zip(self.columns, values, strict=True)
                }
                names.keys.update(template.name(naming.key, row) for template in self.keys)
                names.tags.update(template.name(naming.tag, row) for template in self.tags)
        except (ValueError, TypeError, ArithmeticError):  # what is no JSON, what has no text for a key
            return self.whole()
        return names


def watched(
    tables: Mapping[str, str | Iterable[str]], tags: Mapping[str, str | Iterable[str]]
) -> tuple[Watched, ...]:
    """Return what to watch. Raises `ConfigurationError` for templates that are none."""
    if not tables and not tags:
        raise ConfigurationError('tables=: name at least one, as in {"users": "user:{id}"}')
    return tuple(
        Watched(
            table=table,
            keys=_templates("tables", table, tables.get(table, ())),
            tags=_templates("tags", table, tags.get(table, ())),
        )
        for table in dict.fromkeys((*tables, *tags))
    )


def value_of(base: str, value: Any) -> object:
    """Return a value from JSON as a key has it: as asyncpg gives it, but for what `_values` says of keys.

    Raises ValueError for one whose name cannot be told: then anything may have changed."""
    reader = _READERS.get(base)
    return value if value is None or reader is None else reader(value)


def _ended(read: Callable[[str], Any], first: object, last: object) -> Callable[[str], object]:
    """Return *read* for times that may be infinite, which asyncpg gives as the *first* and the *last*."""
    return lambda text: {"-infinity": first, "infinity": last}.get(text) or read(text)


def _utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def _host(text: str) -> object:
    found = ip_interface(text)
    return found.ip if found.network.prefixlen == found.max_prefixlen else found


def _unknown(value: object) -> object:
    raise ValueError(f"a {type(value).__name__} of this type has no name here")


def _single(number: float | str) -> float:
    """Return what asyncpg makes of a `float4`: 0.1 is 0.10000000149011612."""
    single: float = struct.unpack("f", struct.pack("f", float(number)))[0]
    return single


_ENDS = dt.datetime.min, dt.datetime.max  # noqa: DTZ901 - as asyncpg has them, for times with a zone too
_READERS: Mapping[str, Callable[[Any], object]] = {
    "float4": _single,  # 'NaN' and 'Infinity' are texts in JSON
    "float8": float,
    "numeric": Decimal,
    "uuid": UUID,
    "bytea": bytes.fromhex,
    "date": _ended(dt.date.fromisoformat, dt.date.min, dt.date.max),
    "time": dt.time.fromisoformat,
    "timetz": dt.time.fromisoformat,
    "timestamp": _ended(dt.datetime.fromisoformat, *_ENDS),
    "timestamptz": _ended(_utc, *_ENDS),
    "interval": _unknown,
    "oid": int,
    "xid8": int,
    "char": str.encode,
    "inet": _host,
    "cidr": ip_network,
}


def _templates(parameter: str, table: str, given: str | Iterable[str]) -> tuple[Template, ...]:
    texts: Sequence[str] = [given] if isinstance(given, str) else list(given)
    return tuple(_template(parameter, table, text) for text in texts)


def _template(parameter: str, table: str, text: str) -> Template:
    try:
        fields = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except (TypeError, ValueError):
        fields = [""]
    if not all(name.isidentifier() for name in fields):
        raise ConfigurationError(
            f'{parameter}= of table {table!r}: {text!r} must name columns in braces, as in "user:{{id}}"'
        )
    return Template(text=text, columns=tuple(fields))
