"""Which entries have expired. Pure: knows entries and when they expire, nothing of keys or eviction.

A timing wheel (Varghese, Lauck: "Hashed and hierarchical timing wheels", SOSP 1987) without cascades,
as in Linux since 4.8: the further off an entry's expiry, the coarser its bucket, and it stays there.
So an entry is reclaimed late by at most an eighth of its remaining lifetime (or a sixteenth of a
second), and there are few buckets, whatever the number of entries: at most sixteen per power of two."""

from heapq import heappop, heappush
from math import frexp, inf, ldexp

from acache._entry import UNLINKED, Entry


class Wheel:
    """Entries by the time when they are to be reclaimed. A bucket is a ring, linked through its entries."""

    __slots__ = ("_bucket", "_buckets", "_shortest", "_start", "_times", "next")

    def __init__(self) -> None:
        """Know no entry."""
        self._buckets: dict[float, Entry] = {}  # by the time when all of their entries have expired
        self._times: list[float] = []  # the same times, as a heap
        self.next = inf  # the first of them: nothing is due before
        self._bucket = Entry.of(None)  # the last one that was looked for,
        self._start = inf  # since when its entries expire,
        self._shortest = 0.0  # and what lifetime it is not too coarse for

    def add(self, entry: Entry, now: float) -> None:
        """File *entry*, which expires some time after *now*."""
        expires = entry.expires
        bucket = self._bucket
        if not (self._start <= expires < bucket.expires and expires - now >= self._shortest):
            bucket = self._find(expires, now)
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
        entry.sooner = entry.later = UNLINKED

    def due(self, now: float) -> Entry | None:
        """Return an entry that has expired at *now*, still filed; None if no bucket is due."""
        while self.next <= now:
            bucket = self._buckets[self.next]
            if bucket.later is not bucket:
                return bucket.later
            del self._buckets[heappop(self._times)]
            bucket.sooner = bucket.later = UNLINKED
            self.next = self._times[0] if self._times else inf
            if bucket is self._bucket:
                self._start = inf
        return None

    def clear(self) -> None:
        """Begin anew; the entries that were filed are the caller's to unlink."""
        for bucket in self._buckets.values():
            bucket.sooner = bucket.later = UNLINKED
        self._buckets.clear()
        self._times.clear()
        self.next = self._start = inf

    def _find(self, expires: float, now: float) -> Entry:
        _, exponent = frexp(expires - now)
        width = ldexp(0.0625, max(exponent, 0))
        time = (expires // width + 1) * width
        bucket = self._buckets.get(time)
        if bucket is None:
            bucket = self._buckets[time] = Entry.of(None, fresh_until=time)
            bucket.sooner = bucket.later = bucket
            heappush(self._times, time)
            self.next = self._times[0]
        self._bucket, self._start, self._shortest = bucket, time - width, width * 8
        return bucket
