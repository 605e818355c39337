"""A clock that moves only when told to. Knows no loop: it wakes nobody, it only changes what is read."""

import math
from typing import Final

WALL_START: Final = 1_700_000_000.0
"""What every clock of `acache.testing` first reads as wall time: 2023-11-14 22:13:20 UTC."""

MONOTONIC_START: Final = 1_000.0
"""What they first read as monotonic time; far from the wall, so that mixing the two up shows at once."""


class ManualClock:
    """An `acache.clock.Clock` for tests, in seconds, standing still until `advance`.

    Both readings are methods of the instance and may be looked up once and kept: they follow later moves."""

    __slots__ = ("_monotonic", "_wall")

    def __init__(self, *, wall: float = WALL_START, monotonic: float = MONOTONIC_START) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def time(self) -> float:
        """Return seconds since the epoch; the first reading is `WALL_START`."""
        return self._wall

    def monotonic(self) -> float:
        """Return seconds since some fixed point; the first reading is `MONOTONIC_START`. Never goes back."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both readings forward by *seconds*, at once, without running anything.

        Raises ValueError for a negative or infinite distance; `skew` sets the wall back."""
        if not 0 <= seconds < math.inf:
            raise ValueError(
                f"seconds must be finite and not negative, got {seconds}: skew() sets the wall back"
            )
        self._wall += seconds
        self._monotonic += seconds

    def skew(self, seconds: float) -> None:
        """Move the wall alone by *seconds*, forward or back, as when a host corrects its clock."""
        self._wall += seconds

    def __repr__(self) -> str:
        return f"ManualClock(wall={self._wall}, monotonic={self._monotonic})"
