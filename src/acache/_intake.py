"""Take writes in: fence, backlog (number, journal, overlay), cache, acknowledged in this order.

Whatever is handed in during one turn of the loop shares a fence and an append: a hundred writers cost
little more than one. Nobody's cancellation disturbs the others, and a write that the journal refuses
fails alone. Knows neither ids nor the source; writes of one key must come one after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import Final, Protocol

from msgspec import Struct

from acache._background import Background
from acache._cache import Cache
from acache._overlay import Standing
from acache._policy import Policy, unique
from acache._records import Draft
from acache._writing import Commit
from acache.errors import JournalFailed

LARGEST: Final = 500  # writes that share a fence, so that no turn of the loop gets long


class Call(Struct, frozen=True, eq=False):
    """The writes of one call, acknowledged together."""

    drafts: Sequence[Draft]
    new: int  # keys that may not have been pending before
    done: asyncio.Future[None]


Outcome = Sequence[Standing] | JournalFailed
Ended = Callable[[Sequence[Call]], None]
"""Told of calls once it is decided whether their writes were taken."""


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

    __slots__ = ("_background", "_backlog", "_cache", "_calls", "_ended", "_policy")

    def __init__(
        self, cache: Cache, backlog: Appending, policy: Policy, background: Background, *, ended: Ended
    ) -> None:
        """Take into *backlog*, and commit to *cache* under *policy*.

        *ended* is told of every call, also if its caller was cancelled."""
        self._cache = cache
        self._backlog = backlog
        self._policy = policy
        self._background = background
        self._ended = ended
        self._calls: list[Call] = []

    def take(self, drafts: Sequence[Draft], new: int) -> asyncio.Future[None]:
        """Return what is done once *drafts* are in the journal and readers see them.

        Cancel it: the writes may be taken or not, all of them or none. Its error is what the journal or
        the fence raises."""
        call = Call(drafts, new, self._background.loop.create_future())
        self._calls.append(call)
        if len(self._calls) == 1:
            self._background.begin(self._take_turn())
        return call.done

    async def _take_turn(self) -> None:
        """Take what comes in during this turn, under as many fences as needed."""
        await asyncio.sleep(0)
        calls, self._calls = self._calls, []
        group: list[Call] = []
        size = 0
        for call in calls:
            if group and size + len(call.drafts) > LARGEST:
                self._background.begin(self._take(group))
                group, size = [], 0
            group.append(call)
            size += len(call.drafts)
        await self._take(group)

    async def _take(self, calls: Sequence[Call]) -> None:
        failures: Mapping[Call, BaseException] = {}
        try:
            failures = await self._written(calls)
        except BaseException as error:
            failures = dict.fromkeys(calls, error)
            raise
        finally:
            self._ended(calls)
            for call in calls:
                if not call.done.done():
                    _end(call.done, failures.get(call))

    async def _written(self, calls: Sequence[Call]) -> dict[Call, JournalFailed]:
        """Write all of *calls* under one fence; return those that the journal refused."""
        keys = [draft.key for call in calls for draft in call.drafts]
        tags = unique(chain.from_iterable(draft.tags for call in calls for draft in call.drafts))
        policy = self._policy
        # A pattern is a friend of the cache; nobody else has names that need no check.
        async with self._cache._fenced(keys, tags) as fence:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            outcomes = await self._append(calls)
            standings = [each for found in outcomes if not isinstance(found, JournalFailed) for each in found]
            fence.note_all(
                {
                    each.write.key: Commit(value=each.value, policy=policy, tags=each.write.tags)
                    for each in standings
                    if each.value is not None
                }
            )
        self._backlog.note(standings, fence.receipts)
        return {
            call: found
            for call, found in zip(calls, outcomes, strict=True)
            if isinstance(found, JournalFailed)
        }

    async def _append(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        """Append everything at once; if that is refused, each call alone. Return what became of each."""
        try:
            standings = iter(await self._backlog.append([draft for call in calls for draft in call.drafts]))
        except JournalFailed as error:
            return [error] if len(calls) == 1 else await asyncio.gather(*map(self._alone, calls))
        return [list(islice(standings, len(call.drafts))) for call in calls]

    async def _alone(self, call: Call) -> Outcome:
        try:
            return await self._backlog.append(call.drafts)
        except JournalFailed as error:
            return error


def _end(done: asyncio.Future[None], error: BaseException | None) -> None:
    if error is None:
        done.set_result(None)
    elif isinstance(error, asyncio.CancelledError):
        done.cancel()
    else:
        done.set_exception(error)
