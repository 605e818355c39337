"""How many loads run at once, so that a cold start cannot flood the source."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from acache._singleflight import Node
from acache.errors import Overloaded


class Slots:
    """Slots for loads, first come first served.

    A load that is started, or waited for, inside another load runs in that one's slot: it could
    otherwise wait for ever for a slot that its own waiter holds."""

    __slots__ = ("_free", "_loop", "_max_queue", "_queue")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, max_loads: int, max_queue: int) -> None:
        """Let *max_loads* run and *max_queue* wait."""
        self._loop = loop
        self._free = max_loads
        self._max_queue = max_queue
        self._queue: dict[Node, asyncio.Future[bool]] = {}

    @property
    def queued(self) -> int:
        """How many wait now."""
        return len(self._queue)

    @asynccontextmanager
    async def taken(self, node: Node) -> AsyncGenerator[None]:
        """Hold a slot for *node*. Raises Overloaded if too many wait; cancelling is safe."""
        held = await self._take(node)
        try:
            yield
        finally:
            if held:
                self._give_back()

    def lend(self, node: Node) -> None:
        """Let a waiting *node* run at once in the slot of the load that now waits for it."""
        waiter = self._queue.pop(node, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(False)

    async def _take(self, node: Node) -> bool:
        if self._free:
            self._free -= 1
            return True
        if len(self._queue) >= self._max_queue:
            raise Overloaded(f"all loads are taken and {self._max_queue} wait: raise max_loads or max_queue")
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._queue[node] = waiter
        try:
            return await waiter
        except asyncio.CancelledError:
            self._queue.pop(node, None)
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._queue:
            node = next(iter(self._queue))
            waiter = self._queue.pop(node)
            if not waiter.done():
                waiter.set_result(True)
                return
        self._free += 1
