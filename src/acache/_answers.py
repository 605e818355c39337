"""Which value of a batch loader's answer belongs to the id that was asked for. Pure.

To a mapping 1, True and 1.0 are one key; to a cache they are three, and whoever invalidates one of
them does not invalidate the others. So an id is answered only by a key that has its text."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from acache._text import Writer
from acache.errors import UncacheableArgument

K = TypeVar("K")
CONFUSED: Final = object()
"""The answer is of another id, which is merely equal to the one that was asked for."""

_NOTHING: Final = object()
# Of these, values of one type that are equal have one text. (0.0 and -0.0 have not, nor have times.)
_PLAIN: Final = frozenset({int, str, bool, bytes, UUID})


class Partly(dict[Any, Any]):
    """An answer to some of the ids: for each of the others it has an error."""

    def __init__(self, found: Mapping[Any, Any], errors: Mapping[Any, Exception]) -> None:
        """Answer what *found* has; raise the error of an id in *errors*."""
        super().__init__(found)
        self.errors = errors


def answering(found: Mapping[Any, Any], ids: Iterable[Any], text: Writer | None) -> Callable[[Any], Any]:
    """Return what gives the value of one of *ids*: None for one that does not exist, or `CONFUSED`.

    *text* writes an id as the cache's keys have it; None: the ids are such keys. It raises the error
    of an id that has one in `Partly`."""
    if isinstance(found, Partly):
        errors, rest = found.errors, answering(dict(found), ids, text)

        def or_raise(id: Any) -> Any:
            if id in errors:
                raise errors[id]
            return rest(id)

        return or_raise
    kinds = {*map(type, ids), *map(type, found)}
    if text is None or (len(kinds) == 1 and kinds <= _PLAIN):
        return found.get
    own = {each: each for each in found}
    write = text

    def value_of(id: Any) -> Any:
        held = own.get(id, _NOTHING)
        if held is _NOTHING:
            return None
        return found[held] if _alike(held, id, write) else CONFUSED

    return value_of


def apart(ids: dict[str, K]) -> dict[str, K]:
    """Return *ids*, by their keys. Raises ValueError for two that no mapping would hold apart."""
    if len(set(ids.values())) < len(ids):
        raise ValueError(
            "ids: two are equal but of several types, as 1 and True are: pass them one at a time"
        )
    return ids


def _alike(held: object, id: object, text: Writer) -> bool:
    if held is id:
        return True
    if type(held) is type(id) and type(id) in _PLAIN:
        return True
    try:
        return text(held) == text(id)
    except UncacheableArgument:  # what no key can be made of is no id
        return False
