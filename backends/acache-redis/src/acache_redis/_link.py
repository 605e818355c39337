"""A connection that opens when it is needed and again after it broke. Knows no commands."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import final

from acache_redis._dial import Dialer
from acache_redis._resp import Command, Reply
from acache_redis._wire import Wire


@final
class Link:
    """One connection at a time, of one event loop; its owner makes one exchange at a time."""

    def __init__(self, dialer: Dialer, *, pushed: Callable[[Reply], None] | None = None) -> None:
        self._dialer = dialer
        self._pushed = pushed
        self._wire: Wire | None = None
        self._spoilt = False  # to be replaced before it is used again
        self._life: AsyncGenerator[None] | None = None

    @property
    def at_rest(self) -> Wire | None:
        """The open connection, for an exchange without a task; None if one has to be opened first."""
        wire = self._wire
        return None if wire is None or self._spoilt or wire.lost.done() else wire

    def spoil(self) -> None:
        """Use this connection no more, and hear no more of it: the next exchange opens another."""
        self._spoilt = True
        if self._wire is not None:
            self._wire.abort()

    async def exchange(self, commands: Sequence[Command], *, deadline: float) -> list[Reply]:
        """Send *commands* in one write and return their replies, `Refused` ones among them.

        Where an open connection turns out to be broken everything is sent once more on a new one.
        Raises TimeoutError at *deadline*, a time of the loop, or whatever redis-py and the network
        raise. Afterwards, and after cancellation, nothing unread is left.
        """
        try:
            async with asyncio.timeout_at(deadline):
                if self._wire is not None and not self._spoilt:
                    try:
                        return await self._wire.exchange(commands)
                    except ConnectionError:
                        await self.close()
                wire = await self.open()
                return await wire.exchange(commands)
        except BaseException:
            await self.close()
            raise

    async def open(self) -> Wire:
        """Return the connection, opened if it is not open."""
        if self._spoilt:
            await self.close()
        if self._wire is None:
            wire = await self._dialer.dial(self._pushed)
            self._life = _until_the_loop_ends(wire)
            await anext(self._life)
            self._wire = wire
        return self._wire

    async def close(self) -> None:
        """Close the connection, if one is open. Safe to call twice."""
        life, self._life, self._wire, self._spoilt = self._life, None, None, False
        if life is not None:
            await life.aclose()


async def _until_the_loop_ends(wire: Wire) -> AsyncGenerator[None]:
    """Keep *wire* open until closed: by us, or by the loop, which ends its generators when it ends.

    So a cache that outlives its loop (each test of pytest has one of its own) leaves no socket open.
    """
    try:
        yield
    finally:
        await wire.close()
