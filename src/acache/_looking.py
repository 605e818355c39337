"""Reads of one tick of the loop, as one request. Knows no store and no entry: others ask and judge.

The first who asks in a tick sends for all, in its own task: a lone reader costs no other. If it is
cancelled a task of the cache takes its place, so that nobody else notices. Who wants one key judged
waits for the judgement itself, which is passed right when the answer comes: one future for each
reader, and nothing else. What only the remote store knows is asked for; versions of tags that are
held near are not, unless somebody insists."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, final

from acache._keys import finish
from acache._near import NOTHING_HELD
from acache._policy import FRESH
from acache._process import Call, Found, Process
from acache.errors import StoreUnavailable

LARGEST: Final = 500  # keys of one request

Versions = dict[str, bytes | None]
Peek = Callable[[Sequence[str], Sequence[str]], Awaitable[tuple[list[bytes | None], Versions]]]
Judge = Callable[["Looked", str, Call], Found]


@final
class Looked:
    """What the readers of one tick ask for in one request, and then its answer."""

    __slots__ = (
        "away",
        "crowded",
        "found",
        "held",
        "mark",
        "shared",
        "since",
        "values",
        "versions",
        "waiting",
    )

    def __init__(self, space: str, *, since: int, mark: int, held: Mapping[str, bytes]) -> None:
        """Ask, at these marks of the drops and of the near ledger, for the version of *space*.

        Every entry has to match it. *held*: versions of tags that are near and trusted now."""
        self.since = since
        self.mark = mark
        self.held = held
        self.found: dict[str, bytes | None] = {}
        self.versions: Versions = {space: None}
        self.away = True  # no answer: the store is away, or the cache was closed
        self.crowded = False  # a key was asked for twice: what is made of it may be shared
        self.values: dict[str, tuple[object, Any]] = {}  # decoded, and into which type, for all
        self.shared: dict[str, tuple[Call, Found]] = {}  # judgements that are good for all alike
        self.waiting: list[tuple[asyncio.Future[Any], str, Call | None]] = []

    def ask_unless_held(self, tags: Iterable[str]) -> None:
        """Ask for the versions of those *tags*, finished or not, that are not held."""
        held, versions = self.held, self.versions
        for tag in tags:
            if tag not in held:
                versions[finish(tag)] = None

    def known(self, key: str, call: Call) -> Found | None:
        """Return what was found of *key* for another who asked as *call* does."""
        other, found = self.shared.get(key, (call, None))
        return found if other.policy is call.policy and other.type is call.type else None


@final
class Looks:
    """The batch that fills now."""

    __slots__ = ("_filling", "_judge", "_peek", "_process", "_space")

    def __init__(self, process: Process, peek: Peek, judge: Judge, *, space: str) -> None:
        """Read with *peek*, and the version of *space* each time; *judge* says what is found for a call."""
        self._process = process
        self._peek = peek
        self._space = space
        self._judge = judge
        self._filling: Looked | None = None  # can be joined until it is sent
        process.moved.append(self._moved)

    def _moved(self) -> None:
        self._filling = None

    def judged(self, key: str, call: Call, likely: Iterable[str]) -> Awaitable[Found]:
        """Return what *key*, read with others, will be worth to *call*; a hit is counted.

        *likely*: tags that it may well have, finished or not."""
        looked = self._filling
        leads = looked is None or len(looked.found) >= LARGEST
        if looked is None or leads:
            looked = self._begin()
        if key in looked.found:
            looked.crowded = True
        else:
            looked.found[key] = None
        if likely:
            looked.ask_unless_held(likely)
        if leads:
            return self._lead_and_judge(looked, key, call)
        waiter: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        looked.waiting.append((waiter, key, call))
        return waiter

    async def _lead_and_judge(self, looked: Looked, key: str, call: Call) -> Found:
        await self._lead(looked)
        found = self._judge(looked, key, call)
        call.tally.hits += found.verdict is FRESH
        return found

    async def read(self, keys: Iterable[str], tags: Iterable[str], *, likely: Iterable[str] = ()) -> Looked:
        """Return an answer with *keys* and *tags* in it, and those *likely* tags that nobody holds."""
        looked = self._filling
        leads = looked is None or len(looked.found) >= LARGEST
        if looked is None or leads:
            looked = self._begin()
        looked.crowded = looked.crowded or not leads
        looked.found.update(dict.fromkeys(keys))
        looked.versions.update(dict.fromkeys(tags))
        looked.ask_unless_held(likely)
        if leads:
            await self._lead(looked)
        else:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            looked.waiting.append((waiter, "", None))
            await waiter
        return looked

    def _begin(self) -> Looked:
        process = self._process
        near = process.near
        held = near.versions_at(process.clock.monotonic())
        self._filling = Looked(self._space, since=process.drops.mark, mark=near.ledger.mark, held=held)
        return self._filling

    async def _lead(self, looked: Looked) -> None:
        try:
            await asyncio.sleep(0)
            await self._send(looked)
        except BaseException:
            self._depart(looked)  # whoever comes now leads another one
            if any(not waiter.done() for waiter, _, _ in looked.waiting):
                self._process.background.start(self._take_over(looked))
            raise
        self._wake(looked)

    async def _take_over(self, looked: Looked) -> None:
        try:
            await self._send(looked)
        finally:
            self._wake(looked)

    def _depart(self, looked: Looked) -> None:
        if self._filling is looked:
            self._filling = None

    async def _send(self, looked: Looked) -> None:
        self._depart(looked)
        process = self._process
        if process.closed:
            return
        keys = list(looked.found)
        try:
            found, looked.versions = await self._peek(keys, list(looked.versions))
        except StoreUnavailable:
            return
        looked.found = dict(zip(keys, found, strict=True))
        looked.away = False
        near = process.near
        trusted = near.hold_versions(looked.versions, process.clock.monotonic(), since=looked.mark)
        looked.held = near.versions if trusted else NOTHING_HELD

    def _wake(self, looked: Looked) -> None:
        """Give each who waits the answer, or what it is worth to it."""
        judge = self._judge
        for waiter, key, call in looked.waiting:
            if waiter.done():
                continue
            if call is None:
                waiter.set_result(None)
                continue
            try:
                found = judge(looked, key, call)
            except Exception as error:  # noqa: BLE001 - one's trouble is not the others'
                waiter.set_exception(error)
                continue
            call.tally.hits += found.verdict is FRESH
            waiter.set_result(found)
        looked.waiting = []
