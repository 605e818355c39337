"""A source in a dict for the tests of write-behind: away, slow, or refusing what is bad."""

import asyncio
from collections.abc import Mapping, Sequence

from acache import Cache, MemoryJournal, WriteBehind
from acache.errors import SourceRefused, SourceUnavailable
from acache.protocols import Saved


class Table:
    """Rows by id; `away` statements fail first, `gate` holds the others back, "bad" is refused."""

    def __init__(self) -> None:
        self.rows: dict[int, object] = {}
        self.away = 0
        self.batches: list[list[int]] = []
        self.gate: asyncio.Event | None = None

    async def load(self, keys: Sequence[int]) -> Mapping[int, object]:
        await asyncio.sleep(0)
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def save(self, items: Mapping[int, object], *, versions=None) -> Saved[int, object]:
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            self.away -= 1
            raise SourceUnavailable("away")
        if "bad" in items.values():
            raise SourceRefused("bad data")
        self.batches.append(sorted(items))
        self.rows |= items
        return Saved()

    async def remove(self, keys: Sequence[int], *, versions=None) -> Saved[int, object]:
        for key in keys:
            self.rows.pop(key, None)
        return Saved()


class SlowJournal(MemoryJournal):
    """Takes a few steps of the loop for each call, as one on a disk does."""

    async def append(self, writes) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await super().append(writes)

    async def acknowledge(self, flushed) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await super().acknowledge(flushed)


def behind(cache: Cache, table: Table, **options) -> WriteBehind:
    """Return a pattern that flushes at once, unless *options* say otherwise."""
    options = {"journal": MemoryJournal(), "ttl": 60, "max_delay": 0, **options}
    return WriteBehind(cache, table, key="row:{}", **options)
