"""The backlog of a journal that is this process's alone: an overlay of it, from which the flusher takes.

Reads see the overlay before the cache. The journal is only read at the start."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from acache._background import Background
from acache._flusher import Pace
from acache._overlay import Overlay, Standing
from acache._process import Process
from acache._records import Draft, Records
from acache.protocols import DeadLetter, Journal, Write


class OwnBacklog:
    """Acknowledged writes of one process that have not reached the source."""

    __slots__ = (
        "_batch",
        "_dead",
        "_journal",
        "_news",
        "_overlay",
        "_pace",
        "_process",
        "_records",
        "_sequence",
        "_tell",
        "_waiters",
    )

    def __init__(
        self, process: Process, journal: Journal, pace: Pace, records: Records, *, tell: Callable[[], None]
    ) -> None:
        """Start empty. *records* reads what *journal* holds; *tell* is called when writes have left."""
        self._process = process
        self._journal = journal
        self._pace = pace
        self._records = records
        self._tell = tell
        self._overlay = Overlay()
        self._batch: Sequence[Standing] = ()
        self._sequence = 0
        self._news = asyncio.Event()
        self._waiters: list[tuple[dict[str, int], asyncio.Future[None]]] = []
        self._dead: set[tuple[str, int]] = set()  # key and sequence number of each dead letter

    async def start(self, background: Background) -> None:
        """Recover what an earlier run left. Raises JournalFailed, CodecError, ConfigurationError."""
        del background
        self._sequence = await self._journal.last()
        newest = {write.key: write async for write in self._journal.recover()}
        for write in sorted(newest.values(), key=lambda write: write.sequence):
            self._overlay.add(self._records.recovered(write, self._process.clock))
        self._dead.update([(letter.key, letter.write.sequence) async for letter in self._journal.dead()])

    # --- what is pending ----------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many keys are pending."""
        return len(self._overlay)

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return len(self._dead)

    def age(self) -> float:
        """For how many seconds the oldest pending write has waited; 0 if nothing is pending."""
        return self._overlay.age(self._process.clock.monotonic())

    def new(self, keys: Iterable[str]) -> int:
        """How many of *keys* would be pending anew."""
        return sum([key not in self._overlay for key in keys])

    def find(self, key: str) -> Standing | None:
        """Return the newest pending write of *key*: what a read gets, whatever the cache holds."""
        return self._overlay.get(key)

    async def look(self, keys: Sequence[str]) -> Mapping[str, Standing]:
        """Return what a load gets before the source is asked: nothing, `find` came first."""
        del keys
        return {}

    # --- writing ------------------------------------------------------------------------------------

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Standing]:
        """Return *drafts*, each with the next number, once all are in the journal and stand here.

        Raises JournalFailed; appended again, they keep their numbers."""
        at = self._process.clock.time()
        writes = [draft.write or self._numbered(draft, at) for draft in drafts]
        await self._journal.append(writes)
        now = self._process.clock.monotonic()
        standings = [
            Standing(write=write, id=draft.id, value=draft.value, since=now)
            for draft, write in zip(drafts, writes, strict=True)
        ]
        for each in standings:
            self._overlay.add(each)
        return standings

    def _numbered(self, draft: Draft, at: float) -> Write:
        """Give *draft* the next number; they never repeat, also over a journal that was emptied."""
        self._sequence = max(self._sequence + 1, int(at * 1e6))
        draft.write = draft.numbered(self._sequence, at)
        return draft.write

    def note(self, standings: Sequence[Standing], receipts: Mapping[str, object]) -> None:
        """Remember what the cache stored for *standings*."""
        for each in standings:
            each.receipt = receipts.get(each.write.key)

    def wake(self) -> None:
        """Look at what there is to flush."""
        self._news.set()

    # --- flushing -----------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Return when a batch is full or the oldest write is due, at once while somebody waits."""
        while True:
            self._news.clear()
            oldest = self._overlay.oldest()
            if oldest is None:
                await self._news.wait()
                continue
            due = oldest + self._pace.max_delay - self._process.clock.monotonic()
            if self._waiters or due <= 0 or len(self._overlay) >= self._pace.batch_size:
                return
            try:
                async with asyncio.timeout(due):
                    await self._news.wait()
            except TimeoutError:
                return

    async def take(self) -> Sequence[Standing]:
        """Return the oldest of what is pending."""
        self._batch = self._overlay.take(self._pace.batch_size)
        return self._batch

    @asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        """Let what has not left during the block be taken again."""
        try:
            yield
        finally:
            for standing in self._batch:
                self._overlay.give_back(standing)

    async def check(self) -> None:
        """Return: nobody else flushes this journal."""

    async def acknowledge(self, batch: Sequence[Standing]) -> None:
        """Acknowledge *batch* in the journal and take it off the overlay."""
        await self._journal.acknowledge({each.write.key: each.write.sequence for each in batch})
        self._leave(batch)

    async def bury(self, standing: Standing, error: str) -> None:
        """Make a dead letter of a write."""
        write = standing.write
        # First: what it had replaced must not come back in its place, also if we are killed in between.
        await self._journal.acknowledge({write.key: write.sequence - 1})
        await self._journal.bury(write, error)
        self._dead.add((write.key, write.sequence))

    async def leave(self, standing: Standing) -> None:
        """Take a buried write off the overlay."""
        self._leave([standing])

    async def flushed(self) -> None:
        """Wait until all that is pending now has reached the source or the dead letters."""
        wanted = self._overlay.sequences()
        if not wanted:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (wanted, waiter)
        self._waiters.append(place)
        self._news.set()
        try:
            await waiter
        finally:
            self._waiters = [other for other in self._waiters if other is not place]

    def _leave(self, batch: Sequence[Standing]) -> None:
        """Take *batch* off the overlay and wake those who wait for that."""
        now = self._process.clock.monotonic()
        for each in batch:
            self._overlay.leave(each, now)
        for wanted, waiter in self._waiters:
            for each in batch:
                key = each.write.key
                if key in wanted and not self._is_pending(key, wanted[key]):
                    del wanted[key]
            if not wanted and not waiter.done():
                waiter.set_result(None)
        self._waiters = [place for place in self._waiters if not place[1].done()]
        self._tell()

    def _is_pending(self, key: str, number: int) -> bool:
        standing = self._overlay.get(key)
        return standing is not None and standing.flushed < number

    # --- dead letters -------------------------------------------------------------------------------

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again. Raises JournalFailed, CodecError."""
        standing = self._records.recovered(letter.write, self._process.clock)
        await self._journal.revive(letter)
        self._dead.discard((letter.key, letter.write.sequence))
        self._overlay.add(standing)
        self._news.set()

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        await self._journal.discard(letter)
        self._dead.discard((letter.key, letter.write.sequence))
