"""The few types and sentinels that every floor shares. Knows nothing of the rest."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import Enum
from typing import Final, Literal


class _Sentinel(Enum):
    MISSING = "MISSING"
    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.value

    __str__ = __repr__

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Sentinel.MISSING
"""What a read returns, when asked to, where nothing is cached: None is a value that people cache."""
UNSET: Final = _Sentinel.UNSET
"""An option that was not named."""

Unset = Literal[_Sentinel.UNSET]

Duration = float | int | timedelta
"""Seconds, or a timedelta, at the public door. Inside everything is float seconds."""

Load = Callable[[], Awaitable[object]]
"""A loader with its arguments bound."""

NewId = Callable[[], bytes]
"""Returns 16 bytes that were never returned before."""
