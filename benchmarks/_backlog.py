"""A journal with a million records, and a backlog that is full: what coming back and standing still cost."""

import asyncio
import gc
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter, time

from acache import Cache, WriteBehind
from acache.errors import SourceUnavailable
from acache.protocols import Saved, Write
from acache_sqlite import SQLiteJournal
from benchmarks._table import Row
from benchmarks.eviction import resident

SUITE = "journal"
MILLION = 1_000_000
GROUP = 20_000
BACKLOG = 100_000
PAYLOAD = bytes(range(200))
Users = dict[str, object]


async def run() -> list[Row]:
    """Return all rows."""
    with tempfile.TemporaryDirectory() as folder:
        rows = await recovered(Path(folder, "million"))
        return rows + await full(Path(folder, "full"))


async def recovered(folder: Path) -> list[Row]:
    """Read back a million pending writes, as a process does that starts after another was killed."""
    first = int(time() * 1e6)
    journal = SQLiteJournal(folder)
    for begin in range(0, MILLION, GROUP):
        group = range(begin, begin + GROUP)
        await journal.append([_write(number, first + number) for number in group])
    await journal.aclose()
    size = _size(folder)
    gc.collect()
    before, began, found = resident(), perf_counter(), 0
    journal = SQLiteJournal(folder)
    async for _ in journal.recover():
        found += 1
    seconds = perf_counter() - began
    grown = (resident() - before) / 2**20
    await journal.aclose()
    assert found == MILLION
    what = "a journal of a million records"
    return [
        Row(suite=SUITE, name=f"{what}: on disk", value=size / MILLION, unit="B a record of 200 B"),
        Row(suite=SUITE, name=f"{what}: opened and read back", value=seconds, unit="s"),
        Row(suite=SUITE, name=f"{what}: memory that reading it takes", value=grown, unit="MiB"),
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _write(number: int, sequence: int) -> Write:
    return Write(key=f"user:{number}", id=b"\x01", payload=PAYLOAD, tags=(), sequence=sequence, at=time())


class Away:
    """A source that is down until it is told otherwise."""

    def __init__(self) -> None:
        """Be down."""
        self.down = True

    async def load(self, keys: Sequence[int]) -> Mapping[int, Users]:
        """Return nothing."""
        del keys
        return {}

    async def save(
        self, items: Mapping[int, Users], *, versions: Mapping[int, int] | None = None
    ) -> Saved[int, Users]:
        """Take everything, unless it is down."""
        del items, versions
        if self.down:
            raise SourceUnavailable("down for the benchmark")
        return Saved()

    async def remove(
        self, keys: Sequence[int], *, versions: Mapping[int, int] | None = None
    ) -> Saved[int, Users]:
        """Take it."""
        del keys, versions
        return Saved()


async def full(folder: Path) -> list[Row]:
    """Fill a backlog while the source is down; then start again over it."""
    logging.getLogger("acache").setLevel(logging.ERROR)  # each flush that fails is a warning
    source = Away()
    async with Cache("memory://?max_entries=10") as cache:
        gc.collect()
        before = resident()
        behind = _behind(cache, source, folder)
        async with behind:
            for begin in range(0, BACKLOG, 1_000):
                ids = range(begin, begin + 1_000)
                await asyncio.gather(*(behind.put(id, {"id": id, "name": f"user {id}"}) for id in ids))
            gc.collect()
            each = (resident() - before) / BACKLOG
            await behind.aclose(timeout=0.1)
    async with Cache("memory://?max_entries=10") as cache:
        again, began = _behind(cache, source, folder), perf_counter()
        async with again:
            recovered = perf_counter() - began
            assert again.backlog.pending == BACKLOG
            source.down = False
            await again.flush()
            flushed = perf_counter() - began - recovered
    what = f"a full backlog of {BACKLOG:,} writes"
    return [
        Row(suite=SUITE, name=f"{what}: memory", value=each, unit="B each"),
        Row(suite=SUITE, name=f"{what}: recovered at start", value=recovered, unit="s"),
        Row(suite=SUITE, name=f"{what}: flushed to a source that takes all", value=flushed, unit="s"),
    ]


def _behind(cache: Cache, source: Away, folder: Path) -> WriteBehind[int, Users]:
    return WriteBehind(
        cache,
        source,
        key="user:{}",
        ttl=300,
        journal=SQLiteJournal(folder),
        max_backlog=BACKLOG,
        batch_size=1_000,
    )
