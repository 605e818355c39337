"""An entry: a value with its times, cost and tags, as a local store holds it.

All times are seconds of the cache's monotonic clock. Everything but `used` is written once: a
changed value is a new entry, so a reader may keep one across an await."""

from math import inf
from typing import Final, final

# -ln(U) of a U with 53 random bits is at most 53·ln 2: before `fresh_until` minus this many
# betas and deltas no draw of XFetch can fire, and a hit is one comparison.
MAX_EXPONENTIAL = 36.7368005696771


@final
class Entry:
    """A value and what a reader needs to judge it.

    The last block of attributes is for the one store that holds the entry: its place in the lists
    that are linked through the entries themselves, so that any of them can leave at once and
    nothing of it stays behind."""

    __slots__ = (
        "calm_until",
        "expires",
        "fresh_until",
        "key",
        "later",
        "newer",
        "older",
        "origin",
        "sooner",
        "tags",
        "used",
        "value",
        "version",
        "young",
    )

    value: object
    calm_until: float  # before it a hit needs no decision at all
    fresh_until: float  # inf: until invalidated
    expires: float  # after it a store may forget the entry; nobody serves it
    origin: complex  # born + delta·i: both in one object of 32 bytes, where two floats are 64
    tags: tuple[str, ...]
    version: str | None  # of the function that made the value
    used: bool  # set by readers, cleared by the store's eviction: the only field that changes

    key: str | None  # under which a store holds it; None: no store does
    young: bool  # in the small queue of the eviction; its neighbours in its queue:
    older: "Entry"
    newer: "Entry"
    sooner: "Entry"  # neighbours among the entries that are reclaimed together
    later: "Entry"

    @staticmethod
    def of(
        value: object,
        *,
        born: float = 0.0,
        fresh_until: float = inf,
        keep: float = 0.0,
        delta: float = 0.0,
        beta: float = 1.0,
        tags: tuple[str, ...] = (),
        version: str | None = None,
    ) -> "Entry":
        """Make an entry that is fresh until *fresh_until* and worth keeping for *keep* seconds more.

        A function: calling a class by keywords takes three times as long, and every load makes an entry."""
        entry = Entry()
        entry.value = value
        # One float object serves several fields where they are equal: 32 bytes each, a million times.
        entry.calm_until = entry.fresh_until = entry.expires = fresh_until
        if keep:
            entry.expires = fresh_until + keep
        if delta:
            entry.calm_until = fresh_until - MAX_EXPONENTIAL * beta * delta
        entry.origin = complex(born, delta) if born or delta else 0j
        entry.tags = tags
        entry.version = version
        entry.used = False
        entry.key = None
        return entry

    @property
    def born(self) -> float:
        """When the load of the value began."""
        return self.origin.real

    @property
    def delta(self) -> float:
        """How long the load took; 0 where nothing was loaded."""
        return self.origin.imag

    def twin(self) -> "Entry":
        """Return an equal entry, unread, that no store holds."""
        twin = Entry.of(self.value, tags=self.tags, version=self.version)
        twin.calm_until, twin.fresh_until, twin.expires = self.calm_until, self.fresh_until, self.expires
        twin.origin = self.origin
        return twin

    def __repr__(self) -> str:
        """Show the times but never the value, which may be secret."""
        return f"<Entry fresh_until={self.fresh_until:.3f} delta={self.delta:.6f} tags={self.tags}>"


UNLINKED: Final = Entry.of(None)
"""Instead of neighbours, in an entry that left a list: whoever still reads it must not keep them alive."""
