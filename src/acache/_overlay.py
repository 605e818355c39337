"""Acknowledged writes that have not reached the source: what reads see first, and what is flushed next.

Plain functions over values; one entry per key, the newest. Knows no journal, no source and no loop."""

from collections.abc import Collection, Hashable
from typing import Any

from msgspec import Struct

from acache.protocols import Write


class Standing(Struct, kw_only=True, eq=False, gc=False):
    """The newest pending write of a key.

    Every write makes one. It is built in C, and no work for the garbage collector: what can be journaled
    cannot lead back to it."""

    write: Write
    id: Hashable
    value: Any  # None for a removal
    since: float  # monotonic time of the oldest write of the key that is not flushed
    receipt: object = None  # what the cache stored for it; None after a recovery, or if it stored nothing
    flushing: bool = False
    flushed: int = 0  # up to this sequence number the key's writes have reached the source


class Overlay:
    """The pending writes of one pattern, by key, oldest first."""

    __slots__ = ("_standing",)

    def __init__(self) -> None:
        """Start empty."""
        self._standing: dict[str, Standing] = {}

    def __len__(self) -> int:
        """How many keys are pending."""
        return len(self._standing)

    def __contains__(self, key: str) -> bool:
        """Say whether *key* is pending."""
        return key in self._standing

    def get(self, key: str) -> Standing | None:
        """Return the newest pending write of *key*."""
        return self._standing.get(key)

    def add(self, standing: Standing) -> None:
        """Put a write over an older one of its key; an older one than what stands is ignored."""
        key = standing.write.key
        other = self._standing.get(key)
        if other is not None:
            if other.write.sequence > standing.write.sequence:
                return
            standing.since = other.since
            standing.flushing = other.flushing
            standing.flushed = other.flushed
        self._standing[key] = standing

    def take(self, limit: int, only: Collection[str] | None = None) -> list[Standing]:
        """Mark up to *limit* keys as being flushed and return their writes, sorted by key."""
        taken: list[Standing] = []
        for key, standing in self._standing.items():
            if len(taken) == limit:
                break
            if not standing.flushing and (only is None or key in only):
                standing.flushing = True
                taken.append(standing)
        return sorted(taken, key=lambda standing: standing.write.key)

    def give_back(self, standing: Standing) -> None:
        """Note that a flush of the key failed: it is pending again, with its newest write."""
        current = self._standing.get(standing.write.key)
        if current is not None:
            current.flushing = False

    def leave(self, standing: Standing, now: float) -> None:
        """Note that a write has reached its end; a newer one of its key stays."""
        key = standing.write.key
        current = self._standing.get(key)
        if current is None:
            return
        current.flushing = False
        if current.write.sequence <= standing.write.sequence:
            del self._standing[key]
        else:
            current.since = now
            current.flushed = standing.write.sequence
            self._standing[key] = self._standing.pop(key)  # oldest first: it is the youngest now

    def oldest(self) -> float | None:
        """Return when the oldest pending write came, None if nothing is pending."""
        return next((standing.since for standing in self._standing.values()), None)

    def age(self, now: float) -> float:
        """Return for how many seconds the oldest pending write has waited; 0 if nothing is pending."""
        oldest = self.oldest()
        return 0.0 if oldest is None else now - oldest

    def sequences(self) -> dict[str, int]:
        """Return the newest sequence number of each pending key."""
        return {key: standing.write.sequence for key, standing in self._standing.items()}
