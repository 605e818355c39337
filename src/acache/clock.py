"""Where time comes from. The only module of the core that reads it."""

import time
from typing import Final, Protocol, cast


class Clock(Protocol):
    """Two readings in seconds: of the wall, which hosts share, and of a clock that never goes back.

    Both are looked up once and then called directly, so they must stay the same."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    # In this order: once the body has bound its own `time`, the module is out of reach.
    monotonic: Final = staticmethod(time.monotonic)
    time: Final = staticmethod(time.time)
    __slots__ = ()


SYSTEM_CLOCK: Final = cast("Clock", SystemClock())
