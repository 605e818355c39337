"""What else than near says of a key when it is asked to explain. A value: knows no store and no values."""

from dataclasses import dataclass

from acache._entry import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What stands on a key in the remote store, and what this process may not trust of it."""

    said: str  # "an entry", "nothing", "refused: corrupt", "no answer"; "": there is no remote store
    entry: Entry | None = None  # without its value
    size: int | None = None  # bytes
    codec: str | None = None
    outdated: tuple[str, ...] = ()  # tags that were invalidated since it was stored
    cleared: bool = False  # the namespace was, since it was stored
    holder: str | None = None  # of the lease, hexadecimal
    held_for: float | None = None  # seconds until the lease ends, unless it is renewed
    writers: int = 0  # whose fences stand
    pending: bool = False  # an invalidation of this process has not reached the store yet

    @property
    def valid(self) -> bool:
        """Whether a read may use the entry."""
        return self.entry is not None and not (self.outdated or self.cleared or self.pending)
