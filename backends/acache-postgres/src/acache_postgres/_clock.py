"""The clock that this distribution asks for: wall time, nothing else."""

from collections.abc import Callable
from typing import Protocol


class WallClock(Protocol):
    """Anything with a `time()`: the clocks of acache, the time module."""

    @property
    def time(self) -> Callable[[], float]:
        """Return seconds since the epoch."""
        ...
