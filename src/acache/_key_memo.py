"""Remember the keys of a function's last calls: looking a number up is cheaper than writing it. Pure.

A key depends on nothing but the arguments, so what is remembered is never wrong. Only arguments of
exactly the annotated class are looked up: 1, True and 1.0 are one key of a dict, but not of a cache."""

from collections.abc import Callable
from typing import Any, Final

from acache._keys import Template
from acache._signature import CallShape, Names
from acache._text import scalar

LIMIT: Final = 8_192  # keys; then it starts over, and what is hot is back at once
MAX_FIELDS: Final = 2  # with more of them the tuple costs what it saves


class KeyMemo(dict[Any, str]):
    """From an argument, or a tuple of them, to the unfinished key."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[[Any], str]) -> None:
        """Build what is not there with *build*."""
        super().__init__()
        self._build = build

    def __missing__(self, arguments: Any) -> str:
        """Build the key and remember it."""
        if len(self) >= LIMIT:
            self.clear()
        key = self[arguments] = self._build(arguments)
        return key


def memo_expression(template: Template, shape: CallShape, names: Names) -> str:
    """Return the source of an expression like `template.expression`, by way of a memo where that pays."""
    expression = template.expression(shape, names)
    fields = tuple(dict.fromkeys(template.fields))
    kinds = [scalar(shape.hints.get(field)) for field in fields]
    if not 0 < len(fields) <= MAX_FIELDS or not all(kind is int or kind is str for kind in kinds):
        return expression
    arguments = fields[0] if len(fields) == 1 else f"({', '.join(fields)})"
    unpacked = ", ".join(fields) if len(fields) == 1 else f"[{', '.join(fields)}]"
    builder = Names(set(names.taken), {**names.values})
    build, given = builder.fresh("build"), builder.fresh("arguments")
    source = f"def {build}({given}):\n    {unpacked} = {given}\n    return {expression}"
    exec(source, builder.values)  # noqa: S102 - our own source
    memo = names.bind("memo", KeyMemo(builder.values[build]))  # type: ignore[arg-type]
    tests = (
        f"{field}.__class__ is {names.bind(kind.__name__, kind)}"
        for field, kind in zip(fields, kinds, strict=True)
        if kind
    )
    return f"({memo}[{arguments}] if {' and '.join(tests)} else {expression})"
