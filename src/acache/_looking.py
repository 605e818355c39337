"""Reads of one turn of the loop, as one request. Knows no store and no entry: others ask and judge.

Who asks in a turn of the loop waits for a future of its own, so that cancelling one disturbs nobody.
What they ask for leaves together after that turn - or in it, if those who ask had just got an answer:
a reader who reads one key after the other never waits for company. What only the remote store knows is
asked for; versions of tags that are held near are not, unless somebody insists."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, final

from acache._keys import finish
from acache._near import NOTHING_HELD
from acache._process import Call, Process

LARGEST: Final = 500  # keys of one request

Versions = dict[str, bytes | None]
Answered = Callable[[tuple[list[bytes | None], Versions] | None], None]
Wanted = Callable[[], bool]
Ask = Callable[[Sequence[str], Sequence[str], Answered, Wanted], None]


@final
class Looked:
    """What the readers of one turn ask for in one request, and then its answer."""

    __slots__ = (
        "asked",
        "away",
        "calls",
        "crowded",
        "found",
        "held",
        "loop",
        "mark",
        "since",
        "values",
        "versions",
        "waiting",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        space: str,
        *,
        since: int,
        mark: int,
        held: Mapping[str, bytes],
    ) -> None:
        """Ask, at these marks of the drops and of the near ledger, for the version of *space*.

        Every entry has to match it. *held*: versions of tags that are near and trusted now."""
        self.loop = loop
        self.since = since
        self.mark = mark
        self.held = held
        self.found: dict[str, bytes | None] = {}
        self.versions: Versions = {space: None}
        self.away = True  # no answer: the store is away, or the cache was closed
        self.crowded = False  # a key was asked for twice: what is made of it may be shared
        self.values: dict[str, tuple[object, Any]] = {}  # decoded, and into which type, for all
        # Who waits, for which key, and as what. Not a tuple for each: the garbage collector would look at it.
        self.waiting: list[asyncio.Future[Any]] = []
        self.asked: list[str] = []
        self.calls: list[Call | None] = []

    def wanted(self) -> bool:
        """Say whether anybody still waits."""
        return any(not waiter.done() for waiter in self.waiting)


@final
class Looks:
    """The batch that fills now."""

    __slots__ = ("_ask", "_departs", "_filling", "_process", "_space", "_tell")

    def __init__(self, process: Process, ask: Ask, tell: Callable[[Looked], None], *, space: str) -> None:
        """Read with *ask*, and the version of *space* each time; *tell* gives those who wait an answer."""
        self._process = process
        self._ask = ask
        self._tell = tell
        self._space = space
        self._filling: Looked | None = None  # can be joined until it is sent
        self._departs = False  # what fills leaves soon
        process.moved.append(self._moved)
        process.ending.append(self._leave)

    def _moved(self) -> None:
        self._filling = None
        self._departs = False

    def judged(self, key: str, call: Call, likely: Iterable[str]) -> asyncio.Future[Any]:
        """Return what *key*, read with others, will be worth to *call*, as told to who waits for it.

        *likely*: tags that it may well have, finished or not."""
        looked = self._filling
        if looked is None or len(looked.found) >= LARGEST:
            looked = self._begin()
        found = looked.found
        if key in found:
            looked.crowded = True
        else:
            found[key] = None
        held = looked.held
        for tag in likely:
            if tag not in held:
                looked.versions[finish(tag)] = None
        waiter: asyncio.Future[Any] = asyncio.Future(loop=looked.loop)
        looked.waiting.append(waiter)
        looked.asked.append(key)
        looked.calls.append(call)
        return waiter

    async def read(self, keys: Iterable[str], tags: Iterable[str], *, likely: Iterable[str] = ()) -> Looked:
        """Return an answer with *keys* and *tags* in it, and those *likely* tags that nobody holds."""
        looked = self._filling
        if looked is None or len(looked.found) >= LARGEST:
            looked = self._begin()
        looked.crowded = looked.crowded or bool(looked.waiting)
        looked.found.update(dict.fromkeys(keys))
        looked.versions.update(dict.fromkeys(tags))
        looked.versions.update(dict.fromkeys(map(finish, {*likely} - looked.held.keys())))
        waiter: asyncio.Future[None] = looked.loop.create_future()
        looked.waiting.append(waiter)
        looked.asked.append("")
        looked.calls.append(None)
        await waiter
        return looked

    def _begin(self) -> Looked:
        process = self._process
        loop = process.enter()  # who looks once more may find it closed meanwhile
        self._leave()  # full
        looked = self._filling  # begun by who was told of what came of that, if tasks begin eagerly
        if looked is None:
            near = process.near
            held = near.versions_at(process.clock.monotonic())
            looked = Looked(loop, self._space, since=process.drops.mark, mark=near.ledger.mark, held=held)
            self._filling = looked
            self._depart_soon(loop)
        return looked

    def _depart_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # What is answered in a loop that the cache has left does not speak for the one that it is in.
        if not self._departs and loop is self._process.loop:
            self._departs = True
            loop.call_soon(self._depart, loop)

    def _depart(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._process.loop:
            return  # the cache has moved to another one meanwhile
        self._departs = False
        self._leave()

    def _leave(self) -> None:
        looked, self._filling = self._filling, None
        if looked is not None:
            self._send(looked)

    def _send(self, looked: Looked) -> None:
        if self._process.closed:
            self._tell(looked)
            return
        keys = list(looked.found)

        def answered(answer: tuple[list[bytes | None], Versions] | None) -> None:
            if answer is not None:
                found, looked.versions = answer
                looked.found = dict(zip(keys, found, strict=True))
                looked.away = False
                self._hold(looked)
            self._tell(looked)
            # Who reads on does so in the next turn, and this comes right after.
            self._depart_soon(looked.loop)

        self._ask(keys, list(looked.versions), answered, looked.wanted)

    def _hold(self, looked: Looked) -> None:
        near = self._process.near
        now = self._process.clock.monotonic()
        trusted = near.hold_versions(looked.versions, now, since=looked.mark)
        looked.held = near.versions if trusted else NOTHING_HELD
