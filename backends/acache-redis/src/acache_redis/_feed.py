"""One process's subscription to what the store's clients say on one server. Knows no message.

One dedicated connection. Every subscription that the server confirmed begins with a gap, since
nobody knows what was said before. Pings travel on the same connection as messages: an answer proves
that everything said before the ping was sent has been heard.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final, final

from acache_redis._dial import Dialer
from acache_redis._link import Link
from acache_redis._resp import Refused, Reply
from acache_redis._wire import Wire

log: Final = logging.getLogger("acache_redis")
FIRST_PAUSE: Final = 0.05  # seconds between two connections, doubled each time
LONGEST_PAUSE: Final = 2.0
MOST_UNANSWERED: Final = 3  # pings; beyond it the connection counts as dead


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Whom to tell, at once and on the loop; an error of it ends the connection."""

    heard: Callable[[bytes], None]  # a message
    gap: Callable[[], None]  # a subscription was confirmed; nobody knows what was said before
    alive: Callable[[float], None]  # when a ping was sent that has been answered
    lost: Callable[[], None] = lambda: None  # a subscription ended


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How to listen; times in seconds."""

    timeout: float  # for a connection
    ping_every: float
    monotonic: Callable[[], float]
    rng: Random


@final
class Subscription:
    """Listening to one server, through any number of connections."""

    def __init__(self, dialer: Dialer, channel: bytes, listener: Listener, pace: Pace) -> None:
        """Listen to *channel* of what *dialer* reaches."""
        self._dialer = dialer
        self._link = Link(dialer, pushed=self._take)
        self._channel = channel
        self._tell = listener
        self._pace = pace
        self._unanswered: deque[float] = deque()  # when each such ping was sent
        self._pause = FIRST_PAUSE
        self._refused = ""  # what the server said last

    async def run(self) -> None:
        """Listen until cancelled; a connection that ends is followed by another, ever more slowly.

        An error of a callback is told to the loop and ends its connection too: what a callback did
        not take in is made good by the gap that the next subscription begins with.
        """
        try:
            while True:
                try:
                    async with asyncio.timeout(self._pace.timeout):
                        wire = await self._link.open()
                except Exception:  # noqa: BLE001, S110 - away, for whatever reason: silence tells the cache
                    pass
                else:
                    await self._listen(wire)
                    self._tell.lost()
                    await self._link.close()
                await asyncio.sleep(self._pause * (0.5 + self._pace.rng.random() / 2))
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
        finally:
            await self._link.close()

    async def _listen(self, wire: Wire) -> None:
        """Return when the connection is lost, or answers no pings."""
        self._unanswered.clear()
        wire.send([(b"SUBSCRIBE", self._channel)])
        while not wire.lost.done() and len(self._unanswered) < MOST_UNANSWERED:
            self._unanswered.append(self._pace.monotonic())
            wire.send([(b"PING",)])
            await asyncio.wait([wire.lost], timeout=self._pace.ping_every)

    def _refuse(self, refused: Refused) -> None:
        """Say once what the server does not allow, and end this connection before its next ping."""
        said = str(self._dialer.bare(refused))
        if said != self._refused:
            log.warning("%s: there is no feed, so nothing is served from near: %s", self._dialer.name, said)
        self._refused = said
        self._unanswered.extend([inf] * MOST_UNANSWERED)

    def _take(self, reply: Reply) -> None:
        """Take what the connection brings, at once and in its order."""
        match reply:
            case [b"message", _, bytes(message)]:
                self._tell.heard(message)
            case [b"pong", _]:
                self._tell.alive(self._unanswered.popleft())
            case [b"subscribe", *_]:
                self._pause, self._refused = FIRST_PAUSE, ""
                self._tell.gap()
            case Refused() as refused:
                self._refuse(refused)
            case bytes() if self._refused:  # a pong of no subscriber
                pass
            case _:
                raise ValueError("not what a subscription brings")
