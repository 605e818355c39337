"""One process's subscription to what the store's clients say. Knows no message.

One dedicated connection. Every subscription that the server confirmed begins with a gap, since
nobody knows what was said before. Pings travel on the same connection as messages: an answer proves
that everything said before the ping was sent has been heard.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final, final

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from acache.clock import Clock
from acache_redis._dial import Dialer, Reply, Wire, hang_up

FIRST_PAUSE: Final = 0.05  # seconds between two connections, doubled each time
LONGEST_PAUSE: Final = 2.0
MOST_UNANSWERED: Final = 3  # pings; beyond it the connection counts as dead

_AWAY: Final = (RedisError, OSError, EOFError)


@final
class Subscription:
    """Listening, through any number of connections."""

    def __init__(
        self,
        dialer: Dialer,
        channel: bytes,
        *,
        heard: Callable[[bytes], None],
        gap: Callable[[], None],
        alive: Callable[[float], None],
        timeout: float,
        ping_every: float,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._dialer = dialer
        self._channel = channel
        self._heard = heard
        self._gap = gap
        self._alive = alive
        self._timeout = timeout
        self._ping_every = ping_every
        self._clock = clock
        self._rng = rng
        self._unanswered: deque[float] = deque()  # when each such ping was sent
        self._pause = FIRST_PAUSE

    async def run(self) -> None:
        """Listen until cancelled; a connection that ends is followed by another, ever more slowly.

        An error of a callback is told to the loop and ends its connection too: what a callback did
        not take in is made good by the gap that the next subscription begins with.
        """
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    wire = await self._dialer.dial()
                await self._listen(wire)
            except _AWAY:
                pass
            except Exception as error:  # noqa: BLE001 - the border: a listener outlives whatever happens
                report = {"message": f"listening to {self._dialer.name} failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(report)
            await asyncio.sleep(self._pause * (0.5 + self._rng.random() / 2))
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _listen(self, wire: Wire) -> None:
        self._unanswered.clear()
        try:
            async with asyncio.timeout(self._timeout):
                await _send(wire, b"SUBSCRIBE", self._channel)
                await _read(wire)
            self._pause = FIRST_PAUSE
            self._gap()
            await self._hear(wire)
        finally:
            await hang_up(wire)

    async def _hear(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        ping_at = loop.time()
        while True:
            if loop.time() >= ping_at:
                ping_at = loop.time() + self._ping_every
                await self._ping(wire)
            try:
                # Cancelling a read loses nothing: what came of a message stays in the parser.
                async with asyncio.timeout_at(ping_at):
                    kind, *_, data = await _read(wire)
            except TimeoutError:
                continue
            if kind == b"message":
                self._heard(data)
            elif kind == b"pong":
                self._alive(self._unanswered.popleft())

    async def _ping(self, wire: Wire) -> None:
        if len(self._unanswered) >= MOST_UNANSWERED:
            raise Disconnected("the server answers no pings")
        self._unanswered.append(self._clock.monotonic())
        async with asyncio.timeout(self._timeout):
            await _send(wire, b"PING")


async def _send(wire: Wire, *command: bytes) -> None:
    await wire.send_packed_command(wire.pack_commands([command]), check_health=False)


async def _read(wire: Wire) -> Reply:
    return await wire.read_response(disable_decoding=True, disconnect_on_error=False)
