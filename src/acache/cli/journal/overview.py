"""What is in a journal, in figures: counts, ages, sizes. Values stay where they are. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from acache.protocols import DeadLetter, Write


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWrite:
    """A write that waits for its source."""

    key: str
    sequence: int
    removal: bool
    bytes: int
    age: float  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A write that its source refused."""

    id: str
    key: str
    error: str
    attempts: int
    age: float  # seconds since it was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it."""

    pending: tuple[PendingWrite, ...]  # oldest first
    dead: tuple[Letter, ...]

    @classmethod
    def of(cls, writes: Sequence[Write], letters: Sequence[DeadLetter], *, now: float) -> "Overview":
        """Return what is there at the wall time *now*."""
        return cls(
            pending=tuple(
                PendingWrite(
                    key=write.key,
                    sequence=write.sequence,
                    removal=write.payload is None,
                    bytes=len(write.payload or b""),
                    age=max(0.0, now - write.at),
                )
                for write in sorted(writes, key=lambda write: write.at)
            ),
            dead=tuple(
                Letter(
                    id=letter.id,
                    key=letter.key,
                    error=letter.error,
                    attempts=letter.attempts,
                    age=max(0.0, now - letter.at),
                )
                for letter in letters
            ),
        )

    @property
    def keys(self) -> int:
        """How many keys are pending."""
        return len({write.key for write in self.pending})

    @property
    def oldest_age(self) -> float:
        """Seconds that the oldest pending write has waited; 0 if there is none."""
        return self.pending[0].age if self.pending else 0.0

    def figures(self) -> dict[str, Any]:
        """Return the counts and ages."""
        return {
            "pending": len(self.pending),
            "keys": self.keys,
            "removals": sum(write.removal for write in self.pending),
            "bytes": sum(write.bytes for write in self.pending),
            "oldest_age": self.oldest_age,
            "newest_age": self.pending[-1].age if self.pending else 0.0,
            "dead": len(self.dead),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return self.figures() | {
            "writes": [asdict(write) for write in self.pending],
            "letters": [asdict(letter) for letter in self.dead],
        }
