"""Room in a backlog: how many keys may be pending, and who waits, first come first served.

A writer takes its place before it writes and gives it back when its keys stand in the backlog, so that
concurrent writers never exceed the limit together. Knows no journal and no source; of one loop."""

import asyncio
from collections import deque
from collections.abc import Callable

from acache.errors import BacklogFull, CacheClosed


class Room:
    """The places of one backlog."""

    __slots__ = ("_limit", "_pending", "_raises", "_taken", "_waiting")

    def __init__(self, limit: int, *, pending: Callable[[], int], raises: bool) -> None:
        """Allow *limit* keys. *pending* says how many there are; *raises*: full is an error, not a wait."""
        self._limit = limit
        self._pending = pending
        self._raises = raises
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_now(self, keys: int) -> bool:
        """Take a place for each of so many new keys if there are and nobody waits for them; say whether."""
        if keys and (self._waiting or not self._fits(keys)):
            return False
        self._taken += keys
        return True

    async def take(self, keys: int) -> None:
        """Take a place for each of so many new keys; more than the limit allows fit once nothing is pending.

        Raises BacklogFull, and CacheClosed if `close` ends the wait. Cancelled, nothing is taken."""
        if self.take_now(keys):
            return
        if self._raises:
            raise BacklogFull(f"{self._pending()} writes wait for the source: max_backlog is reached")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._taken -= keys  # its turn had come all the same
            self.look()
            raise

    def give_back(self, keys: int) -> None:
        """Give so many places back: their keys are pending now, or will never be."""
        self._taken -= keys
        self.look()

    def look(self) -> None:
        """Let in those who fit now."""
        while self._waiting:
            keys, turn = self._waiting[0]
            if not turn.done():
                if not self._fits(keys):
                    return
                self._taken += keys
                turn.set_result(None)
            self._waiting.popleft()

    def close(self) -> None:
        """Tell those who wait that nothing will be flushed any more."""
        waiting, self._waiting = self._waiting, deque()
        for _, turn in waiting:
            if not turn.done():
                turn.set_exception(CacheClosed("this WriteBehind was closed while a write waited for room"))

    def _fits(self, keys: int) -> bool:
        standing = self._pending() + self._taken
        return standing + keys <= self._limit or not standing
