"""The last things that happened in a cache: invalidations and troubles. Bounded; holds no value."""

from collections import OrderedDict, deque
from typing import Any, Final

from acache.clock import SYSTEM_CLOCK, Clock
from acache.events import (
    BreakerChanged,
    Cleared,
    EntryRejected,
    Event,
    FlushFailed,
    HeadStartTooLong,
    Inconsistent,
    Invalidated,
    InvalidationLanded,
    InvalidationPending,
    LoadFailed,
    RefreshFailed,
    RoundTripFailed,
    StoreFailed,
    WriteBuried,
)

MOST: Final = 50  # of each kind
MOST_TAGS: Final = 200
SHOWN: Final = 8  # names of one event; a batch may have thousands

_TROUBLES: Final[dict[type[Event], str]] = {
    LoadFailed: "load failed",
    RefreshFailed: "refresh failed",
    EntryRejected: "stored bytes refused",
    RoundTripFailed: "not stored: would not come back as it was",
    StoreFailed: "remote store failed",
    InvalidationPending: "invalidation pending",
    InvalidationLanded: "pending invalidations landed",
    Inconsistent: "differs from the source",
    FlushFailed: "flush failed",
    WriteBuried: "write refused for its data",
    HeadStartTooLong: "refreshed too early",
}


class Recent:
    """An observer that remembers the last events worth a line."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start with none; *clock* dates them."""
        self._clock = clock
        self.invalidations: deque[dict[str, Any]] = deque(maxlen=MOST)
        self.troubles: deque[dict[str, Any]] = deque(maxlen=MOST)
        self._tags: OrderedDict[str, tuple[int, float]] = OrderedDict()  # times invalidated, and when last

    @property
    def tags(self) -> list[dict[str, Any]]:
        """The tags invalidated last, latest first."""
        return [{"tag": tag, "count": count, "at": at} for tag, (count, at) in reversed(self._tags.items())]

    def __call__(self, event: Event) -> None:
        """Take one event."""
        at = self._clock.time()
        if isinstance(event, Invalidated):
            self._invalidated(event.keys, event.tags, at)
        elif isinstance(event, Cleared):
            self._invalidated(("everything",), (), at)
        elif isinstance(event, BreakerChanged):
            word = "remote store away" if event.open else "remote store back"
            self.troubles.appendleft({"at": at, "what": word, "about": "", "detail": ""})
        elif type(event) in _TROUBLES:
            about = getattr(event, "function", "") or getattr(event, "operation", "")
            key = getattr(event, "key", "")
            self.troubles.appendleft(
                {
                    "at": at,
                    "what": _TROUBLES[type(event)],
                    "about": " ".join(part for part in (about, key) if part),
                    "detail": str(getattr(event, "error", "") or getattr(event, "reason", "")),
                }
            )

    def _invalidated(self, keys: tuple[str, ...], tags: tuple[str, ...], at: float) -> None:
        more = max(0, len(keys) - SHOWN) + max(0, len(tags) - SHOWN)
        self.invalidations.appendleft({"at": at, "keys": keys[:SHOWN], "tags": tags[:SHOWN], "more": more})
        for tag in tags:
            count, _ = self._tags.pop(tag, (0, 0.0))
            self._tags[tag] = (count + 1, at)
            if len(self._tags) > MOST_TAGS:
                self._tags.popitem(last=False)
