"""Rows to values and back: dict, dataclass, Struct, TypedDict, NamedTuple, attrs, pydantic.

Pure: knows the columns' names, nothing of connections, statements or PostgreSQL's types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import inspect

from acache.errors import ConfigurationError
from acache_postgres._errors import Unfit

V = TypeVar("V")

_TEXT = frozenset({str})
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
    nested: frozenset[str] = frozenset()  # columns that a text holds as JSON
    positional: bool = False

    def read(self, columns: Sequence[str], row: Sequence[object]) -> V:
        """Return *row* as a value. Raises `Unfit`."""
        if self.columns is None:
            return cast("V", dict(zip(columns, row, strict=True)))
        fields = dict(zip(columns, row, strict=True))
        try:
            return msgspec.convert(
                list(fields.values()) if self.positional else fields, self.type, strict=False
            )
        except msgspec.ValidationError as error:
            text = str(error)
            # Its other messages quote the value.
            reason = text if text.startswith("Expected") else "a value that the type refuses"
            raise Unfit(f"a row does not fit {self.type.__name__}: {reason}") from None

    def write(self, value: V) -> dict[str, object]:
        """Return the columns of *value*, those it does not name left out. Raises `Unfit`.

        It may be *value* itself: not to be changed."""
        if self.columns is None or not self.attributes:
            if not isinstance(value, Mapping):
                raise self._another(value)
            mapping = cast("Mapping[object, object]", value)
            if self.columns is None and _TEXT.issuperset(map(type, mapping)):
                return cast("dict[str, object]", mapping)  # what most rows are, and nothing to do
            given = {name: mapping[name] for name in self.columns or mapping if name in mapping}
            if not all(isinstance(name, str) for name in given):
                raise Unfit("the names of columns must be str")
            return cast("dict[str, object]", given)
        if not isinstance(value, self.type):
            raise self._another(value)
        return {name: getattr(value, attribute) for name, attribute in self.attributes.items()}

    def same(self, held: V, given: V) -> bool:
        """Return whether a later read, which gives *held*, is what *given* was; types count."""
        if self.columns is not None:
            return held == given
        left, right = cast("dict[str, object]", held), cast("dict[str, object]", given)
        return left == right and [*map(type, left.values())] == [type(right[name]) for name in left]

    def _another(self, value: object) -> Unfit:
        return Unfit(f"a value must be a {self.type.__name__}, not {type(value).__name__}")


class ModelShape(Shape[V]):
    """The same for a pydantic model, which validates itself."""

    __slots__ = ()

    def read(self, columns: Sequence[str], row: Sequence[object]) -> V:
        """Return *row* as a model. Raises `Unfit`."""
        try:
            return cast("V", cast("Any", self.type).model_validate(dict(zip(columns, row, strict=True))))
        except ValueError as error:
            details = cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
            places = sorted({".".join(map(str, detail["loc"])) for detail in details})
            raise Unfit(f"a row does not fit {self.type.__name__}: see {', '.join(places)}") from None


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


def chosen(shape: Shape[V], columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the columns to read: those asked for, else the type's, else None for all.

    Raises `ConfigurationError` where the type needs others."""
    fields = shape.columns
    if columns is None:
        return fields
    if isinstance(columns, str):
        raise ConfigurationError("columns= must be a collection of names, not one str")
    names = tuple(columns)
    if fields is None:
        return names
    unknown = [name for name in names if name not in fields]
    needed = [name for name in fields if name in shape.required and name not in names]
    if unknown or needed or (shape.positional and names != fields):
        raise ConfigurationError(f"columns= must hold the fields of the type: {', '.join(map(repr, fields))}")
    return names


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
