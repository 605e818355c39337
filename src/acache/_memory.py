"""Entries in this process, bounded. Synchronous; knows nothing of loops, loads or freshness.

There is one dict, and `lookup` is its `get`: a hit costs one call into C and the reader's
`entry.used = True`. All else happens when entries come and go, a few steps at a time: no call does
work in proportion to the store, but for `drop_tag` to the entries it drops (`thin_tag` does that in
slices) and `clear` (a walk over pointers; what it emptied is freed piece by piece afterwards)."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from gc import get_referents
from math import inf
from sys import getsizeof
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, urlsplit

from acache._entry import UNLINKED, Entry
from acache._eviction import Eviction
from acache._expiry import Wheel
from acache.clock import SYSTEM_CLOCK, Clock
from acache.errors import ConfigurationError

MAX_ENTRIES: Final = 10_000
RECLAIMED_PER_PUT: Final = 2  # more than one: a store that is written to gets rid of what has expired
FREED_AT_ONCE: Final = 10_000  # by `clear`: a few milliseconds
MAX_DIGITS: Final = 20  # of a number in a URL
WEIGHED_OBJECTS: Final = 1_000
SHARED_TYPES: Final = (type, ModuleType, FunctionType, BuiltinFunctionType)  # no part of any value

Weigh = Callable[[str, object], int]


def footprint(key: str, value: object) -> int:
    """Estimate how many bytes *key* and *value* take, with all they refer to, the first 1,000 objects."""
    total = 0
    seen: set[int] = set()
    pending: list[object] = [key, value]
    while pending and len(seen) < WEIGHED_OBJECTS:
        item = pending.pop()
        if id(item) not in seen and not isinstance(item, SHARED_TYPES):
            seen.add(id(item))
            total += getsizeof(item)
            pending.extend(get_referents(item))
    return total


class MemoryStore:
    """A `LocalStore` that holds a bounded number of entries, by reference.

    *max_entries*: how many at most. *max_weight*: what all of them may weigh together; an entry that
    weighs more alone is not kept; None: they are not weighed. *weigh*: says what an entry weighs, from
    its key and value, once, when it is put: any unit, an int of at least 0; without it the weight is
    an estimate in bytes (`footprint`). *copy*: "codec" asks the cache to hand every reader a value of
    its own, by way of its codec. *clock*: what tells the time; may also be set while the store is
    empty, as a cache does.

    `on_evict`, if set, is called
    with the key and the entry that had to go for want of room (not: expired, dropped, replaced); it
    must not touch the store. Entries that have expired go before any other, once they are noticed: an
    eighth of their lifetime later at most. Beside key and value an entry needs less than 300 bytes,
    tags not counted; the keys of as many entries again are remembered after they were evicted."""

    __slots__ = (
        "_clock",
        "_doomed",
        "_entries",
        "_eviction",
        "_now",
        "_tagged",
        "_weigh",
        "_weights",
        "_wheel",
        "copy",
        "lookup",
        "max_entries",
        "max_weight",
        "on_evict",
        "weight",
    )

    def __init__(
        self,
        max_entries: int = MAX_ENTRIES,
        *,
        max_weight: int | None = None,
        weigh: Weigh | None = None,
        copy: Literal["codec"] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make an empty store. Raises ConfigurationError for a bound below 1 and for other copies."""
        _at_least_one("max_entries", max_entries)
        if max_weight is not None:
            _at_least_one("max_weight", max_weight)
        elif weigh is not None:
            raise ConfigurationError("weigh= without max_weight= bounds nothing: name the heaviest total")
        if copy not in {None, "codec"}:
            raise ConfigurationError(f'copy={copy!r} is unknown: leave it out, or write copy="codec"')
        self.max_entries: Final = max_entries
        self.max_weight: Final = max_weight
        self.copy: Final = copy
        self.on_evict: Callable[[str, Entry], None] | None = None
        self.weight = 0  # of all entries; 0 where none are weighed
        self.clock = clock or SYSTEM_CLOCK
        self._weigh: Final = weigh or (footprint if max_weight is not None else None)
        self._entries: Final[dict[str, Entry]] = {}
        self._eviction: Final = Eviction()
        self._wheel: Final = Wheel()
        self._tagged: Final[defaultdict[str, set[str]]] = defaultdict(set)  # keys by tag; no set is empty
        self._weights: Final[dict[str, int]] = {}  # by key, where entries are weighed
        self._doomed: Final[list[Entry]] = []  # cleared, but still linked to each other
        self.lookup: Final = self._entries.get

    def __repr__(self) -> str:
        """Show how full the store is, and nothing of what it holds."""
        return f"<MemoryStore {len(self)} of {self.max_entries} entries>"

    def __len__(self) -> int:
        """Return how many entries are held, with those that have expired but were not reclaimed yet."""
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys as they are now; the store may change meanwhile."""
        return iter(list(self._entries))

    def __contains__(self, key: str) -> bool:
        """Say whether *key* is held, expired or not."""
        return key in self._entries

    @property
    def clock(self) -> Clock:
        """What tells which entries have expired."""
        return self._clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._clock = clock
        self._now = clock.monotonic

    def put(self, key: str, entry: Entry) -> None:
        """Keep *entry*, replacing another of the same key, until it expires or is evicted.

        One that has expired or weighs too much is not kept, but ends the other all the same. What
        `weigh` raises comes out, and then nothing is kept under *key*."""
        timed = entry.expires < inf
        now = self._now() if timed or self._wheel.next < inf else 0.0  # else nothing can have expired
        if self._wheel.next <= now or self._doomed:
            self._reclaim(RECLAIMED_PER_PUT, now)
        weight = 0 if self._weigh is None else self._weigh_in(key, entry.value, now)
        if weight is None or entry.expires <= now:
            self.drop(key)
            return
        if entry.key is not None:  # held already: an entry is linked into one place only
            entry = entry.twin()
        entries = self._entries
        old = entries.get(key)
        if old is None:
            if len(entries) >= self.max_entries:
                self._evict(now)
            self._eviction.admit(key, entry, len(entries))
        else:
            self._eviction.replace(old, entry)
            key = self._release(old)  # the dict keeps the string it has; a second one would cost memory
        entries[key] = entry
        entry.key = key
        if timed:
            self._wheel.add(entry, now)
        if entry.tags:
            for tag in entry.tags:
                self._tagged[tag].add(key)
        if self._weigh is not None:
            self._weights[key] = weight
            self.weight += weight

    def drop(self, key: str) -> None:
        """Forget *key*; nothing happens if it is not there."""
        entry = self._entries.get(key)
        if entry is not None:
            self._forget(entry)

    def drop_tag(self, tag: str) -> None:
        """Forget every entry that carries *tag*."""
        self.thin_tag(tag, len(self._entries))

    def thin_tag(self, tag: str, limit: int) -> int:
        """Forget up to *limit* of the entries that carry *tag*, and return how many still do."""
        keys = self._tagged.get(tag)
        if keys is None:
            return 0
        for _ in range(min(limit, len(keys))):
            self._forget(self._entries[keys.pop()])
        return len(keys)

    def clear(self) -> None:
        """Forget everything. Of a large store the memory is freed by later calls, a few entries each."""
        self._doomed.extend(self._entries.values())
        self._entries.clear()
        self._eviction.clear()
        self._wheel.clear()
        self._tagged.clear()
        self._weights.clear()
        self.weight = 0
        self._free(FREED_AT_ONCE)

    def reclaim(self, limit: int = 1_000) -> int:
        """Free up to *limit* entries that have expired or were cleared, and return how many it were.

        Every `put` does a few. Fewer than *limit* means that nothing is left to do for now."""
        return self._reclaim(limit, self._now())

    def _reclaim(self, limit: int, now: float) -> int:
        done = self._free(limit) if self._doomed else 0
        while done < limit and (entry := self._wheel.due(now)) is not None:
            self._forget(entry)
            done += 1
        return done

    def _weigh_in(self, key: str, value: object, now: float) -> int | None:
        """Return what the entry weighs, having made room for it; None if there can be none."""
        weigh, limit = cast("Weigh", self._weigh), cast("int", self.max_weight)
        weight = -1
        try:
            weight = weigh(key, value)
        finally:
            if not 0 <= weight <= limit:
                self.drop(key)  # outdated, although the new value cannot be kept
        if weight < 0:
            raise ConfigurationError(f"weigh= returned {weight}: let it return an int of at least 0")
        if weight > limit:
            return None
        while self.weight - self._weights.get(key, 0) + weight > limit:
            self._evict(now)
        return weight

    def _evict(self, now: float) -> None:
        entry = self._eviction.evict(len(self._entries), now)
        key = self._release(entry)
        if self.on_evict is not None:
            self.on_evict(key, entry)

    def _forget(self, entry: Entry) -> None:
        self._eviction.remove(entry)
        self._release(entry)

    def _release(self, entry: Entry) -> str:
        """Take *entry*, which has left the queues, out of everywhere else; return its key."""
        key: str = entry.key  # type: ignore[assignment]  # it is held
        del self._entries[key]
        entry.key = None
        if entry.expires < inf:
            self._wheel.remove(entry)
        if entry.tags:
            self._untag(key, entry.tags)
        if self._weigh is not None:
            self.weight -= self._weights.pop(key)
        return key

    def _untag(self, key: str, tags: tuple[str, ...]) -> None:
        for tag in tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]

    def _free(self, limit: int) -> int:
        """Unlink up to *limit* cleared entries: linked to each other they would wait for a collection."""
        doomed = self._doomed
        done = min(limit, len(doomed))
        for _ in range(done):
            entry = doomed.pop()
            entry.key = None
            entry.older = entry.newer = UNLINKED
            if entry.expires < inf:
                entry.sooner = entry.later = UNLINKED
        return done


def _at_least_one(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name}={value!r} bounds nothing: give an int of at least 1")


def from_url(url: str) -> MemoryStore:
    """Return a store for `memory://?max_entries=10000&max_weight=50000000&copy=codec`, each optional.

    The weight is in bytes, estimated. Raises ConfigurationError for anything else in the URL."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        parts = None
    del url  # somebody's password may be in it all the same
    if parts is None or parts.netloc or parts.path not in {"", "/"} or parts.fragment:
        del parts
        raise ConfigurationError("memory:// has no host and no path: write memory://?max_entries=10000")
    options: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in {"max_entries", "max_weight", "copy"}:
            shown = f"parameter {name!r}" if name.isidentifier() else "such parameter"
            del parts, name, text
            raise ConfigurationError(f"memory:// has no {shown}: it takes max_entries, max_weight and copy")
        if name in options:
            raise ConfigurationError(f"memory:// names {name} twice: leave one out")
        options[name] = text if name == "copy" else _integer(text)
    return MemoryStore(**options)


def _integer(text: str) -> object:
    """Return the integer that *text* writes, or *text* itself, which the constructor refuses by name."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else text
