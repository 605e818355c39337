"""One writer per key in this process, first come first served."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class KeyLocks:
    """A lock per key that is held; of the running loop."""

    __slots__ = ("_locks", "_loop")

    def __init__(self) -> None:
        """Start with none."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def held(self, keys: Iterable[str]) -> AsyncGenerator[None]:
        """Hold all of *keys*, taken in one order, so that two holders never wait for each other."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._locks = loop, WeakValueDictionary()
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                lock = self._locks.get(key)
                if lock is None:
                    lock = self._locks[key] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield
