"""Bring pending writes to the source, in batches, and never lose one.

A batch that the source cannot take now is tried again, for ever, with growing pauses. One that it
refuses for its data is halved until the poisoned record stands alone; that one goes to the dead
letters and the rest goes on. A record is acknowledged only after the source has it and the cache has
dropped what may be older. Knows no journal: where batches come from is its supply's business."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from acache._overlay import Standing
from acache._process import Process, log
from acache.errors import SourceRefused
from acache.events import BatchFlushed, FlushFailed, WriteBuried, WriteRefused
from acache.protocols import Saved, WritableSource, Write

FIRST_PAUSE: Final = 0.05  # seconds after a failure, doubled up to the last, each with jitter
LAST_PAUSE: Final = 5.0

Drop = Callable[[Sequence[Standing], Saved[Any, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How flushing is paced."""

    batch_size: int
    max_delay: float  # seconds that a write waits at most before its batch is sent
    max_rate: float | None  # records per second towards the source


class Supply(Protocol):
    """Where batches come from, and who has to know what became of them."""

    def __len__(self) -> int:
        """How many keys are pending."""
        ...

    def age(self) -> float:
        """For how many seconds the oldest pending write has waited; 0 if nothing is pending."""
        ...

    async def wait(self) -> None:
        """Return when there may be a batch to send."""
        ...

    async def take(self) -> Sequence[Standing]:
        """Return a batch, sorted by key; nobody else flushes these keys from now on."""
        ...

    def holding(self) -> AbstractAsyncContextManager[None]:
        """Keep others from the batch while the block runs; what is left of it then is pending again."""
        ...

    async def check(self) -> None:
        """Raise unless the batch may be sent at this moment."""
        ...

    async def acknowledge(self, batch: Sequence[Standing]) -> None:
        """Note that the source has *batch* and the cache nothing older."""
        ...

    async def bury(self, standing: Standing, error: str) -> None:
        """Make a dead letter of a write, and let nothing come back that it had replaced."""
        ...

    async def leave(self, standing: Standing) -> None:
        """Note that the cache has forgotten what was buried."""
        ...


class Flusher:
    """One task that flushes what its supply gives."""

    __slots__ = ("_drop", "_pace", "_process", "_source", "_supply", "_value", "_versioned", "retrying")

    def __init__(
        self,
        process: Process,
        supply: Supply,
        source: WritableSource[Any, Any],
        pace: Pace,
        *,
        value: Callable[[Write], Any],
        drop: Drop,
    ) -> None:
        """Flush to *source* the *value* of each write; *drop* makes the cache forget what may be older."""
        self._process = process
        self._supply = supply
        self._source = source
        self._pace = pace
        self._value = value
        self._drop = drop
        self._versioned = getattr(source, "version_column", None) is not None
        self.retrying = 0  # records whose last attempt failed

    async def run(self) -> None:
        """Flush for ever; cancelled, it stops between two steps, and what it held is pending again."""
        pause, failures = 0.0, 0
        while True:
            await self._supply.wait()
            started = self._process.clock.monotonic()
            batch: Sequence[Standing] = ()
            try:
                batch = await self._supply.take()
                if not batch:
                    continue
                async with self._supply.holding():
                    done = await self._flush(batch)
            except Exception as error:  # noqa: BLE001 - whatever a source raises, the writes are kept
                pause, failures = min(max(pause * 2, FIRST_PAUSE), LAST_PAUSE), failures + 1
                await self._recover_from(error, len(batch), pause, failures)
                continue
            pause, failures = 0.0, 0
            self.retrying = 0
            elapsed = self._process.clock.monotonic() - started
            depth, age = len(self._supply), self._supply.age()
            self._process.emit(BatchFlushed(records=done, seconds=elapsed, pending=depth, oldest_age=age))
            if self._pace.max_rate is not None:
                await asyncio.sleep(max(0.0, len(batch) / self._pace.max_rate - elapsed))

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
                pending=len(self._supply),
                oldest_age=self._supply.age(),
            )
        )
        await asyncio.sleep(pause)

    async def _flush(self, batch: Sequence[Standing]) -> int:
        """Flush *batch*, halving it where the source refuses its data; return how many it took."""
        if len({each.id for each in batch}) < len(batch):  # to a mapping 1 and True are one
            return sum([await self._flush(part) for part in _apart(batch)])
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
        # What was acknowledged, from its bytes: readers of a pending write may have changed its value.
        value = self._value
        puts = {each.id: value(each.write) for each in batch if each.write.payload is not None}
        removals = [each.id for each in batch if each.write.payload is None]
        rows: dict[Any, Any] = {}
        refused: list[Any] = []
        if puts:
            await self._supply.check()
            saved = await self._source.save(puts, **self._versions(batch, puts))
            rows |= saved.rows
            refused += saved.refused
        if removals:
            await self._supply.check()
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
        await self._supply.acknowledge(batch)

    async def _bury(self, standing: Standing, error: Exception) -> None:
        key = standing.write.key
        standing.receipt = None  # the cache may hold the refused value: nothing of it is spared
        # Before, for nobody knows of it if we are killed in between; after, for others may have found it
        # pending and cached it meanwhile.
        await self._drop([standing], Saved())
        await self._supply.bury(standing, f"{type(error).__name__}: {error}")
        await self._drop([standing], Saved())
        await self._supply.leave(standing)
        log.error("a write of %r was refused by the source and is a dead letter", key)
        self._process.emit(WriteBuried(key=key, error=type(error).__name__))


def _apart(batch: Sequence[Standing]) -> list[list[Standing]]:
    """Return *batch* in parts of which none has two ids that are equal."""
    parts: list[dict[Hashable, Standing]] = []
    for each in batch:
        part = next((part for part in parts if each.id not in part), None)
        if part is None:
            parts.append({each.id: each})
        else:
            part[each.id] = each
    return [list(part.values()) for part in parts]


def _split(batch: Sequence[Standing], refused: Collection[object]) -> list[Sequence[Standing]]:
    """Return *batch* in two parts: those that the source named and the others, or else its halves."""
    named = set(refused)
    bad = [each for each in batch if each.id in named]
    good = [each for each in batch if each.id not in named]
    if bad and good:
        return [good, bad]
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]]
