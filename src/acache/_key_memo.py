"""Remember the keys of a function's last loads: looking a number up is cheaper than writing it. Pure.

A key depends on nothing but the arguments, so what is remembered is never wrong. Only arguments of
exactly the annotated class are looked up: 1, True and 1.0 are one key of a dict, but not of a cache.
Hits only look: they write a key that was forgotten anew, for little more than if there were no memo."""

from typing import Any, Final

from acache._keys import Template
from acache._signature import CallShape, Names
from acache._text import scalar

LIMIT: Final = 1_024  # keys; among more of them finding one takes as long as writing it
MAX_FIELDS: Final = 2  # with more of them the tuple costs what it saves


class KeyMemo(dict[Any, str]):
    """From an argument, or a tuple of them, to the unfinished key."""

    __slots__ = ()

    def keep(self, arguments: Any, key: str) -> None:
        """Remember *key*; when there are too many it starts over."""
        if len(self) >= LIMIT:
            self.clear()
        self[arguments] = key


def memoised(template: Template, shape: CallShape, names: Names, key: str) -> tuple[str, str]:
    """Return the source of an expression like `template.expression`, by way of a memo where that pays.

    With it comes that of a statement which has its value, then named *key*, remembered."""
    expression = template.expression(shape, names)
    fields = tuple(dict.fromkeys(template.fields))
    kinds = [scalar(shape.hints.get(field)) for field in fields]
    if not 0 < len(fields) <= MAX_FIELDS or not all(kind is int or kind is str for kind in kinds):
        return expression, "pass"
    arguments = fields[0] if len(fields) == 1 else f"({', '.join(fields)})"
    memo = KeyMemo()
    recall, keep = names.bind("recall", memo.get), names.bind("keep", memo.keep)
    tests = " and ".join(
        f"{field}.__class__ is {names.bind(kind.__name__, kind)}"
        for field, kind in zip(fields, kinds, strict=True)
        if kind
    )
    # No key is empty, or it is written each time: no harm.
    return (
        f"({tests} and {recall}({arguments}) or {expression})",
        f"if {tests}: {keep}({arguments}, {key})",
    )
