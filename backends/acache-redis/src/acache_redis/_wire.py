"""One open connection: commands out, replies in. Knows neither how it was opened nor what is said."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast, final

from acache_redis._resp import Command, Replies, Reply, pack


class Connection(Protocol):
    """As much of a connection of redis-py as is used here."""

    _writer: asyncio.StreamWriter | None  # there is no public way to the transport

    async def connect(self) -> None:
        """Open the socket and shake hands."""
        ...

    async def disconnect(self, nowait: bool = ...) -> None:
        """Close the socket."""
        ...


@final
class Wire(asyncio.Protocol):
    """A connection that redis-py has opened, and that is its owner's alone from then on.

    Its owner makes one `exchange` at a time, or gave it *pushed*, which is called with every reply that
    no exchange waits for, and only sends. Nonsense, answers that nobody waits for, and an error of
    *pushed* end it.
    """

    def __init__(self, connection: Connection, pushed: Callable[[Reply], None] | None) -> None:
        """Take over *connection*, which is open and at rest. Raises ConnectionError if it is not."""
        writer = connection._writer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if writer is None or writer.transport.is_closing():
            raise ConnectionResetError("closed by the server")
        transport = cast("asyncio.Transport", writer.transport)
        self._connection = connection
        self._before = transport.get_protocol()
        self._transport = transport
        self._pushed = pushed
        self._replies = Replies()
        self._answers: list[Reply] = []
        self._asked = 0  # replies that the exchange under way waits for
        self._arrived: Callable[[list[Reply]], object] | None = None  # what it does with them
        self._broken: Callable[[Exception], object] | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        transport.set_protocol(self)

    def send(self, commands: Sequence[Command]) -> None:
        """Write *commands*."""
        self._transport.write(pack(commands))

    def ask(
        self,
        commands: Sequence[Command],
        arrived: Callable[[list[Reply]], object],
        broken: Callable[[Exception], object],
    ) -> None:
        """Write *commands*; one of the two is called with their replies or with what went wrong."""
        self._answers, self._asked = [], len(commands)
        self._arrived, self._broken = arrived, broken
        self._transport.write(pack(commands))

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Write *commands* and return their replies, `Refused` ones among them.

        Raises ConnectionError if the connection ends first. Cancelled, it has to be closed.
        """
        if self.lost.done():
            raise ConnectionResetError("closed by the server")
        whole: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()

        def arrived(answers: list[Reply]) -> None:
            if not whole.done():
                whole.set_result(answers)

        def broken(error: Exception) -> None:
            if not whole.done():
                whole.set_exception(error)

        self.ask(commands, arrived, broken)
        return await whole

    def hang_up(self) -> None:
        """End the connection as if the server had: who waits hears that it is lost."""
        self._transport.abort()

    def abort(self) -> None:
        """End the connection and tell nobody."""
        self._arrived = self._broken = None
        self._transport.abort()

    async def close(self) -> None:
        """End the connection at once. Safe to call twice.

        Not politely: that would wait until a server that hangs has taken what is still to be written.
        All is done before the first await, for a loop that ends may cancel who waits here once more.
        """
        self._transport.abort()
        await self._connection.disconnect(nowait=True)  # suspends nowhere
        await asyncio.wait([self.lost])

    # --- called by the transport ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Hand on the replies that are whole now."""
        try:
            replies = self._replies.feed(data)
        except ValueError as error:
            self._give_up(error)
            return
        if self._pushed is not None and self._arrived is None:
            self._push(replies, self._pushed)
            return
        self._answers += replies
        if len(self._answers) > self._asked:
            self._give_up(ConnectionError("an answer that nobody asked for"))
        elif len(self._answers) == self._asked and self._arrived is not None:
            answers, arrived = self._answers, self._arrived
            self._answers, self._asked, self._arrived, self._broken = [], 0, None, None
            arrived(answers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self._before.connection_lost(exc)  # redis-py's streams wait for it
        if not self.lost.done():
            self.lost.set_result(None)
        self._break(exc or ConnectionResetError("closed by the server"))

    def _push(self, replies: Sequence[Reply], pushed: Callable[[Reply], None]) -> None:
        try:
            for reply in replies:
                pushed(reply)
        except Exception as error:  # noqa: BLE001 - of whoever listens
            report = {"message": "a listener of acache-redis failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(report)
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._transport.abort()
        self._break(error)

    def _break(self, error: Exception) -> None:
        broken, self._arrived, self._broken = self._broken, None, None
        if broken is not None:
            broken(error)
