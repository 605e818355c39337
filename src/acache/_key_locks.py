"""One writer per key in this process, first come first served."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence


class KeyLocks:
    """Who holds which key, and who waits for it; of the running loop."""

    __slots__ = ("_lines", "_loop")

    def __init__(self) -> None:
        """Start with none."""
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # of each key that is held
        self._loop: asyncio.AbstractEventLoop | None = None

    def held(self, keys: Iterable[str]) -> "Hold":
        """Hold all of *keys* in an `async with`; taken in one order, so that no two wait for each other."""
        return Hold(self, sorted(set(keys)))

    async def acquire(self, keys: Sequence[str]) -> None:
        """Take *keys* one after the other. Cancelled, none is held."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lines = loop, {}
        for place, key in enumerate(keys):
            line = self._lines.get(key)
            if line is None:
                self._lines[key] = deque()
                continue
            turn: asyncio.Future[None] = loop.create_future()
            line.append(turn)
            try:
                await turn
            except BaseException:
                # Its turn may have come in the moment it was cancelled: then the key is ours to give on.
                ours = turn.done() and not turn.cancelled()
                if turn in line:
                    line.remove(turn)
                self.release(keys[: place + ours])
                raise

    def release(self, keys: Iterable[str]) -> None:
        """Give *keys* to those who wait longest for them."""
        for key in keys:
            line = self._lines.get(key)
            if line is None:
                continue  # of a loop that has ended
            while line:
                turn = line.popleft()
                if not turn.done():
                    turn.set_result(None)  # the key stays held, by another
                    break
            else:
                del self._lines[key]


class Hold:
    """Keys that are held for the length of a block."""

    __slots__ = ("_keys", "_locks")

    def __init__(self, locks: KeyLocks, keys: Sequence[str]) -> None:
        """Prepare; nothing is held before it is entered."""
        self._locks = locks
        self._keys = keys

    async def __aenter__(self) -> None:
        """Wait for the keys."""
        await self._locks.acquire(self._keys)

    async def __aexit__(self, *_: object) -> None:
        """Let others have them."""
        self._locks.release(self._keys)
