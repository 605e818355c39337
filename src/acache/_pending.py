"""Invalidations that the remote store has not heard of yet (P6).

Until one has landed nothing of its keys and tags is read from a cache or stored. They are retried
until they land; past a bound they collapse into one pending `clear`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from acache._process import Process, log
from acache.errors import StoreUnavailable
from acache.events import InvalidationLanded, InvalidationPending

LIMIT: Final = 10_000
FIRST_RETRY: Final = 0.05  # seconds, doubled up to the last
LAST_RETRY: Final = 1.0

Send = Callable[[Sequence[str], Sequence[str]], Awaitable[None]]


class Pending:
    """What is pending, and the task that retries it."""

    __slots__ = (
        "_everything",
        "_keys",
        "_namespace",
        "_noted",
        "_process",
        "_retrying",
        "_send",
        "_since",
        "_tags",
        "_told",
        "some",
    )

    def __init__(self, process: Process, send: Send, *, namespace: str) -> None:
        """Retry with *send*; a pending `clear` is the tag *namespace*."""
        self._process = process
        self._send = send
        self._namespace = namespace
        # Each with the number of the call that noted it last: an attempt that was under way
        # meanwhile has not spoken for it.
        self._keys: dict[str, int] = {}
        self._tags: dict[str, int] = {}
        self._everything = 0
        self._noted = 0
        self._since = 0.0
        self.some = False  # anything is pending: every remote hit asks
        self._told = 0  # how many there were when the log was last told
        self._retrying: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many keys and tags are pending; a pending `clear` counts as one."""
        return 1 if self._everything else len(self._keys) + len(self._tags)

    def covers(self, key: str, tags: Iterable[str]) -> bool:
        """Say whether *key* or one of *tags* is pending."""
        if not self.some:
            return False
        return self._everything > 0 or key in self._keys or any(tag in self._tags for tag in tags)

    def add(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Note what did not land, say so, and retry it."""
        process = self._process
        if not len(self):
            self._since = process.clock.monotonic()
        self._noted += 1
        self._keys.update(dict.fromkeys(keys, self._noted))
        self._tags.update(dict.fromkeys(tags, self._noted))
        if self._everything or self._namespace in tags or len(self) > LIMIT:
            self._everything = self._noted
            self._keys.clear()
            self._tags.clear()
            process.forget_everything()
        self.some = len(self) > 0
        if len(self) >= 2 * self._told:  # not of each write of an outage
            self._told = len(self)
            log.warning(
                "an invalidation of %d keys and tags is pending: the remote store is away", self._told
            )
        process.emit(InvalidationPending(keys=tuple(keys), tags=tuple(tags), pending=len(self)))
        self.resume()

    def resume(self) -> None:
        """Retry, unless that is under way: also after the cache moved to another loop."""
        if len(self) and (self._retrying is None or self._retrying.done()):
            self._retrying = self._process.background.start(self._retry())

    def moved(self) -> None:
        """Forget the former loop's task."""
        self._retrying = None
        self.resume()

    async def _retry(self) -> None:
        delay = FIRST_RETRY
        while len(self):
            await asyncio.sleep(delay)
            if not await self.attempt():
                delay = min(delay * 2, LAST_RETRY)

    async def aclose(self) -> None:
        """Try once more, and say so if that was in vain: what is pending ends with the process."""
        if len(self) and not await self.attempt():
            log.warning(
                "the cache was closed while an invalidation of %d keys and tags was pending:"
                " the remote store has not heard of it",
                len(self),
            )

    async def attempt(self) -> bool:
        """Send what is pending once; say whether it landed."""
        keys, tags, everything, noted = list(self._keys), list(self._tags), self._everything, self._noted
        try:
            await self._send(keys, [self._namespace] if everything else tags)
        except StoreUnavailable:
            return False
        # A reader may hold an answer from before: the same pass as after an invalidation.
        if everything:
            self._process.forget_everything()
        else:
            self._process.forget(keys, tags)
        self._keys = {key: at for key, at in self._keys.items() if at > noted}
        self._tags = {tag: at for tag, at in self._tags.items() if at > noted}
        if self._everything <= noted:
            self._everything = 0
        self.some = len(self) > 0
        if not self.some:
            self._told = 0
            self._process.emit(InvalidationLanded(seconds=self._process.clock.monotonic() - self._since))
        return True
