"""The journal in memory: what write-behind needs where losing the backlog with the process is fine.

Volatile: `append` returns at once and nothing survives the process. Knows nothing of sources."""

from collections.abc import AsyncIterator, Mapping, Sequence

from acache.clock import SYSTEM_CLOCK, Clock
from acache.errors import JournalFailed
from acache.protocols import DeadLetter, Write

__all__ = ["MemoryJournal"]


class MemoryJournal:
    """Acknowledged writes of one process, lost with it. No method ever waits."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Make an empty journal. *clock*: dates the dead letters."""
        self._clock = clock
        self._highest = 0
        self._pending: dict[str, dict[int, Write]] = {}  # by key, then by sequence number
        self._dead: dict[str, DeadLetter] = {}  # by id, oldest first
        # What only the journal knows of a write that was buried once.
        self._attempts: dict[str, int] = {}  # of those that are dead or pending again
        self._outdated: set[str] = set()  # dead letters of whose key something newer was flushed

    async def append(self, writes: Sequence[Write]) -> None:
        """Keep every write, in memory."""
        for write in writes:
            self._pending.setdefault(write.key, {})[write.sequence] = write
            self._highest = max(self._highest, write.sequence)

    async def last(self) -> int:
        """Return the highest sequence number ever appended, 0 for a new journal."""
        return self._highest

    async def recover(self) -> AsyncIterator[Write]:
        """Yield what is pending now, per key in the order of sequence numbers."""
        standing = [write for writes in self._pending.values() for write in writes.values()]
        for write in sorted(standing, key=lambda write: write.sequence):
            yield write

    async def acknowledge(self, flushed: Mapping[str, int]) -> None:
        """Forget, per key, everything up to this sequence number, and nothing of other keys."""
        for key, number in flushed.items():
            writes = self._pending.pop(key, {})
            newer = {sequence: write for sequence, write in writes.items() if sequence > number}
            if newer:
                self._pending[key] = newer
            for gone in writes.keys() - newer.keys():
                self._attempts.pop(_id(writes[gone]), None)
        self._outdated.update(
            letter.id for letter in self._dead.values() if letter.write.sequence < flushed.get(letter.key, 0)
        )

    async def bury(self, write: Write, error: str) -> None:
        """Move a pending write to the dead letters; nothing happens if it is pending no longer."""
        standing = self._taken(write)
        if standing is None:
            return
        name = _id(standing)
        attempts = self._attempts[name] = self._attempts.get(name, 0) + 1
        self._dead[name] = DeadLetter(
            id=name, key=write.key, write=standing, error=error, attempts=attempts, at=self._clock.time()
        )

    async def dead(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        for letter in list(self._dead.values()):
            yield letter

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again, under its old number.

        Refused, with `JournalFailed`, if a newer write of its key was acknowledged since its burial
        or if it is no longer there."""
        if letter.id not in self._dead:
            msg = "there is no such dead letter any more"
            raise JournalFailed(msg)
        if letter.id in self._outdated:
            msg = "a newer write of this key has been flushed: the dead letter would take the source back"
            raise JournalFailed(msg)
        write = self._dead.pop(letter.id).write
        self._pending.setdefault(write.key, {})[write.sequence] = write

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter; nothing happens if it is gone."""
        if self._dead.pop(letter.id, None) is not None:
            self._attempts.pop(letter.id, None)
            self._outdated.discard(letter.id)

    async def aclose(self) -> None:
        """Keep everything: it is lost with the process only. Safe to call twice."""

    def _taken(self, write: Write) -> Write | None:
        writes = self._pending.get(write.key, {})
        standing = writes.pop(write.sequence, None)
        if not writes:
            self._pending.pop(write.key, None)
        return standing


def _id(write: Write) -> str:
    return f"{write.sequence}:{write.key}"
