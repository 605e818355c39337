"""Rows to values and back: dict, dataclass, Struct, TypedDict, NamedTuple, attrs, pydantic.

Pure: knows the columns' names, nothing of connections or statements. What SQLite has no type for
is text, as msgspec writes it (dates ISO 8601, UUID, Decimal), and collections are JSON text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast, get_type_hints

import msgspec
from msgspec import inspect

from acache.errors import ConfigurationError
from acache_sqlite._errors import Unfit

V = TypeVar("V")

Bindable = None | int | float | str | bytes
"""What SQLite stores."""

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_AS_THEY_ARE = (bytes, bytearray, memoryview)
_READ_AS_THEY_ARE = (int, str, bytes)
_NESTED = (
    inspect.CollectionType,
    inspect.DictType,
    inspect.TypedDictType,
    inspect.StructType,
    inspect.DataclassType,
    inspect.NamedTupleType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape(Generic[V]):
    """How a type is spread over columns. `columns` None: whatever columns there are."""

    type: type[V]
    columns: tuple[str, ...] | None = None
    required: frozenset[str] = frozenset()
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])  # column to attribute
    nested: frozenset[str] = frozenset()  # columns of JSON text
    positional: bool = False

    def read(self, columns: Sequence[str], row: Sequence[object]) -> V:
        """Return *row* as a value. Raises `Unfit`."""
        if self.columns is None:
            return cast("V", dict(zip(columns, row, strict=True)))
        fields = self._fields(columns, row)
        try:
            return msgspec.convert(
                list(fields.values()) if self.positional else fields, self.type, strict=False
            )
        except msgspec.ValidationError as error:
            text = str(error)
            # Its other messages quote the value.
            reason = text if text.startswith("Expected") else "a value that the type refuses"
            msg = f"a row does not fit {self.type.__name__}: {reason}"
            raise Unfit(msg) from None

    def write(self, value: V) -> dict[str, Bindable]:
        """Return the columns of *value*, those it does not name left out. Raises `Unfit`."""
        if self.columns is None or not self.attributes:
            if not isinstance(value, Mapping):
                raise _another(self.type, value)
            mapping = cast("Mapping[object, object]", value)
            given = {name: mapping[name] for name in self.columns or mapping if name in mapping}
        elif isinstance(value, self.type):
            given = {name: getattr(value, attribute) for name, attribute in self.attributes.items()}
        else:
            raise _another(self.type, value)
        return {
            cast("str", name): cast("Bindable", held) if type(held) in PLAIN else self._bound(name, held)
            for name, held in given.items()
        }

    def readers(self) -> dict[str, Callable[[object], object]]:
        """Return, by column, what makes of its value the one that a row of this type has."""
        if self.columns is None:
            return {}
        try:
            hints = get_type_hints(self.type, include_extras=True)
        except (NameError, TypeError, AttributeError):  # what it names exists for type checkers only
            return {}
        return {
            name: partial(_converted, hints[attribute])
            for name in self.columns
            if hints.get(attribute := self.attributes.get(name, name), str) not in _READ_AS_THEY_ARE
        }

    def same(self, held: V, given: V) -> bool:
        """Return whether a later read, which gives *held*, is what *given* was; types count."""
        if self.columns is not None:
            return held == given
        types = {name: type(value) for name, value in cast("dict[str, object]", held).items()}
        return held == given and types == {
            name: type(value) for name, value in cast("dict[str, object]", given).items()
        }

    def _fields(self, columns: Sequence[str], row: Sequence[object]) -> dict[str, object]:
        fields = dict(zip(columns, row, strict=True))
        for name in self.nested:
            held = fields.get(name)
            if isinstance(held, (str, bytes)):
                fields[name] = _from_json(held)
        return fields

    def _bound(self, name: object, value: object) -> Bindable:
        plain = bindable(value, nested=name in self.nested)
        if isinstance(plain, (list, dict)):
            return msgspec.json.encode(cast("object", plain)).decode()
        return cast("Bindable", plain)


class ModelShape(Shape[V]):
    """The same for a pydantic model, which validates itself."""

    __slots__ = ()

    def read(self, columns: Sequence[str], row: Sequence[object]) -> V:
        """Return *row* as a model. Raises `Unfit`."""
        fields = self._fields(columns, row)
        try:
            return cast("V", cast("Any", self.type).model_validate(fields))
        except ValueError as error:
            details = cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
            places = sorted({".".join(map(str, detail["loc"])) for detail in details})
            msg = f"a row does not fit {self.type.__name__}: see {', '.join(places)}"
            raise Unfit(msg) from None

    def write(self, value: V) -> dict[str, Bindable]:
        """Return the columns of a model, the models inside it as JSON text. Raises `Unfit`."""
        if not isinstance(value, self.type):
            raise _another(self.type, value)
        held = {name: getattr(value, attribute) for name, attribute in self.attributes.items()}
        # Bytes stay bytes; only what SQLite has no type for is turned into pydantic's JSON.
        foreign = {self.attributes[name] for name, part in held.items() if type(part) not in PLAIN}
        plain = cast("Any", value).model_dump(mode="json", by_alias=True, include=foreign)
        return {name: self._bound(name, part) for name, part in (held | plain).items()}


def _converted(kind: Any, held: object) -> object:
    if type(held) is kind:
        return held
    try:
        return msgspec.convert(held, kind, strict=False)
    except (msgspec.ValidationError, TypeError):  # then the row cannot be read either, or not by msgspec
        return held


def shape_of(kind: type[V]) -> Shape[V]:
    """Return how *kind* is spread over columns; `ConfigurationError` if it cannot be."""
    if kind is dict:
        return Shape(type=kind)
    if hasattr(kind, "model_validate") and hasattr(kind, "model_fields"):
        return _model_shape(kind)
    try:
        info = inspect.type_info(kind)
    except TypeError as error:
        raise _no_row(kind) from error
    if not isinstance(
        info, (inspect.StructType, inspect.DataclassType, inspect.TypedDictType, inspect.NamedTupleType)
    ):
        raise _no_row(kind)
    fields = info.fields
    return Shape(
        type=kind,
        columns=tuple(item.encode_name for item in fields),
        required=frozenset(item.encode_name for item in fields if item.required),
        attributes=(
            {}
            if isinstance(info, inspect.TypedDictType)
            else {item.encode_name: item.name for item in fields}
        ),
        nested=frozenset(item.encode_name for item in fields if _is_nested(item.type)),
        positional=isinstance(info, inspect.NamedTupleType)
        or (isinstance(info, inspect.StructType) and info.array_like),
    )


def bindable(value: object, *, nested: bool = False) -> object:
    """Return *value* as what SQLite stores; with *nested* a list or dict too. Raises `Unfit`."""
    if type(value) in PLAIN:
        return value
    try:
        plain: object = msgspec.to_builtins(value, builtin_types=_AS_THEY_ARE, str_keys=True)
    except (TypeError, ValueError, RecursionError):
        plain = value
    if isinstance(plain, (bytearray, memoryview)):
        return bytes(cast("bytes", plain))
    if type(plain) in PLAIN or (nested and type(plain) in {list, dict}):
        return plain
    msg = f"a {type(value).__name__} cannot be stored in a column"
    raise Unfit(msg)


def _another(kind: type, value: object) -> Unfit:
    return Unfit(f"a value must be a {kind.__name__}, not {type(value).__name__}")


def _no_row(kind: object) -> ConfigurationError:
    return ConfigurationError(
        f"type={kind!r} is not a row: use dict, a dataclass, a msgspec Struct, a TypedDict, "
        "a NamedTuple, an attrs class or a pydantic model"
    )


def _is_nested(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(map(_is_nested, kind.types))
    if isinstance(kind, inspect.CustomType):  # a model inside a model
        return hasattr(kind.cls, "model_fields")
    return isinstance(kind, _NESTED)


def _from_json(text: str | bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        msg = "a column that should hold JSON does not"
        raise Unfit(msg) from None


def _model_shape(kind: type[V]) -> Shape[V]:
    fields = cast("Mapping[str, Any]", cast("Any", kind).model_fields)
    names = {item.alias or name: name for name, item in fields.items()}
    return ModelShape(
        type=kind,
        columns=tuple(names),
        required=frozenset(item.alias or name for name, item in fields.items() if item.is_required()),
        attributes=names,
        nested=frozenset(
            item.alias or name
            for name, item in fields.items()
            if _is_nested(inspect.type_info(item.annotation))
        ),
    )
