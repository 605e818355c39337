"""Batches on one connection: what is asked for within one turn of the loop travels together.

One batch is under way at a time, the next one fills meanwhile: an idle lane sends at once, a busy
one sends more at a time. A batch is joined only until it is sent, since what was asked before an
invalidation may not answer who asks after it. Callers wait for futures of their own, so that
cancelling one disturbs neither the batch nor the order of replies on the connection.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar, final

from acache.protocols import Reply
from acache_redis._dial import Dialer
from acache_redis._link import Link
from acache_redis._resp import Command, Refused
from acache_redis._resp import Reply as Answer

LARGEST_MGET: Final = 500
"""Keys in one command: a server answers one command at a time, and others wait."""


class Batch(Protocol):
    """What callers have joined and one exchange answers."""

    def commands(self) -> Sequence[Command]:
        """Return what to send; nobody joins after this."""
        ...

    def answer(self, replies: Sequence[Answer]) -> None:
        """Give every caller its own."""
        ...

    def fail(self, error: Callable[[], Exception]) -> None:
        """Give every caller an error of its own."""
        ...

    def wanted(self) -> bool:
        """Tell whether any caller still waits."""
        ...


B = TypeVar("B", bound=Batch)
T = TypeVar("T")


@final
class Lane(Generic[B]):
    """One connection, one batch under way, one filling.

    While the connection is open a batch needs no task: what the server answers goes straight to those
    who wait. A task is at work only while there is a connection to open or to close.
    """

    def __init__(self, dialer: Dialer, make: Callable[[], B], *, timeout: float) -> None:
        self._dialer = dialer
        self._link = Link(dialer)
        self._make = make
        self._timeout = timeout
        self._filling: B | None = None
        self._under_way: B | None = None
        self._deadline = 0.0  # of the batch that is filling, counted from its first caller
        self._due = 0.0  # when the one under way is given up
        self._watch: asyncio.TimerHandle | None = None  # set no sooner than it has to be
        self._departs = False  # after this turn of the loop
        self._runner: asyncio.Task[None] | None = None

    def filling(self) -> B:
        """Return the batch to join; it is sent after this turn of the loop, or after the one before it."""
        if self._filling is None:
            batch = self._open_batch()
            if self._under_way is None and self._runner is None and not self._departs:
                self._departs = True
                asyncio.get_running_loop().call_soon(self._depart)
            return batch
        return self._filling

    def hurry(self, join: Callable[[B], T]) -> T:
        """Have *join* join the batch that fills; send that now, unless there is one under way."""
        joined = join(self._filling or self._open_batch())
        self._depart()
        return joined

    def _open_batch(self) -> B:
        self._filling = batch = self._make()
        self._deadline = asyncio.get_running_loop().time() + self._timeout
        return batch

    async def close(self) -> None:
        """End what is under way with an error and close the connection."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        self._abandon()
        await self._link.close()

    def _abandon(self) -> None:
        left, self._under_way, self._filling = (self._under_way, self._filling), None, None
        for batch in left:
            if batch is not None:
                self._fail(batch, ConnectionAbortedError("closed meanwhile"))

    # --- by callbacks -----------------------------------------------------------------------------

    def _depart(self) -> None:
        """Send what is filling, if anything is, unless there is a batch under way."""
        self._departs = False
        if self._under_way is not None or self._runner is not None:
            return
        batch = self._take()
        if batch is None:
            return
        wire = self._link.at_rest
        if wire is None:
            self._open_for(batch)
            return
        self._under_way = batch
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_at(self._due, self._look)
        wire.ask(batch.commands(), self._arrived, self._broken)

    def _take(self) -> B | None:
        """Return the batch that was filling, which nobody joins any more, having set when it is due."""
        batch, self._filling = self._filling, None
        if batch is not None:
            # Where the loop was busy with other things, that was no fault of the server's.
            at_least = asyncio.get_running_loop().time() + self._timeout / 4
            self._due = max(self._deadline, at_least)
        return batch

    def _arrived(self, answers: Sequence[Answer]) -> None:
        batch, self._under_way = self._under_way, None
        if batch is not None:
            self._answer(batch, answers)
        self._depart()

    def _broken(self, error: Exception) -> None:
        """Send what is under way once more on a new connection, where that may help."""
        batch, self._under_way = self._under_way, None
        if batch is not None and isinstance(error, ConnectionError):
            self._open_for(batch)
            return
        if batch is not None:
            self._fail(batch, error)
        self._depart()

    def _look(self) -> None:
        """Give up the batch under way if it is due; look again when it is."""
        self._watch = None
        if self._under_way is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            self._watch = loop.call_at(self._due, self._look)
            return
        batch, self._under_way = self._under_way, None
        self._link.spoil()  # its answer may still come
        self._fail(batch, TimeoutError())
        self._depart()

    # --- by a task --------------------------------------------------------------------------------

    def _open_for(self, batch: B) -> None:
        """Have a connection opened for *batch*, unless nobody waits any more: as when the loop ends."""
        if not batch.wanted():
            self._depart()
        else:
            self._under_way = batch
            self._runner = asyncio.get_running_loop().create_task(self._open(batch), name="acache-redis")

    async def _open(self, batch: B) -> None:
        try:
            if asyncio.get_running_loop().get_task_factory() is not None:
                await asyncio.sleep(0)  # an eager task would have ended before it is known
            answers = await self._link.exchange(batch.commands(), deadline=self._due)
        except Exception as error:  # noqa: BLE001 - the border: whatever a foreign server causes
            self._fail(batch, error)
        except BaseException:
            self._abandon()
            raise
        else:
            self._answer(batch, answers)
        finally:
            self._runner = self._under_way = None
        self._depart()

    # --- either way -------------------------------------------------------------------------------

    def _answer(self, batch: B, answers: Sequence[Answer]) -> None:
        if any(isinstance(answer, Refused) and answer.code == "READONLY" for answer in answers):
            self._link.spoil()  # a primary became a replica: the address may lead elsewhere now
        try:
            batch.answer(answers)
        except Exception as error:  # noqa: BLE001 - the border, as above
            self._fail(batch, error)

    def _fail(self, batch: B, error: Exception) -> None:
        cause = self._dialer.bare(error)
        batch.fail(lambda: self._dialer.unavailable(cause))


class Reads:
    """A batch of keys to get, each once."""

    def __init__(self) -> None:
        self._asked: Sequence[bytes] = ()  # the keys, in the order in which they are asked for
        self._callers: list[tuple[Reply, Sequence[bytes]]] = []

    def join(self, keys: Sequence[bytes]) -> asyncio.Future[list[bytes | None]]:
        """Return what will be the bytes under *keys*."""
        found: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self.add(keys, found)
        return found

    def add(self, keys: Sequence[bytes], found: Reply) -> None:
        """Tell *found* the bytes under *keys*, or the error."""
        self._callers.append((found, keys))

    def keys(self) -> Sequence[bytes]:
        """Return what to ask for, in this order."""
        if len(self._callers) == 1:  # one batch of a cache, which names nothing twice
            self._asked = self._callers[0][1]
        else:
            self._asked = list(dict.fromkeys(key for _, keys in self._callers for key in keys))
        return self._asked

    def commands(self) -> list[Command]:
        """Return as few MGETs as may be."""
        keys = self.keys()
        return [(b"MGET", *keys[at : at + LARGEST_MGET]) for at in range(0, len(keys), LARGEST_MGET)]

    def answer(self, replies: Sequence[Answer]) -> None:
        """Give every caller the bytes under its keys."""
        values: list[bytes | None] = []
        for reply in replies:
            if isinstance(reply, Refused):
                raise reply
            values += reply
        if len(values) != len(self._asked):
            raise ValueError(f"{len(values)} values for {len(self._asked)} keys")
        if len(self._callers) == 1:
            [(found, _)] = self._callers
            if not found.done():
                found.set_result(values)
            return
        value = dict(zip(self._asked, values, strict=True)).__getitem__
        for found, keys in self._callers:
            if not found.done():
                found.set_result([*map(value, keys)])

    def fail(self, error: Callable[[], Exception]) -> None:
        """Give every caller an error of its own."""
        for found, _ in self._callers:
            if not found.done():
                found.set_exception(error())

    def wanted(self) -> bool:
        """Tell whether any caller still waits."""
        return any(not found.done() for found, _ in self._callers)


@final
class SeparateReads(Reads):
    """The same for a node of a cluster: keys in different slots share no command.

    Among the values are errors of the server, about one key each."""

    def commands(self) -> list[Command]:
        """Return an MGET for each key: unlike GET it answers nothing where something else is kept."""
        return [(b"MGET", key) for key in self.keys()]

    def answer(self, replies: Sequence[Answer]) -> None:
        """Give every caller the bytes under its keys."""
        super().answer([[reply] if isinstance(reply, Refused) else reply for reply in replies])


@final
class Calls:
    """A batch of other commands, each caller's in a row."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._callers: list[tuple[asyncio.Future[list[Answer]], int]] = []

    def join(self, commands: Sequence[Command]) -> asyncio.Future[list[Answer]]:
        """Return what will be the replies to *commands*, errors of the server among them."""
        replies: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._callers.append((replies, len(commands)))
        self._commands += commands
        return replies

    def commands(self) -> list[Command]:
        """Return all commands in the order in which they came."""
        return self._commands

    def answer(self, replies: Sequence[Answer]) -> None:
        """Give every caller the replies to its commands."""
        at = 0
        for mine, count in self._callers:
            if not mine.done():
                mine.set_result(list(replies[at : at + count]))
            at += count

    def fail(self, error: Callable[[], Exception]) -> None:
        """Give every caller an error of its own."""
        for mine, _ in self._callers:
            if not mine.done():
                mine.set_exception(error())

    def wanted(self) -> bool:
        """Tell whether any caller still waits."""
        return any(not mine.done() for mine, _ in self._callers)
