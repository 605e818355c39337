"""Bring pending writes to the source, in batches, and never lose one.

A batch that the source cannot take now is tried again, for ever, with growing pauses. One that it
refuses for its data is halved until the poisoned record stands alone; that one goes to the dead
letters and the rest goes on. A record leaves the overlay only after the source has it, the cache has
dropped what may be older, and the journal knows."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from acache._overlay import Overlay, Standing
from acache._process import Process, log
from acache.errors import SourceRefused
from acache.events import BatchFlushed, FlushFailed, WriteBuried, WriteRefused
from acache.protocols import Journal, Saved, WritableSource

FIRST_PAUSE: Final = 0.05  # seconds after a failure, doubled up to the last, each with jitter
LAST_PAUSE: Final = 5.0

Drop = Callable[[Sequence[Standing], Saved[Any, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How flushing is paced."""

    batch_size: int
    max_delay: float  # seconds that a write waits at most before its batch is sent
    max_rate: float | None  # records per second towards the source


class Flusher:
    """One task that flushes an overlay."""

    __slots__ = (
        "_drop",
        "_journal",
        "_news",
        "_overlay",
        "_pace",
        "_process",
        "_source",
        "_tell",
        "_versioned",
        "_waiters",
        "dead",
        "retrying",
    )

    def __init__(
        self,
        process: Process,
        overlay: Overlay,
        journal: Journal,
        source: WritableSource[Any, Any],
        pace: Pace,
        *,
        drop: Drop,
        tell: Callable[[], None],
    ) -> None:
        """Flush *overlay* to *source*; *drop* makes the cache forget what may be older.

        *tell* is called when writes have left the overlay."""
        self._process = process
        self._overlay = overlay
        self._journal = journal
        self._source = source
        self._pace = pace
        self._drop = drop
        self._tell = tell
        self._versioned = getattr(source, "version_column", None) is not None
        self._news = asyncio.Event()
        self._waiters: list[tuple[dict[str, int], asyncio.Future[None]]] = []
        self.retrying = 0  # records whose last attempt failed
        self.dead: set[tuple[str, int]] = set()  # key and sequence number of each dead letter

    def wake(self) -> None:
        """Look at the overlay again."""
        self._news.set()

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

    async def run(self) -> None:
        """Flush for ever; cancelled, it stops between two steps, and what it held is pending again."""
        pause, failures = 0.0, 0
        while True:
            await self._wait_for_work()
            batch = self._overlay.take(self._pace.batch_size)
            if not batch:
                continue
            started = self._process.clock.monotonic()
            try:
                done = await self._flush(batch)
            except Exception as error:  # noqa: BLE001 - whatever a source raises, the writes are kept
                pause, failures = min(max(pause * 2, FIRST_PAUSE), LAST_PAUSE), failures + 1
                await self._recover_from(error, len(batch), pause, failures)
                continue
            finally:
                for standing in batch:
                    self._overlay.give_back(standing)
            pause, failures = 0.0, 0
            self.retrying = 0
            now = self._process.clock.monotonic()
            elapsed = now - started
            depth, age = len(self._overlay), self._overlay.age(now)
            self._process.emit(BatchFlushed(records=done, seconds=elapsed, pending=depth, oldest_age=age))
            if self._pace.max_rate is not None:
                await asyncio.sleep(max(0.0, len(batch) / self._pace.max_rate - elapsed))

    async def _wait_for_work(self) -> None:
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

    async def _recover_from(self, error: Exception, records: int, pause: float, failures: int) -> None:
        self.retrying = records
        name = type(error).__name__
        log.warning("a flush of %d records failed (%s) and is tried again", records, name)
        pause *= 0.5 + self._process.draw() / 2
        self._process.emit(
            FlushFailed(
                records=records,
                error=name,
                pause=pause,
                attempt=failures,
                pending=len(self._overlay),
                oldest_age=self._overlay.age(self._process.clock.monotonic()),
            )
        )
        await asyncio.sleep(pause)

    async def _flush(self, batch: Sequence[Standing]) -> int:
        """Flush *batch*, halving it where the source refuses its data; return how many it took."""
        try:
            saved = await self._send(batch)
        except SourceRefused as error:
            if len(batch) == 1:
                await self._bury(batch[0], error)
                return 0
            return sum([await self._flush(part) for part in _split(batch, error.keys)])
        await self._end(batch, saved)
        return len(batch)

    async def _send(self, batch: Sequence[Standing]) -> Saved[Any, Any]:
        puts = {each.id: each.value for each in batch if each.write.payload is not None}
        removals = [each.id for each in batch if each.write.payload is None]
        rows: dict[Any, Any] = {}
        refused: list[Any] = []
        if puts:
            saved = await self._source.save(puts, **self._versions(batch, puts))
            rows |= saved.rows
            refused += saved.refused
        if removals:
            saved = await self._source.remove(removals, **self._versions(batch, removals))
            refused += saved.refused
        return Saved(rows=rows, refused=tuple(refused))

    def _versions(self, batch: Sequence[Standing], ids: Collection[Hashable]) -> dict[str, Mapping[Any, int]]:
        if not self._versioned:
            return {}
        wanted = set(ids)
        return {"versions": {each.id: each.write.sequence for each in batch if each.id in wanted}}

    async def _end(self, batch: Sequence[Standing], saved: Saved[Any, Any]) -> None:
        refused = set(saved.refused)
        for each in batch:
            if each.id in refused:
                self._process.emit(WriteRefused(key=each.write.key))
        await self._drop(batch, saved)
        await self._journal.acknowledge({each.write.key: each.write.sequence for each in batch})
        self._leave(batch)

    async def _bury(self, standing: Standing, error: Exception) -> None:
        write = standing.write
        # First: what it had replaced must not come back in its place, also if we are killed in between.
        await self._journal.acknowledge({write.key: write.sequence - 1})
        await self._journal.bury(write, f"{type(error).__name__}: {error}")
        self.dead.add((write.key, write.sequence))
        standing.receipt = None  # the cache may hold the refused value: nothing of it is spared
        await self._drop([standing], Saved())
        self._leave([standing])
        log.error("a write of %r was refused by the source and is a dead letter", write.key)
        self._process.emit(WriteBuried(key=write.key, error=type(error).__name__))

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


def _split(batch: Sequence[Standing], refused: Collection[object]) -> list[Sequence[Standing]]:
    """Return *batch* in two parts: those that the source named and the others, or else its halves."""
    named = set(refused)
    bad = [each for each in batch if each.id in named]
    good = [each for each in batch if each.id not in named]
    if bad and good:
        return [good, bad]
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]]
