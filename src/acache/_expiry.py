"""Which entries have expired. Pure: knows entries and when they expire, nothing of keys or eviction.

A timing wheel (Varghese, Lauck: "Hashed and hierarchical timing wheels", SOSP 1987) without cascades,
as in Linux since 4.8: the further off an entry's expiry, the coarser its bucket, and it stays there.
So an entry is reclaimed late by at most an eighth of its remaining lifetime (or a sixteenth of a
second), and there are few buckets, whatever the number of entries: at most sixteen per power of two."""

from heapq import heappop, heappush
from math import frexp, ldexp

from acache._entry import Entry


class Wheel:
    """Entries by the time at which they are to be reclaimed, each bucket a ring linked through its entries."""

    __slots__ = ("_buckets", "_times")

    def __init__(self) -> None:
        """Know no entry."""
        self._buckets: dict[float, Entry] = {}  # by the time when all of their entries have expired
        self._times: list[float] = []  # the same times, as a heap

    def add(self, entry: Entry, now: float) -> None:
        """File *entry*, which expires some time after *now*."""
        _, exponent = frexp(entry.expires - now)
        width = ldexp(0.0625, max(exponent, 0))
        time = (entry.expires // width + 1) * width
        bucket = self._buckets.get(time)
        if bucket is None:
            bucket = self._buckets[time] = Entry(None)
            bucket.sooner = bucket.later = bucket
            heappush(self._times, time)
        last = bucket.sooner
        entry.sooner = last
        entry.later = bucket
        last.later = bucket.sooner = entry

    def remove(self, entry: Entry) -> None:
        """Let *entry*, which must be filed, go."""
        sooner = entry.sooner
        later = entry.later
        sooner.later = later
        later.sooner = sooner
        del entry.sooner, entry.later

    def due(self, now: float) -> Entry | None:
        """Return an entry that has expired at *now*, still filed; None if no bucket is due."""
        while self._times and self._times[0] <= now:
            bucket = self._buckets[self._times[0]]
            if bucket.later is not bucket:
                return bucket.later
            del bucket.sooner, bucket.later, self._buckets[heappop(self._times)]
        return None

    def clear(self) -> None:
        """Begin anew; the entries that were filed are the caller's to unlink."""
        for bucket in self._buckets.values():
            del bucket.sooner, bucket.later
        self._buckets.clear()
        self._times.clear()
