"""Batches on one connection: what is asked for within one turn of the loop travels together.

One batch is under way at a time, the next one fills meanwhile: an idle lane sends at once, a busy
one sends more at a time. A batch is joined only until it is sent, since what was asked before an
invalidation may not answer who asks after it. Callers wait for futures of their own, so that
cancelling one disturbs neither the batch nor the order of replies on the connection.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar, final

from acache_redis._dial import Dialer
from acache_redis._link import Link
from acache_redis._resp import Command, Refused, Reply

LARGEST_MGET: Final = 500
"""Keys in one command: a server answers one command at a time, and others wait."""


class Batch(Protocol):
    """What callers have joined and one exchange answers."""

    def commands(self) -> Sequence[Command]:
        """Return what to send; nobody joins after this."""
        ...

    def answer(self, replies: Sequence[Reply]) -> None:
        """Give every caller its own."""
        ...

    def fail(self, error: Callable[[], Exception]) -> None:
        """Give every caller an error of its own."""
        ...


B = TypeVar("B", bound=Batch)


@final
class Lane(Generic[B]):
    """One connection, one batch under way, one filling."""

    def __init__(self, dialer: Dialer, make: Callable[[], B], *, timeout: float) -> None:
        self._dialer = dialer
        self._link = Link(dialer)
        self._make = make
        self._timeout = timeout
        self._filling: B | None = None
        self._deadline = 0.0  # of the batch that is filling, counted from its first caller
        self._runner: asyncio.Task[None] | None = None  # only while there is something to send

    def filling(self) -> B:
        """Return the batch to join; it is sent after this turn of the loop, or after the one before it."""
        if self._filling is None:
            loop = asyncio.get_running_loop()
            self._filling = self._make()
            self._deadline = loop.time() + self._timeout
            if self._runner is None:
                self._runner = loop.create_task(self._run(), name="acache-redis")
        return self._filling

    async def close(self) -> None:
        """End what is under way with an error and close the connection."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        await self._link.close()

    async def _run(self) -> None:
        batch: B | None = None
        try:
            if asyncio.get_running_loop().get_task_factory() is not None:
                await asyncio.sleep(0)  # an eager task would start before the first caller has joined
            while (batch := self._filling) is not None:
                self._filling = None
                # Where the loop was busy with other things, that was no fault of the server's.
                at_least = asyncio.get_running_loop().time() + self._timeout / 4
                await self._exchange(batch, max(self._deadline, at_least))
        finally:
            self._runner = None
            for left in (batch, self._filling):  # only if cancelled: closed, or the loop ends
                if left is not None:
                    self._fail(left, ConnectionAbortedError("closed meanwhile"))
            self._filling = None

    async def _exchange(self, batch: B, deadline: float) -> None:
        try:
            batch.answer(await self._link.exchange(batch.commands(), deadline=deadline))
        except Exception as error:  # noqa: BLE001 - the border: whatever a foreign server causes
            self._fail(batch, error)

    def _fail(self, batch: B, error: Exception) -> None:
        cause = self._dialer.bare(error)
        batch.fail(lambda: self._dialer.unavailable(cause))


class Reads:
    """A batch of keys to get, each once."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._callers: list[tuple[asyncio.Future[list[bytes | None]], list[int]]] = []

    def join(self, keys: Sequence[bytes]) -> asyncio.Future[list[bytes | None]]:
        """Return what will be the bytes under *keys*."""
        places = self._places
        found: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self._callers.append((found, [places.setdefault(key, len(places)) for key in keys]))
        return found

    def commands(self) -> list[Command]:
        """Return as few MGETs as may be."""
        keys = list(self._places)
        return [(b"MGET", *keys[at : at + LARGEST_MGET]) for at in range(0, len(keys), LARGEST_MGET)]

    def answer(self, replies: Sequence[Reply]) -> None:
        """Give every caller the bytes under its keys."""
        values: list[bytes | None] = []
        for reply in replies:
            if isinstance(reply, Refused):
                raise reply
            values += reply
        if len(values) != len(self._places):
            raise ValueError(f"{len(values)} values for {len(self._places)} keys")
        for found, places in self._callers:
            if not found.done():
                found.set_result([values[place] for place in places])

    def fail(self, error: Callable[[], Exception]) -> None:
        """Give every caller an error of its own."""
        for found, _ in self._callers:
            if not found.done():
                found.set_exception(error())


@final
class SeparateReads(Reads):
    """The same for a node of a cluster: keys in different slots share no command.

    Among the values are errors of the server, about one key each."""

    def commands(self) -> list[Command]:
        """Return an MGET for each key: unlike GET it answers nothing where something else is kept."""
        return [(b"MGET", key) for key in self._places]

    def answer(self, replies: Sequence[Reply]) -> None:
        """Give every caller the bytes under its keys."""
        super().answer([[reply] if isinstance(reply, Refused) else reply for reply in replies])


@final
class Calls:
    """A batch of other commands, each caller's in a row."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._callers: list[tuple[asyncio.Future[list[Reply]], int]] = []

    def join(self, commands: Sequence[Command]) -> asyncio.Future[list[Reply]]:
        """Return what will be the replies to *commands*, errors of the server among them."""
        replies: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self._callers.append((replies, len(commands)))
        self._commands += commands
        return replies

    def commands(self) -> list[Command]:
        """Return all commands in the order in which they came."""
        return self._commands

    def answer(self, replies: Sequence[Reply]) -> None:
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
