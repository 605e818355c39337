"""Take writes in: fence, backlog (number, journal, overlay), cache, acknowledged in this order.

Whatever is handed in during one turn of the loop shares a fence and an append: a hundred writers cost
little more than one. Nobody's cancellation disturbs the others, and a write that the journal refuses
fails alone. Knows neither ids nor the source; writes of one key must come one after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, Protocol

from acache._background import Background
from acache._cache import Cache
from acache._overlay import Standing
from acache._policy import Policy, unique
from acache._records import Draft
from acache.errors import JournalFailed

LARGEST: Final = 500  # writes that share a fence, so that no turn of the loop gets long


@dataclass(slots=True, eq=False)
class _Call:
    """The writes of one call, acknowledged together."""

    drafts: Sequence[Draft]
    done: asyncio.Future[None]
    ended: Callable[[], None]


Outcome = Sequence[Standing] | JournalFailed


class Appending(Protocol):
    """A backlog, as much of it as takes writes in."""

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Standing]:
        """Return *drafts* as they stand, once they are in the journal and reads see them.

        Raises JournalFailed; the same drafts may then be appended again."""
        ...

    def note(self, standings: Sequence[Standing], receipts: Mapping[str, object]) -> None:
        """Remember what the cache stored for *standings*."""
        ...


class Intake:
    """Where the writes of one pattern come in; of one loop."""

    __slots__ = ("_background", "_backlog", "_cache", "_calls", "_policy")

    def __init__(self, cache: Cache, backlog: Appending, policy: Policy, background: Background) -> None:
        """Take into *backlog*, and commit to *cache* under *policy*."""
        self._cache = cache
        self._backlog = backlog
        self._policy = policy
        self._background = background
        self._calls: list[_Call] = []

    async def take(self, drafts: Sequence[Draft], ended: Callable[[], None]) -> None:
        """Return once *drafts* are in the journal and readers see them.

        *ended* is called when that is decided, also if the caller was cancelled: until then the writes
        may be taken or not, all of them or none. Raises what the journal or the fence raises."""
        call = _Call(drafts, self._background.loop.create_future(), ended)
        self._calls.append(call)
        if len(self._calls) == 1:
            self._background.begin(self._take_turn())
        await call.done

    async def _take_turn(self) -> None:
        """Take what comes in during this turn, under as many fences as needed."""
        await asyncio.sleep(0)
        calls, self._calls = self._calls, []
        group: list[_Call] = []
        size = 0
        for call in calls:
            if group and size + len(call.drafts) > LARGEST:
                self._background.begin(self._take(group))
                group, size = [], 0
            group.append(call)
            size += len(call.drafts)
        await self._take(group)

    async def _take(self, calls: Sequence[_Call]) -> None:
        try:
            failures = await self._written(calls)
        except BaseException as error:
            for call in calls:
                _end(call, error)
            raise
        for call in calls:
            _end(call, failures.get(call))

    async def _written(self, calls: Sequence[_Call]) -> dict[_Call, JournalFailed]:
        """Write all of *calls* under one fence; return those that the journal refused."""
        keys = [draft.key for call in calls for draft in call.drafts]
        tags = unique(chain.from_iterable(draft.tags for call in calls for draft in call.drafts))
        async with self._cache.writing(*keys, tags=tags) as writer:
            outcomes = await self._append(calls)
            standings = [each for found in outcomes if not isinstance(found, JournalFailed) for each in found]
            for each in standings:
                if each.value is not None:
                    write = each.write
                    writer.commit(write.key, each.value, policy=self._policy, tags=write.tags)
        self._backlog.note(standings, writer.receipts)
        return {
            call: found
            for call, found in zip(calls, outcomes, strict=True)
            if isinstance(found, JournalFailed)
        }

    async def _append(self, calls: Sequence[_Call]) -> Sequence[Outcome]:
        """Append everything at once; if that is refused, each call alone. Return what became of each."""
        try:
            standings = iter(await self._backlog.append([draft for call in calls for draft in call.drafts]))
        except JournalFailed as error:
            return [error] if len(calls) == 1 else await asyncio.gather(*map(self._alone, calls))
        return [list(islice(standings, len(call.drafts))) for call in calls]

    async def _alone(self, call: _Call) -> Outcome:
        try:
            return await self._backlog.append(call.drafts)
        except JournalFailed as error:
            return error


def _end(call: _Call, error: BaseException | None) -> None:
    call.ended()
    if call.done.done():
        return
    if error is None:
        call.done.set_result(None)
    elif isinstance(error, asyncio.CancelledError):
        call.done.cancel()
    else:
        call.done.set_exception(error)
