"""A claim on keys of a shared journal: renewed while they are flushed, not acted on once it is lost.

Knows no source. A claim that could not be renewed in time is taken for lost, whatever the journal says."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from acache._background import Background
from acache._process import Process
from acache.errors import JournalFailed
from acache.protocols import SharedJournal

RENEWALS: Final = 3  # per length of a claim


class ClaimLost(Exception):
    """The claim ended before the batch did: others flush its keys by now."""


class JournalClaim:
    """The right of this process to flush some keys, for the time being."""

    __slots__ = ("_background", "_journal", "_keys", "_process", "_token", "_ttl", "_until")

    def __init__(
        self,
        process: Process,
        background: Background,
        journal: SharedJournal,
        token: bytes,
        *,
        ttl: float,
    ) -> None:
        """Count *ttl* seconds from now: make it before the journal is asked."""
        self._process = process
        self._background = background
        self._journal = journal
        self._token = token
        self._ttl = ttl
        self._until = process.clock.monotonic() + ttl
        self._keys: set[str] = set()  # of which the claim has not ended

    def on(self, keys: Iterable[str]) -> None:
        """Note what the journal has given."""
        self._keys.update(keys)

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Renew the claim while the block runs; at the end give back what was not settled.

        Raises ClaimLost in the middle of the block when the claim has ended."""
        loop = asyncio.get_running_loop()
        scope = asyncio.timeout_at(loop.time() + self._until - self._process.clock.monotonic())
        try:
            async with scope:
                renewing = self._background.start(self._keep_renewing(scope))
                try:
                    yield
                finally:
                    renewing.cancel()
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise ClaimLost("a claim on the journal ended before its batch was flushed") from error
        finally:
            await self._give_back()

    async def check(self) -> None:
        """Raise ClaimLost unless the claim stands at this moment, also after a pause of this process."""
        while self._process.clock.monotonic() >= self._until:
            if not await self._renew():
                raise ClaimLost("a claim on the journal ended while this process was paused")

    async def settle(self, flushed: Mapping[str, int]) -> None:
        """Acknowledge under the claim and end it on these keys. Raises ClaimLost, JournalFailed."""
        self._keys.difference_update(flushed)  # first: a renewal on its way need not find them
        try:
            lost = await self._journal.settle(flushed, self._token)
        except JournalFailed:
            self._keys.update(flushed)
            raise
        if lost:
            raise ClaimLost("a claim on the journal ended before its batch was acknowledged")

    async def _keep_renewing(self, scope: asyncio.Timeout) -> None:
        loop, clock = asyncio.get_running_loop(), self._process.clock
        while not scope.expired():
            await asyncio.sleep(self._ttl / RENEWALS)
            try:
                standing = await self._renew()
            except JournalFailed:
                continue  # the deadline decides
            if not scope.expired():
                scope.reschedule(loop.time() + (self._until - clock.monotonic() if standing else 0.0))

    async def _renew(self) -> bool:
        """Prolong the claim; say whether it stands."""
        while keys := sorted(self._keys):
            sent = self._process.clock.monotonic()
            if await self._journal.renew(keys, self._token, ttl=self._ttl):
                self._until = sent + self._ttl
                return True
            if self._keys.issuperset(keys):
                return False
        return True

    async def _give_back(self) -> None:
        keys, self._keys = sorted(self._keys), set()
        if keys:
            try:
                await self._journal.release(keys, self._token)
            except JournalFailed:
                return  # it ends by itself
