"""One server, as one event loop reaches it: a lane for reads and one for everything else.

Knows no verb of the store and no other server.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, final
from weakref import WeakSet

from acache.protocols import Reply as Asker
from acache_redis import _scripts as scripts
from acache_redis._copies import alone
from acache_redis._dial import Dialer
from acache_redis._greeting import questions
from acache_redis._greeting import read as read_greeting
from acache_redis._lane import Calls, Lane, Reads, SeparateReads
from acache_redis._recent import Recent, again, log
from acache_redis._resp import Command, Refused, Reply
from acache_redis._scripts import milliseconds
from acache_redis._topology import Node
from acache_redis._wire import Wire

CHUNK: Final = 500  # invalidations that are told again in one round trip


class Home(Protocol):
    """Where the store's names are, and the connections of one event loop to there."""

    def read(self, names: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        """Return what will be the bytes under *names*; reads of one turn of the loop travel together."""
        ...

    def read_for(self, names: Sequence[bytes], reply: Asker) -> None:
        """Tell *reply* the same, or StoreUnavailable; asked at once unless there is a read under way."""
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
    """A home that is one server; *node*: the id of one of a cluster.

    With *recent*, each of its connections begins with the question who answers. Where that is another
    primary than the one that was told of an invalidation a moment ago, it is told first of all. And
    all of its connections lead to one primary: those that lead to another than the newest are ended."""

    def __init__(
        self,
        dialer: Dialer,
        channel: bytes,
        *,
        timeout: float,
        loads: Sequence[Command] = scripts.LOADS,
        recent: Recent | None = None,
        node: Node | None = None,
        mine: Callable[[bytes], bool] = lambda _: True,
        stands: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        """Reach what *dialer* reaches; *loads* brings the scripts that are called to a new server.

        *recent*: what every new primary has to know of the names that are *mine*, unless they were moved
        to it from one that still *stands* with its data."""
        self.dialer = dialer
        self._channel = channel
        self._timeout = timeout
        self._loads = loads
        self._recent = recent
        self.node = node
        self._node = b"" if node is None else node.id
        self._mine = mine
        self._stands = stands
        self._greeted = dialer if recent is None else dialer.greeting(self.greet)
        self._reads = Lane(self._greeted, SeparateReads if node else Reads, timeout=timeout)
        self._calls = Lane(self._greeted, Calls, timeout=timeout)
        self._waiting: Lane[Calls] | None = None  # made when replicas are waited for: others must not wait
        self._short = False  # there were too few replicas the last time
        self._wires: WeakSet[Wire] = WeakSet()  # the open connections, all to the same primary
        self.data = b""  # the replication id of that primary; empty before there was one

    def read(self, names: Sequence[bytes]) -> Awaitable[list[bytes | None]]:
        """Return what will be the bytes under *names*."""
        return self._reads.filling().join(names)

    def read_for(self, names: Sequence[bytes], reply: Asker) -> None:
        """Tell *reply* the bytes under *names*."""
        self._reads.hurry(lambda batch: batch.add(names, reply))

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
        recent = self._recent
        sent = None if recent is None else recent.note(commands, message)
        if message is not None:
            commands = scripts.saying(commands, self._channel, message)
        if recent is None or recent.wait_replicas < 1 or not sent or not any(sent):
            lane, more = self._calls, []
        else:
            lane = self._waiting = self._waiting or Lane(self._greeted, Calls, timeout=self._timeout)
            more = [(b"WAIT", recent.wait_replicas, milliseconds(self._timeout / 2))]
        replies = await lane.filling().join([*commands, *more])
        if any(isinstance(reply, Refused) and reply.code == "NOSCRIPT" for reply in replies):
            replies = await lane.filling().join([*self._loads, *commands, *more])
            if isinstance(replies[0], Refused):  # it may not be taught
                return replies[:1] * len(commands)
        if more:
            self._note_replicas(replies.pop(), more[0][1])
        replies = replies[-len(commands) :]
        refused = [reply for reply in replies if isinstance(reply, Refused)]
        if recent is not None and sent is not None and not refused:
            recent.done(sent, self.data)
        if any(reply.code == "READONLY" for reply in refused):
            self._part()  # a primary no more; its reads are refused nothing, and are late
        return replies

    async def ask_about_moving(self, command: Command) -> Reply:
        """Return the reply to a *command* about one name whose slot is on its way to this server."""
        return (await self.ask([(b"ASKING",), command]))[1]

    async def close(self) -> None:
        """End what is under way with an error and close the connections."""
        await self._reads.close()
        await self._calls.close()
        if self._waiting is not None:
            await self._waiting.close()

    # --- who answers ----------------------------------------------------------------------------

    async def greet(self, wire: Wire) -> None:
        """Learn who answers on *wire*, a new connection, and tell it what it may not know.

        Raises ConnectionError for a replica, and what the network and the server do."""
        identity = read_greeting(await wire.exchange(questions(self._node)), self._node)
        if identity.replica:
            raise ConnectionError("this is a replica: name its primary, or ask sentinels or a cluster for it")
        data = identity.data
        if self._recent is None or not data:  # told by nobody, or by no real server
            return
        if data != self.data:
            self._part()  # or the other one might do what this one will not have been told
        await self._tell(wire, data, self._recent)
        if data != self.data:
            self._part()
            self.data = data
        self._wires.add(wire)

    async def _tell(self, wire: Wire, data: bytes, recent: Recent) -> None:
        unknown = recent.unknown_to(data, before=self.data, mine=self._mine, stands=self._stands)
        if not unknown:
            return
        commands = again(unknown, self._channel, alone if self._node else bytes)
        for at in range(0, len(commands), CHUNK):
            replies = await wire.exchange([*(scripts.LOADS if at == 0 else ()), *commands[at : at + CHUNK]])
            for reply in replies:
                if isinstance(reply, Refused) and reply.code not in {"MOVED", "ASK", "TRYAGAIN"}:
                    raise reply
        recent.done(unknown, data)
        log.warning(
            "%s is another primary than before: told it %d invalidations again",
            self.dialer.name,
            len(unknown),
        )

    def _part(self) -> None:
        """End all connections; what is under way on them is asked again on new ones."""
        for wire in list(self._wires):
            wire.hang_up()
        self._wires.clear()

    def _note_replicas(self, reply: Reply, wanted: Reply) -> None:
        short = isinstance(reply, int) and reply < wanted
        if short and not self._short:
            log.warning("%s: %d of %d replicas took an invalidation in time", self.dialer.name, reply, wanted)
        self._short = short
