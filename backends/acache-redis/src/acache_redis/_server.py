"""One server, as one event loop reaches it: a lane for reads and one for everything else.

Knows no verb of the store and no other server.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, final

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
    primary than the one that was told of an invalidation a moment ago, it is told first of all."""

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
        self._node = b"" if node is None else node.id
        self._mine = mine
        self._stands = stands
        self._reads = Lane(self._door()[0], SeparateReads if node else Reads, timeout=timeout)
        self._calls = self._line()
        self._waiting: _Line | None = None  # made when replicas are waited for: others must not wait too
        self._short = False  # there were too few replicas the last time

    @property
    def data(self) -> bytes:
        """The replication id of the server that is told of changes; empty before there was one."""
        return self._calls.data

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
        recent = self._recent
        sent = [] if recent is None else recent.note(commands, message)
        if message is not None:
            commands = scripts.saying(commands, self._channel, message)
        if recent is None or not sent or recent.wait_replicas < 1:
            line, more = self._calls, []
        else:
            line = self._waiting = self._waiting or self._line()
            more = [(b"WAIT", recent.wait_replicas, milliseconds(self._timeout / 2))]
        replies = await line.lane.filling().join([*commands, *more])
        if any(isinstance(reply, Refused) and reply.code == "NOSCRIPT" for reply in replies):
            replies = await line.lane.filling().join([*self._loads, *commands, *more])
            if isinstance(replies[0], Refused):  # it may not be taught
                return replies[:1] * len(commands)
        if more:
            self._note_replicas(replies.pop(), more[0][1])
        replies = replies[-len(commands) :]
        for one in sent:
            one.data = line.data
        if any(isinstance(reply, Refused) and reply.code == "READONLY" for reply in replies):
            await self._reads.close()  # a primary no more; its reads are refused nothing, and are late
        return replies

    async def ask_about_moving(self, command: Command) -> Reply:
        """Return the reply to a *command* about one name whose slot is on its way to this server."""
        return (await self.ask([(b"ASKING",), command]))[1]

    async def close(self) -> None:
        """End what is under way with an error and close the connections."""
        await self._reads.close()
        await self._calls.lane.close()
        if self._waiting is not None:
            await self._waiting.lane.close()

    # --- who answers ----------------------------------------------------------------------------

    def _line(self) -> "_Line":
        dialer, line = self._door()
        line.lane = Lane(dialer, Calls, timeout=self._timeout)
        return line

    def _door(self) -> tuple[Dialer, "_Line"]:
        """Return a dialer whose connections begin with a greeting, and where its answer is noted."""
        line = _Line()
        return self.dialer if self._recent is None else self.dialer.greeting(partial(self._greet, line)), line

    async def _greet(self, line: "_Line", wire: Wire) -> None:
        """Learn who answers on *wire*, and tell it what it may not know."""
        identity = read_greeting(await wire.exchange(questions(self._node)), self._node)
        if identity.replica:
            raise ConnectionError("this is a replica: name its primary, or ask sentinels or a cluster for it")
        line.data = identity.data
        if self._recent is None or not identity.data:  # told by nobody, or by no real server
            return
        unknown = self._recent.unknown_to(identity.data, mine=self._mine, stands=self._stands)
        if not unknown:
            return
        commands = again(unknown, self._channel, alone if self._node else bytes)
        for at in range(0, len(commands), CHUNK):
            replies = await wire.exchange([*(scripts.LOADS if at == 0 else ()), *commands[at : at + CHUNK]])
            for reply in replies:
                if isinstance(reply, Refused) and reply.code not in {"MOVED", "ASK", "TRYAGAIN"}:
                    raise reply
        for sent in unknown:
            sent.data = identity.data
        log.warning(
            "%s is another primary than before: told it %d invalidations again",
            self.dialer.name,
            len(unknown),
        )

    def _note_replicas(self, reply: Reply, wanted: Reply) -> None:
        short = isinstance(reply, int) and reply < wanted
        if short and not self._short:
            log.warning("%s: %d of %d replicas took an invalidation in time", self.dialer.name, reply, wanted)
        self._short = short


@final
class _Line:
    """A lane for calls, and whose data its connection leads to."""

    lane: Lane[Calls]
    data = b""  # the replication id
