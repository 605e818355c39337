"""The entries that this process holds, and the one rule for every put.

Nothing - read, loaded, set or committed - is put near if a message for its key or tags came since
the mark that was taken before its first request was sent. Without a remote store the near store is
all there is, and it is always trusted; in front of one it is trusted until `trusted_until`."""

from collections.abc import Callable, Container, Iterable, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

from acache._entry import Entry
from acache._ledger import Ledger
from acache.protocols import LocalStore, ThinnedTags

SLICE: Final = 1_000  # entries of a tag that are dropped in one go: a few milliseconds
MAX_VERSIONS: Final = 50_000  # of tags, held near; then it starts over
NOTHING_HELD: Final[Mapping[str, bytes]] = MappingProxyType({})


class Evictions:
    """Counts what a store evicts, and passes it on to who asked for it before."""

    __slots__ = ("count", "then")

    def __init__(self, then: Callable[[str, Entry], object] | None) -> None:
        """Start at zero."""
        self.count = 0
        self.then = then

    def __call__(self, key: str, entry: Entry) -> None:
        """Note one eviction."""
        self.count += 1
        if self.then is not None:
            self.then(key, entry)

    @classmethod
    def of(cls, store: object) -> "Evictions":
        """Return a count of what *store* evicts from now on, if it tells; the last to ask is told."""
        then = getattr(store, "on_evict", None)
        while isinstance(then, Evictions):
            then = then.then
        count = cls(then)
        if hasattr(store, "on_evict"):
            setattr(store, "on_evict", count)  # noqa: B010 - the protocol does not know it
        return count


class Near:
    """A local store (or none), with the ledger of what was heard."""

    __slots__ = ("_thinned", "evictions", "fallback", "ledger", "store", "trusted_until", "versions")

    def __init__(self, store: LocalStore | None) -> None:
        """Hold *store*; None keeps nothing near but remembers what was heard all the same."""
        self.store = store
        given: object = store
        self._thinned: ThinnedTags | None = given if isinstance(given, ThinnedTags) else None
        self.evictions = Evictions.of(store)
        self.ledger = Ledger()
        self.fallback: LocalStore | None = None  # served only while the remote store is away
        self.trusted_until = inf
        self.versions: dict[str, bytes] = {}  # of tags, as the remote store last said; never stamped from

    def get(self, key: str, now: float) -> Entry | None:
        """Return the entry of *key* if near is trusted at *now*; it may be outdated."""
        if self.store is None or now >= self.trusted_until:
            return None
        return self.store.lookup(key)

    def put(self, key: str, entry: Entry, *, since: int) -> bool:
        """Keep *entry* unless something was heard of it after the mark *since*; say whether."""
        if not self.ledger.quiet(key, entry.tags, since=since):
            return False
        if self.store is not None:
            self.store.put(key, entry)
        return True

    def versions_at(self, now: float) -> Mapping[str, bytes]:
        """Return the versions of tags that are held, nothing if near is not trusted at *now*.

        A tag that the remote store has evicted meanwhile keeps its version here: that is no harm. Who
        finds another one in an entry has to ask the remote store which is right."""
        return self.versions if now < self.trusted_until else NOTHING_HELD

    def hold_versions(self, versions: Mapping[str, bytes | None], now: float, *, since: int) -> bool:
        """Hold what the remote store has just said of tags; say whether what is held is trusted.

        Not those of which something was heard after the mark *since*, by the one rule for every put."""
        held = self.versions
        if now >= self.trusted_until:
            return False
        if len(held) + len(versions) > MAX_VERSIONS:
            held.clear()
        for tag, version in versions.items():
            if version is None:
                held.pop(tag, None)
            elif self.ledger.quiet("", (tag,), since=since):
                held[tag] = version
        return True

    def forget(
        self, keys: Iterable[str], tags: Iterable[str], *, spare: Container[str] = frozenset()
    ) -> None:
        """Drop what is held of *keys* and *tags*, not what is held of *spare*.

        What is under way of any of them will not be put."""
        self.ledger.hear(keys, tags)
        for tag in tags:
            self.versions.pop(tag, None)
        for store in (self.store, self.fallback):
            if store is not None:
                held = store.lookup  # a batch of writes asks four times for each key, mostly in vain
                for key in keys:
                    if held(key) is not None and key not in spare:
                        store.drop(key)
                for tag in tags:
                    store.drop_tag(tag)

    def thin(self, tags: Iterable[str]) -> int:
        """Drop a slice of what carries *tags*, ahead of `forget`, and return how many still do.

        0 if the store cannot do it by slices."""
        store = self._thinned
        return 0 if store is None else sum([store.thin_tag(tag, SLICE) for tag in tags])

    def stored_elsewhere(self, keys: Iterable[str]) -> None:
        """Drop the copies of *keys*, which another process has just stored; no load becomes void."""
        self.ledger.hear(keys)
        if self.store is not None:
            for key in keys:
                self.store.drop(key)

    def put_own(self, key: str, entry: Entry, *, since: int) -> bool:
        """Keep what this process has just stored remotely: the old copy goes first, in any case."""
        quiet = self.ledger.quiet(key, entry.tags, since=since)
        self.stored_elsewhere((key,))
        if quiet and self.store is not None:
            self.store.put(key, entry)
        return quiet

    def forget_everything(self) -> None:
        """Drop all that is held; nothing that is under way will be put."""
        self.ledger.hear_everything()
        self.versions.clear()
        self.fallback = None
        if self.store is not None:
            self.store.clear()
