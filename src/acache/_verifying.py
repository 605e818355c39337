"""Check in the background whether hits are still what their loads return. Serves and stores nothing.

A hit that differs is no finding yet: its writer may have committed to the source and not invalidated
here yet. So what stands is looked at again after a while and loaded once more; only what was neither
dropped nor replaced meanwhile, and still differs, is inconsistent. A load may be slower than its writer
either way: what was heard of the key and its tags since the hit makes the check void."""

import asyncio
from typing import Any, Final

from acache._authority import Finder
from acache._entry import Entry
from acache._loader import Loader
from acache._policy import Loaded
from acache._process import Call, Process
from acache.codecs import same
from acache.events import Inconsistent

MAX_CHECKS: Final = 16  # at once; hits beyond are not checked
PATIENCE: Final = 1.0  # seconds, at least, between a writer's commit and its invalidation
SAME: Final = 1e-3  # seconds: two loads of a key do not begin so close to each other


class Verifier:
    """Checks a share of the hits of one process."""

    __slots__ = ("_checking", "_finder", "_loader", "_patience", "_process", "_share")

    def __init__(
        self, process: Process, finder: Finder | None, *, share: float, patience: float = PATIENCE
    ) -> None:
        """Check *share* of the hits; *patience* seconds later what differs must still stand."""
        self._process = process
        self._finder = finder
        self._loader = Loader(process)
        self._share = share
        self._patience = patience
        self._checking: set[str] = set()

    def elects(self, weight: int = 1) -> bool:
        """Draw whether a hit that stands for *weight* hits is to be checked."""
        return self._process.draw() <= self._share * weight

    def check(self, key: str, entry: Entry, call: Call) -> None:
        """Check what was just served of *key*, unless its loader may need the caller or is at work."""
        process = self._process
        if not process.here():  # a hit that another thread's loop was served: nothing can be started here
            return
        busy = key in self._checking or len(self._checking) >= MAX_CHECKS
        if busy or call.policy.refresh != "background" or process.flights.get(key) is not None:
            return
        self._checking.add(key)
        age = process.clock.monotonic() - entry.born
        work = self._check(key, entry, call, age, process.drops.mark)
        task = process.load_context().run(process.background.start, work)
        task.add_done_callback(lambda _: self._checking.discard(key))

    async def _check(self, key: str, entry: Entry, call: Call, age: float, mark: int) -> None:
        consistent = await self._agrees(key, entry, call)
        if consistent is False:
            await asyncio.sleep(self._patience)
            if not await self._stands(key, entry, call, mark):
                return
            consistent = await self._agrees(key, entry, call)
        if consistent is None or not await self._stands(key, entry, call, mark):
            return
        call.tally.verified(age, consistent=consistent)
        if not consistent:
            self._process.emit(Inconsistent(function=call.tally.name, key=key, age=age))

    async def _agrees(self, key: str, entry: Entry, call: Call) -> bool | None:
        """Say whether a load returns what *entry* holds; None if it brings nothing to compare."""
        outcome = await self._loader.afresh(key, call)
        if not isinstance(outcome, Loaded) or outcome.skip or outcome.not_modified:
            return None
        return same(outcome.value, entry.value)

    async def _stands(self, key: str, entry: Entry, call: Call, mark: int) -> bool:
        """Say whether a read would still get *entry*, of which nothing was heard since *mark*."""
        process = self._process
        now = process.clock.monotonic()
        if now >= entry.fresh_until or not process.drops.quiet(key, entry.tags, since=mark):
            return False
        near = process.near.get(key, now)
        standing: Any = near
        if near is None and self._finder is not None:
            standing = (await self._finder.find(key, call)).entry
        return standing is not None and abs(standing.born - entry.born) < SAME
