"""Take writes in: fence, number, journal, overlay, cache, acknowledged in this order.

Whatever is handed in during one turn of the loop shares a fence and an append: a hundred writers cost
little more than one. Nobody's cancellation disturbs the others, and a write that the journal refuses
fails alone. Knows neither ids nor the source; writes of one key must come one after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from acache._background import Background
from acache._cache import Cache
from acache._overlay import Overlay, Standing
from acache._policy import Policy, unique
from acache._records import Draft
from acache.clock import Clock
from acache.errors import JournalFailed
from acache.protocols import Journal, Write

LARGEST: Final = 500  # writes that share a fence, so that no turn of the loop gets long


@dataclass(slots=True, eq=False)
class _Call:
    """The writes of one call, acknowledged together."""

    drafts: Sequence[Draft]
    done: asyncio.Future[None]
    ended: Callable[[], None]


Refusals = dict[_Call, JournalFailed]


class Intake:
    """Where the writes of one pattern come in; of one loop."""

    __slots__ = ("_background", "_cache", "_calls", "_clock", "_journal", "_overlay", "_policy", "sequence")

    def __init__(
        self,
        cache: Cache,
        journal: Journal,
        overlay: Overlay,
        policy: Policy,
        clock: Clock,
        background: Background,
    ) -> None:
        """Take into *journal* and *overlay*, and commit to *cache* under *policy*."""
        self._cache = cache
        self._journal = journal
        self._overlay = overlay
        self._policy = policy
        self._clock = clock
        self._background = background
        self._calls: list[_Call] = []
        self.sequence = 0  # the highest that was given

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

    async def _written(self, calls: Sequence[_Call]) -> Refusals:
        """Write all of *calls* under one fence; return those that the journal refused."""
        drafts = list(chain.from_iterable(call.drafts for call in calls))
        keys = [draft.key for draft in drafts]
        tags = unique(chain.from_iterable(draft.tags for draft in drafts))
        standings: list[Standing] = []
        async with self._cache.writing(*keys, tags=tags) as writer:
            writes = {draft.key: self._numbered(draft) for draft in drafts}
            failures = await self._append(calls, writes)
            now = self._clock.monotonic()
            for call in calls:
                if call in failures:
                    continue
                for draft in call.drafts:
                    standing = Standing(write=writes[draft.key], id=draft.id, value=draft.value, since=now)
                    self._overlay.add(standing)
                    standings.append(standing)
                    if draft.value is not None:
                        writer.commit(draft.key, draft.value, policy=self._policy, tags=draft.tags)
        for standing in standings:
            standing.receipt = writer.receipts.get(standing.write.key)
        return failures

    def _numbered(self, draft: Draft) -> Write:
        """Give *draft* the next number; they never repeat, also over a journal that was emptied."""
        at = self._clock.time()
        self.sequence = max(self.sequence + 1, int(at * 1e6))
        return draft.numbered(self.sequence, at)

    async def _append(self, calls: Sequence[_Call], writes: Mapping[str, Write]) -> Refusals:
        """Append everything at once; if that is refused, each call alone. Return the refusals."""
        try:
            await self._journal.append(list(writes.values()))
        except JournalFailed as error:
            if len(calls) == 1:
                return {calls[0]: error}
        else:
            return {}
        return dict(
            [found for found in await asyncio.gather(*(self._alone(call, writes) for call in calls)) if found]
        )

    async def _alone(self, call: _Call, writes: Mapping[str, Write]) -> tuple[_Call, JournalFailed] | None:
        try:
            await self._journal.append([writes[draft.key] for draft in call.drafts])
        except JournalFailed as error:
            return call, error
        return None


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
