"""Which entry goes when a store is full. Pure: knows entries and their marks, no bounds, no clock, no tags.

S3-FIFO (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction", SOSP
2023). New entries pass through a small queue. Those that were used on the way move to the main
queue, the others leave and are remembered by a hash, as ghosts; one that is asked for again while
its ghost stands starts in the main queue. The main queue gives every entry that was used another
round. A hit only sets `entry.used`.

One thing is added. A small queue of a fixed tenth is too short where the newest keys come first again
(a scan that turns round), so its share of the store is learnt, as ARC (Megiddo, Modha, FAST 2003)
learns its own: a ghost that is asked for soon after it left says that the small queue was too short,
an entry that was used in the main queue says that the main queue earns its place."""

from typing import Final, cast

from acache._entry import Entry

LEAST_SHARE: Final = 0.1  # of the small queue: S3-FIFO's own
GROWTH: Final = 3  # entries that the small queue gains when it let one go too soon
SHRINKAGE: Final = 2  # entries that it loses when one is used in the main queue
GENERATION: Final = 3  # a generation of ghosts is as many evictions as a third of the entries
GENERATIONS: Final = 4  # full ones and the newest: at least as many evictions as there are entries
PATIENCE: Final = 1_000  # rounds given before an entry goes although it was used: bounds the pause


class Queue:
    """Entries from the oldest to the newest, linked in a ring through `end`. Any of them can leave."""

    __slots__ = ("end", "length")

    def __init__(self) -> None:
        """Make an empty queue."""
        self.end: Final = Entry(None)
        self.clear()

    def clear(self) -> None:
        """Begin anew; the entries that were in it are the caller's to unlink."""
        self.end.older = self.end.newer = self.end
        self.length = 0

    def append(self, entry: Entry) -> None:
        """Make *entry* the newest."""
        end = self.end
        newest = end.older
        entry.queue = self
        entry.older = newest
        entry.newer = end
        newest.newer = end.older = entry
        self.length += 1

    def remove(self, entry: Entry) -> None:
        """Let *entry*, which must be in this queue, leave."""
        older = entry.older
        newer = entry.newer
        older.newer = newer
        newer.older = older
        # Whoever still reads the entry must not keep its old neighbours alive.
        del entry.queue, entry.older, entry.newer
        self.length -= 1

    def replace(self, old: Entry, new: Entry) -> None:
        """Put *new* in the place of *old*, which leaves."""
        new.queue = self
        new.older = older = old.older
        new.newer = newer = old.newer
        older.newer = newer.older = new
        del old.queue, old.older, old.newer


class Ghosts:
    """Hashes of the keys that left last, in generations, so that the oldest are forgotten at once."""

    __slots__ = ("_generations",)

    def __init__(self) -> None:
        """Remember nothing."""
        self.clear()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return sum(map(len, self._generations))

    def clear(self) -> None:
        """Forget everything."""
        self._generations: list[set[int]] = [set() for _ in range(GENERATIONS)]

    def add(self, key: str, among: int) -> None:
        """Remember *key*, and at least as many others as there were entries *among* which it was."""
        newest = self._generations[0]
        if len(newest) * GENERATION >= among:
            newest = set()
            self._generations = [newest, *self._generations[:-1]]
        newest.add(_fingerprint(key))

    def take(self, key: str) -> int | None:
        """Forget *key* and return its generation, 0 for the newest; None if it is not remembered."""
        fingerprint = _fingerprint(key)
        for age, generation in enumerate(self._generations):
            if fingerprint in generation:
                generation.remove(fingerprint)
                return age
        return None


def _fingerprint(key: str) -> int:
    return hash(key) >> 4  # 60 bits: an int of 32 bytes instead of 48


class Eviction:
    """The queues of one store, and which entry of theirs is worth least."""

    __slots__ = ("_ghosts", "_main", "_share", "_small")

    def __init__(self) -> None:
        """Know no entry."""
        self._small: Final = Queue()
        self._main: Final = Queue()
        self._ghosts: Final = Ghosts()
        self._share = LEAST_SHARE

    def __len__(self) -> int:
        """Return how many entries are queued."""
        return self._small.length + self._main.length

    def admit(self, key: str, entry: Entry) -> None:
        """Queue *entry* under a *key* that no queued entry has."""
        age = self._ghosts.take(key)
        if age is None:
            self._small.append(entry)
            return
        if age == 0:
            self._move_share(GROWTH)
        self._main.append(entry)

    def replace(self, old: Entry, new: Entry) -> None:
        """Give *new* the place and the mark of *old*, an entry of the same key."""
        new.used |= old.used
        cast("Queue", old.queue).replace(old, new)

    def remove(self, entry: Entry) -> None:
        """Let an entry go that its store forgets of its own accord."""
        cast("Queue", entry.queue).remove(entry)

    def evict(self, now: float) -> Entry:
        """Choose the entry that is worth least and let it go; at least one must be queued.

        Amortised O(1): every further step takes back a mark that a hit has set."""
        for step in range(PATIENCE + 1):
            small = self._main.length == 0 or self._small.length >= self._share * len(self)
            queue = self._small if small else self._main
            entry = queue.end.newer
            queue.remove(entry)
            if not entry.used or entry.expires <= now or step == PATIENCE:
                break
            entry.used = False
            self._main.append(entry)
            if not small:
                self._move_share(-SHRINKAGE)
        if small:
            self._ghosts.add(cast("str", entry.key), len(self))
        return entry

    def clear(self) -> None:
        """Forget everything, also what was learnt."""
        self._small.clear()
        self._main.clear()
        self._ghosts.clear()
        self._share = LEAST_SHARE

    def _move_share(self, entries: int) -> None:
        share = self._share + entries / (len(self) or 1)
        self._share = min(max(share, LEAST_SHARE), 1.0)
