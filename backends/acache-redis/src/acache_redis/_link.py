"""A connection that opens when it is needed and again after it broke. Knows no commands."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import final

from acache_redis._dial import Dialer
from acache_redis._resp import Command, Refused, Reply
from acache_redis._wire import Wire


@final
class Link:
    """One connection at a time, of one event loop; its owner makes one exchange at a time."""

    def __init__(self, dialer: Dialer, *, pushed: Callable[[Reply], None] | None = None) -> None:
        self._dialer = dialer
        self._pushed = pushed
        self._wire: Wire | None = None
        self._life: AsyncGenerator[None] | None = None

    async def exchange(self, commands: Sequence[Command], *, deadline: float) -> list[Reply]:
        """Send *commands* in one write and return their replies, `Refused` ones among them.

        Where an open connection turns out to be broken everything is sent once more on a new one.
        Raises TimeoutError at *deadline*, a time of the loop, or whatever redis-py and the network
        raise. Afterwards, and after cancellation, nothing unread is left.
        """
        try:
            async with asyncio.timeout_at(deadline):
                if self._wire is not None:
                    try:
                        return await self._ask(self._wire, commands)
                    except ConnectionError:
                        await self.close()
                return await self._ask(await self.open(), commands)
        except BaseException:
            await self.close()
            raise

    async def open(self) -> Wire:
        """Return the connection, opened if it is not open."""
        if self._wire is None:
            wire = await self._dialer.dial(self._pushed)
            self._life = _until_the_loop_ends(wire)
            await anext(self._life)
            self._wire = wire
        return self._wire

    async def close(self) -> None:
        """Close the connection, if one is open. Safe to call twice."""
        life, self._life, self._wire = self._life, None, None
        if life is not None:
            await life.aclose()

    async def _ask(self, wire: Wire, commands: Sequence[Command]) -> list[Reply]:
        replies = await wire.exchange(commands)
        if any(isinstance(reply, Refused) and reply.code == "READONLY" for reply in replies):
            await self.close()  # a primary became a replica: the address may lead elsewhere now
        return replies


async def _until_the_loop_ends(wire: Wire) -> AsyncGenerator[None]:
    """Keep *wire* open until closed: by us, or by the loop, which ends its generators when it ends.

    So a cache that outlives its loop (each test of pytest has one of its own) leaves no socket open.
    """
    try:
        yield
    finally:
        await wire.close()
