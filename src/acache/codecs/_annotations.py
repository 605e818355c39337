"""What msgspec can rebuild from an annotation, and what to write instead where it cannot. Knows no bytes."""

from collections.abc import Iterator
from typing import Any, NoReturn

from msgspec import Struct

from acache.codecs._typed import UnresolvedType, describe
from acache.errors import CodecError

__all__ = ["check_annotation", "refuse_value"]


def check_annotation(annotation: object) -> None:
    """Raise CodecError, with the remedy, unless msgspec can decode into *annotation*."""
    from msgspec.inspect import CustomType, type_info

    try:
        tree = type_info(annotation)
    except (NameError, AttributeError) as error:
        raise UnresolvedType(f"{describe(annotation)} names a type that is not defined: {error}") from error
    except Exception as error:
        # msgspec speaks of types only here, so its words may be repeated.
        raise CodecError(
            f"msgspec cannot decode into {describe(annotation)}: {error}. Where a union is meant, tag its "
            f"classes (msgspec.Struct with tag=True); where nothing else helps, choose another codec"
        ) from error
    for node in _nodes(tree):
        if isinstance(node, CustomType):
            where = "" if annotation is node.cls else f" in {describe(annotation)}"
            raise CodecError(f"msgspec cannot rebuild {describe(node.cls)}{where}: {_remedy(node.cls)}")


def refuse_value(value: object) -> NoReturn:
    """Raise CodecError, with the remedy, for a value of a class that msgspec cannot encode."""
    kind = type(value)
    raise CodecError(f"msgspec cannot encode {describe(kind)}: {_remedy(kind)}")


def _nodes(tree: Any) -> Iterator[object]:
    seen: set[int] = set()  # a class that mentions itself is a cycle
    rest: list[Any] = [tree]
    while rest:
        node = rest.pop()
        if type(node) is tuple:
            rest += node
        elif isinstance(node, Struct) and id(node) not in seen:
            seen.add(id(node))
            yield node
            rest.extend(getattr(node, name) for name in node.__struct_fields__)


def _remedy(cls: type) -> str:
    if hasattr(cls, "__pydantic_core_schema__"):
        return 'use codec="pydantic", which pip install "acache-core[pydantic]" brings'
    modules = {base.__module__.partition(".")[0] for base in cls.__mro__}
    if "pathlib" in modules or "ipaddress" in modules:
        return "return and annotate a str, and convert it where it is used"
    return (
        "return a dataclass, TypedDict, NamedTuple, msgspec.Struct or attrs class of plain fields, "
        'or use codec="pickle" with signing_keys'
    )
