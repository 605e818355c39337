"""Plant a bug at run time: replace a piece of one function's text while a block runs. Knows no bug."""

import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from unittest.mock import patch


@dataclass(frozen=True, slots=True)
class Edit:
    """Replacements in one function or method of acache."""

    where: str  # "module:Class.method", below `acache`
    pairs: tuple[tuple[str, str], ...]  # old, which occurs exactly once in its source, and new


@contextmanager
def planted(edits: Sequence[Edit]) -> Iterator[None]:
    """Run the block with the edits made. AssertionError where a text is not, or not once, to be found."""
    with ExitStack() as stack:
        for edit in edits:
            owner, name = _owner_of(edit.where)
            stack.enter_context(patch.object(owner, name, _edited(owner, name, edit)))
        yield


def _owner_of(where: str) -> tuple[object, str]:
    module, _, path = where.partition(":")
    owner = import_module(f"acache.{module}")
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    return owner, name


def _edited(owner: object, name: str, edit: Edit) -> object:
    found = inspect.getattr_static(owner, name)
    function = inspect.unwrap(getattr(found, "fget", None) or found)
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in edit.pairs:
        times = source.count(old)
        assert times == 1, f"{edit.where} has {times} times what shall be replaced: {old!r}"
        source = source.replace(old, new)
    scope: dict[str, object] = {}
    code = compile(source, f"<planted in {edit.where}>", "exec")
    exec(code, function.__globals__, scope)
    return scope[name]
