"""One connection that opens when it is needed and again after it broke. Knows no commands."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import final

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ReadOnlyError, ResponseError

from acache_redis._dial import Command, Dialer, Reply, Wire, hang_up


@final
class Link:
    """One connection of one event loop; its owner makes one exchange at a time."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._wire: Wire | None = None
        self._life: AsyncGenerator[None] | None = None

    async def exchange(self, commands: Sequence[Command], *, deadline: float) -> list[Reply]:
        """Send *commands* in one write and return their replies, errors of the server among them.

        A connection that broke while it was idle shows only now, so where an open one breaks
        everything is sent once more on a new one. Raises TimeoutError at *deadline*, a time of the
        loop, or what redis-py raises. Afterwards, and after cancellation, nothing unread is left.
        """
        try:
            async with asyncio.timeout_at(deadline):
                if self._wire is not None:
                    try:
                        return await self._send(self._wire, commands)
                    except (Disconnected, OSError, EOFError):
                        await self.close()
                return await self._send(await self._open(), commands)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection, if one is open. Safe to call twice."""
        life, self._life, self._wire = self._life, None, None
        if life is not None:
            await life.aclose()

    async def _open(self) -> Wire:
        wire = await self._dialer.dial()
        self._life = _until_the_loop_ends(wire)
        await anext(self._life)
        self._wire = wire
        return wire

    async def _send(self, wire: Wire, commands: Sequence[Command]) -> list[Reply]:
        await wire.send_packed_command(wire.pack_commands(commands), check_health=False)
        replies: list[Reply] = []
        for _ in commands:
            try:
                replies.append(await wire.read_response(disable_decoding=True, disconnect_on_error=False))
            except ResponseError as error:
                replies.append(error)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await self.close()  # a primary became a replica: the address may lead elsewhere now
        return replies


async def _until_the_loop_ends(wire: Wire) -> AsyncGenerator[None]:
    """Keep *wire* open until closed: by us, or by the loop, which ends its generators when it ends.

    So a cache that outlives its loop (each test of pytest has one of its own) leaves no socket open.
    """
    try:
        yield
    finally:
        await hang_up(wire)
