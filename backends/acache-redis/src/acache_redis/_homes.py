"""What an event loop of a process needs of its own, made when it is first asked for. Knows no command.

A connection belongs to the loop in which it was opened, and to the process: a loop that was closed
takes its own with it, and a child that was forked opens new ones."""

import asyncio
import os
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar, final


class Closing(Protocol):
    """Something with connections."""

    async def close(self) -> None:
        """Close them."""
        ...


H = TypeVar("H", bound=Closing)

_INHERITED: Final[list[object]] = []
"""Connections of a parent process. A child may neither use nor close them: both share the sockets and
the selector that watches them, and a finalizer would do the closing. So they are kept for ever."""


@final
class Homes(Generic[H]):
    """One home for each loop of this process."""

    def __init__(self, make: Callable[[], H]) -> None:
        self._make = make
        self._homes: dict[asyncio.AbstractEventLoop, H] = {}
        self._process = os.getpid()

    def here(self) -> H:
        """Return the home of this process and loop."""
        loop = asyncio.get_running_loop()
        home = self._homes.get(loop)
        if home is None or self._process != os.getpid():
            self._forget_others()
            home = self._homes[loop] = self._make()
        return home

    async def close(self) -> None:
        """Close this loop's home. Safe to call twice."""
        self._forget_others()
        home = self._homes.pop(asyncio.get_running_loop(), None)
        if home is not None:
            await home.close()

    def _forget_others(self) -> None:
        """Let go of the homes of loops that were closed, and of the process that forked us."""
        if self._process != os.getpid():
            _INHERITED.append(self._homes)
            self._homes, self._process = {}, os.getpid()
        for loop in [loop for loop in self._homes if loop.is_closed()]:
            del self._homes[loop]
