"""The backlog of a journal that several processes share: no copy of it, claims on what is flushed next.

Loads look into the journal before the source, so that a read sees what any process has written. How much
is pending is measured now and then; all that is known of it in between is what this process appended."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from acache._background import Background
from acache._flusher import Pace
from acache._journal_claim import JournalClaim
from acache._overlay import Standing
from acache._process import Process, log
from acache._records import Draft, Records
from acache.errors import CodecError, ConfigurationError, JournalFailed
from acache.protocols import DeadLetter, Depth, SharedJournal, Write

POLL: Final = 1.0  # seconds between looks for what others left
QUICK: Final = 0.05  # seconds between looks while somebody waits for all to be flushed
RECEIPTS: Final = 10_000  # own writes of which is remembered what the cache stored


class SharedBacklog:
    """Acknowledged writes of a fleet that have not reached the source."""

    __slots__ = (
        "_appended",
        "_background",
        "_claim",
        "_claim_ttl",
        "_depth",
        "_first",
        "_journal",
        "_looked",
        "_measured",
        "_more",
        "_news",
        "_pace",
        "_process",
        "_receipts",
        "_records",
        "_tell",
        "_waiters",
    )

    def __init__(
        self,
        process: Process,
        journal: SharedJournal,
        pace: Pace,
        records: Records,
        *,
        tell: Callable[[], None],
        claim_ttl: float,
    ) -> None:
        """Know nothing yet. *records* reads what *journal* holds; *tell* is called after each measurement."""
        self._process = process
        self._journal = journal
        self._pace = pace
        self._records = records
        self._tell = tell
        self._claim_ttl = claim_ttl
        self._claim: JournalClaim
        self._background: Background
        self._news = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []  # up to which number all shall be flushed
        self._depth = Depth(pending=0, oldest=None, oldest_age=0.0, dead=0)
        self._measured = self._looked = process.clock.monotonic()
        self._appended: set[str] = set()  # keys of this process since the last measurement
        self._first: float | None = None  # when this process appended first since the last look
        self._more = True  # the last look brought a full batch: there may be another
        self._receipts: dict[str, tuple[int, object]] = {}

    async def start(self, background: Background) -> None:
        """See how much there is. Raises JournalFailed."""
        self._background = background
        await self._measure()

    # --- what is pending ----------------------------------------------------------------------------

    def __len__(self) -> int:
        """About how many keys are pending; rather too many than too few."""
        return self._depth.pending + len(self._appended)

    @property
    def dead(self) -> int:
        """How many dead letters there were at the last measurement."""
        return self._depth.dead

    def age(self) -> float:
        """For how many seconds the oldest pending write has waited; 0 if nothing is pending."""
        if not self._depth.pending:
            return 0.0
        return self._depth.oldest_age + self._process.clock.monotonic() - self._measured

    def new(self, keys: Iterable[str]) -> int:
        """How many of *keys* may be pending anew."""
        return sum([key not in self._appended for key in keys])

    def find(self, key: str) -> Standing | None:
        """Return None: what the cache holds is at least as new as the journal."""
        del key
        return None

    async def look(self, keys: Sequence[str]) -> Mapping[str, Standing]:
        """Return the newest pending write of each of *keys*: what a load gets before the source is asked.

        Only a load may look here, and only after it was told whether it may store what it brings: what
        is not pending at that moment is in the source, or was written after the fence of its writer had
        ended the lease. Raises JournalFailed, CodecError."""
        found = await self._journal.pending(keys)
        return {key: self._standing(write) for key, write in found.items()}

    def _standing(self, write: Write) -> Standing:
        return self._records.recovered(write, self._process.clock)

    async def _measure(self) -> None:
        """Ask how much there is, and wake those who wait for that."""
        before, self._appended = self._appended, set()
        try:
            self._depth = await self._journal.depth()
        except BaseException:
            self._appended |= before
            raise
        self._measured = self._process.clock.monotonic()
        oldest = self._depth.oldest
        for mark, waiter in self._waiters:
            if not waiter.done() and (oldest is None or oldest > mark):
                waiter.set_result(None)
        self._tell()

    async def _measure_if_possible(self) -> None:
        try:
            await self._measure()
        except JournalFailed:
            return  # the next look will tell

    # --- writing ------------------------------------------------------------------------------------

    async def append(self, drafts: Sequence[Draft]) -> Sequence[Standing]:
        """Return *drafts* once all are in the journal, each with the number that the journal gave it.

        Raises JournalFailed; appended again, they have other numbers, and come after themselves."""
        clock = self._process.clock
        at, now = clock.time(), clock.monotonic()
        writes = await self._journal.append_next([draft.numbered(0, at) for draft in drafts])
        self._appended.update(write.key for write in writes)
        if self._first is None:
            self._first = now
        return [
            Standing(write=write, id=draft.id, value=draft.value, since=now)
            for draft, write in zip(drafts, writes, strict=True)
        ]

    def note(self, standings: Sequence[Standing], receipts: Mapping[str, object]) -> None:
        """Remember what the cache stored for *standings*."""
        for each in standings:
            key = each.write.key
            self._receipts.pop(key, None)
            if key in receipts:
                self._receipts[key] = (each.write.sequence, receipts[key])
        while len(self._receipts) > RECEIPTS:
            del self._receipts[next(iter(self._receipts))]

    def wake(self) -> None:
        """Look at what there is to flush."""
        self._news.set()

    # --- flushing -----------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Return when a batch is full or a write of this process is due, or others' may be left."""
        while (left := self._until_next_look()) > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                return

    def _until_next_look(self) -> float:
        now = self._process.clock.monotonic()
        if self._more or len(self._appended) >= self._pace.batch_size:
            return 0.0
        due = self._looked + (QUICK if self._waiters else POLL)
        if self._first is not None:
            due = min(due, self._first + self._pace.max_delay)
        return due - now

    async def take(self) -> Sequence[Standing]:
        """Claim the oldest of what nobody else has claimed.

        A write that this process cannot read is left to those who can: its claim ends by itself."""
        self._first, self._looked, self._more = None, self._process.clock.monotonic(), True
        token, limit = self._process.ids(), self._pace.batch_size
        claim = self._claim = JournalClaim(
            self._process, self._background, self._journal, token, ttl=self._claim_ttl
        )
        writes = await self._journal.claim(limit, token, ttl=self._claim_ttl)
        self._more = len(writes) == limit
        batch: list[Standing] = []
        for write in sorted(writes, key=lambda write: write.key):
            try:
                standing = self._standing(write)
            except (CodecError, ConfigurationError) as error:
                log.error("a pending write of %r is left to other processes: %s", write.key, error)
                continue
            sequence, receipt = self._receipts.pop(write.key, (0, None))
            standing.receipt = receipt if sequence == write.sequence else None
            batch.append(standing)
        claim.on(each.write.key for each in batch)
        if not batch:
            await self._measure_if_possible()
        return batch

    @asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        """Renew the claim during the block; afterwards others may claim what was not acknowledged."""
        try:
            async with self._claim.held():
                yield
        except BaseException:
            self._more = True
            raise
        await self._measure_if_possible()

    async def check(self) -> None:
        """Raise ClaimLost if others may be flushing the batch by now."""
        await self._claim.check()

    async def acknowledge(self, batch: Sequence[Standing]) -> None:
        """Acknowledge *batch* and end the claim on it. Raises ClaimLost, JournalFailed."""
        await self._claim.settle({each.write.key: each.write.sequence for each in batch})

    async def bury(self, standing: Standing, error: str) -> None:
        """Make a dead letter of a write; its key stays claimed."""
        write = standing.write
        # First: what it had replaced must not come back in its place, also if we are killed in between.
        await self._journal.acknowledge({write.key: write.sequence - 1})
        await self._journal.bury(write, error)

    async def leave(self, standing: Standing) -> None:
        """End the claim on what was buried."""
        await self._claim.settle({standing.write.key: standing.write.sequence - 1})

    async def flushed(self) -> None:
        """Wait until all that any process has appended by now is in the source or the dead letters.

        Raises JournalFailed."""
        mark = await self._journal.last()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (mark, waiter)
        self._waiters.append(place)
        try:
            await self._measure()
            self._news.set()
            await waiter
        finally:
            self._waiters = [other for other in self._waiters if other is not place]

    # --- dead letters -------------------------------------------------------------------------------

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again. Raises JournalFailed, CodecError."""
        self._standing(letter.write)
        await self._journal.revive(letter)
        self._more = True
        await self._measure()
        self._news.set()

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        await self._journal.discard(letter)
        await self._measure()
