"""One process's connection to the feed of a `MemoryServer`. Knows no verbs.

Messages arrive in the order in which they were published and never overtake each other or the
answer to a ping; a connection that lost one because the network was down is closed, so that the
gap is told. Only `Network.message_lost` loses one silently.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import final

from acache.testing.network import Network
from acache.testing.server import MemoryServer

# A timer may fire this much early: what is due within it is due now, or a loop whose time stands
# still between timers would never get there.
_CLOSE = 1e-5


@final
class Line:
    """What is on its way to one listener."""

    def __init__(
        self,
        server: MemoryServer,
        network: Network,
        *,
        heard: Callable[[bytes], None],
        gap: Callable[[], None],
        alive: Callable[[float], None],
    ) -> None:
        self._server = server
        self._network = network
        self._heard = heard
        self._gap = gap
        self._alive = alive
        self._due: deque[tuple[float, Callable[[], None]]] = deque()
        self._open = False
        self._news = asyncio.Event()

    async def run(self, ping_every: float, reconnect_after: float) -> None:
        """Listen until cancelled, through any number of connections."""
        while True:
            await self._network.travel("listen")
            if not self._network.down:
                await self._connection(ping_every)
            await asyncio.sleep(reconnect_after)

    async def _connection(self, ping_every: float) -> None:
        self._open = True
        self._due.clear()
        self._server.subscribe(self, self._receive, self._close)
        try:
            await self._network.travel("listen")
            self._gap()
            await self._deliver(ping_every)
        finally:
            self._server.unsubscribe(self)

    async def _deliver(self, ping_every: float) -> None:
        loop = asyncio.get_running_loop()
        ping_at = loop.time()
        while self._open:
            self._news.clear()
            now = loop.time() + _CLOSE
            if ping_at <= now:
                ping_at += ping_every
                self._ping()
            while self._due and self._due[0][0] <= now:
                self._due.popleft()[1]()
            timer = loop.call_at(min(ping_at, self._due[0][0] if self._due else ping_at), self._news.set)
            try:
                await self._news.wait()
            finally:
                timer.cancel()

    def _ping(self) -> None:
        if self._network.down:
            self._close()
        else:
            self._queue(partial(self._alive, asyncio.get_running_loop().time()))

    def _receive(self, message: bytes) -> None:
        if self._network.down:
            self._close()
        for _ in range(self._network.copies()):
            self._queue(partial(self._heard, message))

    def _queue(self, delivery: Callable[[], None]) -> None:
        at = asyncio.get_running_loop().time() + self._network.message_delay
        self._due.append((max(at, self._due[-1][0]) if self._due else at, delivery))
        self._news.set()

    def _close(self) -> None:
        self._open = False
        self._news.set()
