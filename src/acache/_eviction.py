"""Which entry goes when a store is full. Pure: knows entries and their marks, no bounds, no clock, no tags.

S3-FIFO (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction", SOSP
2023). New entries pass through a small queue. Those that were used on the way move on to the main
queue, the others leave, and their keys are remembered as ghosts: one that is put again while its
ghost stands starts in the main queue. There every entry that was used gets another round. A hit
only sets `entry.used`.

One thing is added. A small queue of a fixed tenth is too short where the newest keys come first again
(a scan that turns round), so its length is learnt, as ARC (Megiddo, Modha, FAST 2003) learns its
own: a ghost that returns soon after it left says that the small queue is too short; an entry that
was used in the main queue says that the main queue earns its place."""

from typing import Final

from acache._entry import UNLINKED, Entry

LEAST: Final = 10  # the small queue has room for a tenth of the entries at least: S3-FIFO's share
STEP: Final = 4  # entries by which that room grows or shrinks at a time
GENERATION: Final = 3  # ghosts are forgotten by the generation, a third as many as there are entries
PATIENCE: Final = 1_000  # rounds that may be given before one entry goes all the same: bounds the pause


class Eviction:
    """The queues of one store, and which entry of theirs is worth least.

    A queue is a ring of entries from the oldest to the newest, linked through one that is its end,
    so that an entry can leave from anywhere. The rings are turned by hand where every miss comes
    by: a call would cost as much as the turn."""

    __slots__ = ("_former", "_left", "_main", "_oldest", "_recent", "_room", "_small", "_young")

    def __init__(self) -> None:
        """Know no entry."""
        self._small: Final = Entry.of(None)
        self._main: Final = Entry.of(None)
        self.clear()

    def clear(self) -> None:
        """Forget everything, also what was learnt; the entries are the caller's to unlink."""
        for end in (self._small, self._main):
            end.older = end.newer = end
        self._young = 0  # entries in the small queue
        self._room = 1  # for so many of them there is room
        # The ghosts. Keys, not hashes of their own: a string remembers its hash, and is never mistaken.
        self._recent: set[str] = set()
        self._former: set[str] = set()
        self._oldest: set[str] = set()
        self._left = 0  # evictions until the next generation begins

    def admit(self, key: str, entry: Entry, among: int) -> None:
        """Queue *entry*, whose *key* no queued entry has, *among* so many others."""
        entry.young = False
        end = self._main
        if key in self._recent:
            self._recent.remove(key)
            self._room = min(self._room + STEP, among + 1)
        elif key in self._former:
            self._former.remove(key)
        elif key in self._oldest:
            self._oldest.remove(key)
        else:
            entry.young = True
            self._young += 1
            end = self._small
        newest = end.older
        entry.older = newest
        entry.newer = end
        newest.newer = end.older = entry

    def replace(self, old: Entry, new: Entry) -> None:
        """Give *new* the place and the mark of *old*, an entry of the same key."""
        new.used |= old.used
        new.young = old.young
        new.older = older = old.older
        new.newer = newer = old.newer
        older.newer = newer.older = new
        old.older = old.newer = UNLINKED

    def remove(self, entry: Entry) -> None:
        """Let an entry go that its store forgets."""
        if entry.young:
            self._young -= 1
        older = entry.older
        newer = entry.newer
        older.newer = newer
        newer.older = older
        entry.older = entry.newer = UNLINKED

    def evict(self, among: int, now: float) -> Entry:
        """Choose the entry that is worth least *among* so many, at least one, and let it go.

        Amortised O(1): every further round takes back a mark that a hit has set."""
        main = self._main
        patience = PATIENCE
        while True:
            entry = self._small.newer if self._young >= self._room or main.newer is main else main.newer
            if not entry.used or entry.expires <= now or not patience:
                break
            patience -= 1
            self._give_another_round(entry, among)
        if entry.young:
            self._young -= 1
            if not self._left:
                self._begin_generation(among)
            self._left -= 1
            self._recent.add(entry.key)  # type: ignore[arg-type]  # it is held
        older = entry.older
        newer = entry.newer
        older.newer = newer
        newer.older = older
        entry.older = entry.newer = UNLINKED
        return entry

    def _give_another_round(self, entry: Entry, among: int) -> None:
        if not entry.young:
            self._room = max(self._room - STEP, among // LEAST, 1)
        self.remove(entry)
        entry.used = entry.young = False
        end = self._main
        newest = end.older
        entry.older = newest
        entry.newer = end
        newest.newer = end.older = entry

    def _begin_generation(self, among: int) -> None:
        self._recent, self._former, self._oldest = set(), self._recent, self._former
        self._left = among // GENERATION + 1
        self._room = min(max(self._room, among // LEAST, 1), among)  # there may be more entries now, or fewer
