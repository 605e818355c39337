"""What a loader says about the value it returns, from inside the load."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, cast

from acache._entry import Entry
from acache._keys import check_key, finish
from acache._policy import read_options
from acache._types import UNSET, Duration, Unset


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """The entry that a load is about to replace."""

    value: Any
    age: float  # seconds since its own load began
    tags: tuple[str, ...] = ()


class NotModified:
    """What `load.not_modified()` returns: the mark of a value that is still right."""

    __slots__ = ()


NOT_MODIFIED: Final = NotModified()


class Loading:
    """The running load: a loader may set `ttl`, add to `tags`, `skip()`, or find `not_modified()`."""

    __slots__ = ("_declared", "_skip", "_tags", "_ttl", "current", "over")

    def __init__(self, current: Current | None = None, tags: tuple[str, ...] = ()) -> None:
        """Start with the tags of the call."""
        self.current = current
        self.over = False  # set by whoever runs the load: what it left running may still refer to this
        self._declared = tags
        self._tags = set(tags)
        self._ttl: float | Unset | None = UNSET
        self._skip = False

    @property
    def tags(self) -> set[str]:
        """The tags of the value: those of the call, to which the loader may add."""
        return self._tags

    @property
    def all_tags(self) -> tuple[str, ...]:
        """The tags of the call, then the added ones; TypeError or InvalidKey for what can be none."""
        late = self._tags.difference(self._declared)
        if not late:
            return self._declared
        return (*self._declared, *sorted(finish(check_key(tag, what="tag")) for tag in late))

    @property
    def ttl(self) -> float | Unset | None:
        """How long this value is fresh, in seconds or as a timedelta; None until invalidated."""
        return self._ttl

    @ttl.setter
    def ttl(self, value: Duration | None) -> None:
        self._ttl = cast("float | None", read_options({"ttl": value})["ttl"])

    @property
    def skipped(self) -> bool:
        """Whether `skip()` was called."""
        return self._skip

    def skip(self) -> None:
        """Serve the value that the loader returns, but do not store it."""
        self._skip = True

    def not_modified(self) -> Any:
        """Return this from the loader to prolong the current value, which keeps its tags.

        Raises LookupError where nothing is cached that could be prolonged."""
        if self.current is None:
            raise LookupError("load.not_modified(): nothing is cached; look at load.current first")
        self._tags.update(self.current.tags)
        return NOT_MODIFIED


LOADING: Final[ContextVar[Loading | None]] = ContextVar("acache_loading", default=None)


def loading() -> Loading:
    """Return the load that the current code is part of; outside of one, an inert stand-in."""
    return LOADING.get() or Loading()


def current(entry: Entry | None, now: float) -> Current | None:
    """Return what a loader may know of the entry it replaces."""
    return None if entry is None else Current(value=entry.value, age=now - entry.born, tags=entry.tags)
