"""One writer per key in this process, first come first served."""

import asyncio
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from acache.errors import RecursiveUpdate


class KeyLocks:
    """Who holds which key, and who waits for it; of the running loop."""

    __slots__ = ("_changing", "_lines", "_loop")

    def __init__(self) -> None:
        """Start with none."""
        self._lines: dict[str, deque[asyncio.Future[None]] | None] = {}  # of each key that is held
        self._changing: dict[str, asyncio.Task[object] | None] = {}  # who runs the user's code meanwhile
        self._loop: asyncio.AbstractEventLoop | None = None

    def held(self, keys: Iterable[str]) -> "Hold":
        """Hold all of *keys* in an `async with`; taken in one order, so that no two wait for each other."""
        return Hold(self, sorted(set(keys)))

    def take(self, key: str) -> bool:
        """Take *key* if nobody holds it; say whether."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lines = loop, {}
        if key in self._lines:
            return False
        self._lines[key] = None
        return True

    async def acquire(self, keys: Sequence[str]) -> None:
        """Take *keys* one after the other. Cancelled, none is held.

        Raises RecursiveUpdate for a key that the current task is changing."""
        loop = asyncio.get_running_loop()
        for place, key in enumerate(keys):
            if self.take(key):
                continue
            if key in self._changing and self._changing[key] is asyncio.current_task():
                self.release(keys[:place])
                raise RecursiveUpdate(
                    f"the update of {key!r} writes it by itself: let its change return the value instead"
                )
            line = self._lines[key]
            if line is None:
                line = self._lines[key] = deque()
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

    @contextmanager
    def changing(self, key: str) -> Generator[None]:
        """Refuse the current task *key*, which it holds, while it runs what the user handed in."""
        self._changing[key] = asyncio.current_task()
        try:
            yield
        finally:
            del self._changing[key]

    def release(self, keys: Iterable[str]) -> None:
        """Give *keys* to those who wait longest for them."""
        for key in keys:
            line = self._lines.get(key)
            while line:
                turn = line.popleft()
                if not turn.done():
                    turn.set_result(None)  # the key stays held, by another
                    break
            else:
                self._lines.pop(key, None)  # not there: of a loop that has ended


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
