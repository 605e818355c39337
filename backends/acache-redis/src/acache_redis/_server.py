"""One server, as one event loop reaches it: a lane for reads and one for everything else.

Knows no verb of the store and no other server.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, final

from acache_redis import _scripts as scripts
from acache_redis._dial import Dialer
from acache_redis._lane import Calls, Lane, Reads
from acache_redis._resp import Command, Refused, Reply


class Home(Protocol):
    """Where the store's names are, and the connections of one event loop to there."""

    def read(self, names: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        """Return what will be the bytes under *names*; reads of one turn of the loop travel together."""
        ...

    async def call(self, commands: Sequence[Command], message: bytes | None = None) -> Sequence[Reply]:
        """Return the replies to *commands*, scripts or commands about one name each; none is an error.

        *message* is published by the last of them, a script, or alone if there is none."""
        ...

    async def close(self) -> None:
        """End what is under way with an error and close the connections."""
        ...


@final
class Server:
    """A home that is one server."""

    def __init__(
        self,
        dialer: Dialer,
        channel: bytes,
        *,
        timeout: float,
        reads: Callable[[], Reads] = Reads,
        loads: Sequence[Command] = scripts.LOADS,
    ) -> None:
        """Reach what *dialer* reaches; *loads* brings the scripts that are called to a new server."""
        self._loads = loads
        self.dialer = dialer
        self._channel = channel
        self._reads = Lane(dialer, reads, timeout=timeout)
        self._calls = Lane(dialer, Calls, timeout=timeout)

    def read(self, names: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        """Return what will be the bytes under *names*."""
        return self._reads.filling().join(names)

    async def call(self, commands: Sequence[Command], message: bytes | None = None) -> Sequence[Reply]:
        """Return the replies to *commands*; raises StoreUnavailable if any is an error."""
        replies = await self.ask(commands, message)
        for reply in replies:
            if isinstance(reply, Refused):
                raise self.dialer.unavailable(self.dialer.bare(reply))
        return replies

    async def ask(self, commands: Sequence[Command], message: bytes | None = None) -> list[Reply]:
        """Return the replies to *commands*, errors of the server among them, in one round trip.

        A server that does not know a script is sent all of them, and then everything again: what
        it did already does not matter, and what it did out of turn is so done after the rest too.
        """
        if message is not None:
            commands = scripts.saying(commands, self._channel, message)
        replies = await self._calls.filling().join(commands)
        if any(isinstance(reply, Refused) and reply.code == "NOSCRIPT" for reply in replies):
            replies = await self._calls.filling().join([*self._loads, *commands])
        return replies[-len(commands) :]

    async def ask_about_moving(self, command: Command) -> Reply:
        """Return the reply to a *command* about one name whose slot is on its way to this server."""
        return (await self.ask([(b"ASKING",), command]))[1]

    async def close(self) -> None:
        """End what is under way with an error and close the connections."""
        await self._reads.close()
        await self._calls.close()
