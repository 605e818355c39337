"""Store, invalidate and clear: what changes what is cached. Knows no loader and no reader.

A plain call forgets what this process has; then the authority does the rest, which no cancelled caller
interrupts."""

import asyncio
from collections.abc import Mapping, Sequence

from acache._authority import Authority
from acache._entry import Entry
from acache._process import Process
from acache.events import Cleared, Invalidated


class Changes:
    """The changing verbs over one process's state and one authority."""

    __slots__ = ("_authority", "_process")

    def __init__(self, process: Process, authority: Authority) -> None:
        """Take the state and who decides about storing."""
        self._process = process
        self._authority = authority

    async def set(self, items: Mapping[str, Entry], type: object) -> None:
        """Store *items*; afterwards no read gets anything that was loaded before."""
        process = self._process
        process.enter()
        now = process.clock.monotonic()
        kept = {key: entry for key, entry in items.items() if process.enabled and now < entry.expires}
        if kept:
            await process.background.finish(self._authority.set(kept, type))
        if len(kept) < len(items):
            await self.invalidate([key for key in items if key not in kept], ())

    async def invalidate(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Drop *keys* and everything that carries one of *tags*."""
        process = self._process
        process.enter()
        crowded = process.near.thin(tags) > 0
        if not crowded:
            process.forget(keys, tags)
        await process.background.finish(self._invalidate(keys, tags, crowded=crowded))

    async def _invalidate(self, keys: Sequence[str], tags: Sequence[str], *, crowded: bool) -> None:
        if crowded:
            await self.thin(tags)
            self._process.forget(keys, tags)
        await self._authority.invalidate(keys, tags)
        self._process.emit(Invalidated(keys=tuple(keys), tags=tuple(tags)))

    async def thin(self, tags: Sequence[str]) -> None:
        """Drop most of what is near of *tags*, slice by slice: the pass that follows must not take long.

        To drop more than that pass will is no harm. Who puts as fast as this drops is left to the pass."""
        near = self._process.near
        left = near.thin(tags)
        while left:
            await asyncio.sleep(0)
            before, left = left, near.thin(tags)
            if left >= before:
                break

    async def drop_older(
        self, keys: Sequence[str], tags: Sequence[str], *, keep: Mapping[str, object]
    ) -> None:
        """Drop *keys* and *tags*, but for entries that are still those of the receipts in *keep*."""
        self._process.enter()
        await self._process.background.finish(self._authority.drop_older(keys, tags, keep=keep))

    async def clear(self) -> None:
        """Drop everything in the namespace."""
        self._process.enter()
        self._process.forget_everything()
        await self._process.background.finish(self._clear())

    async def _clear(self) -> None:
        await self._authority.clear()
        self._process.emit(Cleared())
