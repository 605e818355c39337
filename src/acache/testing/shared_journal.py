"""A shared journal in memory: its steps at the server, and clients as slow and unreliable as a test wants.

Every verb of a client suspends before and after its step, so that whatever may come in between does.
Time is the running loop's, chance the network's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from acache.errors import JournalFailed, StoreUnavailable
from acache.protocols import DeadLetter, Depth, Write
from acache.testing.network import Network

T = TypeVar("T")

WALL: float = 1_700_000_000.0  # seconds; where the journal's clock began


@dataclass(slots=True)
class _Claim:
    token: bytes
    until: float
    since: int  # the key's first number


@dataclass(slots=True)
class _Grave:
    letter: DeadLetter
    outdated: bool = False


@dataclass(slots=True)
class JournalServer:
    """What the clients of one shared journal have in common. No method ever waits.

    The tests' oracle: as plain as can be, and nothing of it is clever."""

    now: Callable[[], float]
    writes: dict[str, dict[int, Write]] = field(default_factory=dict)  # by key, then number
    queue: dict[str, int] = field(default_factory=dict)  # keys to claim, with their first numbers
    claims: dict[str, _Claim] = field(default_factory=dict)
    graves: dict[str, _Grave] = field(default_factory=dict)  # by the letter's id, oldest first
    tries: dict[str, int] = field(default_factory=dict)
    tokens: set[bytes] = field(default_factory=set)
    highest: int = 0

    def append(self, writes: Sequence[Write]) -> None:
        """Keep every write under its own number."""
        for write in writes:
            self.writes.setdefault(write.key, {})[write.sequence] = write
            self.highest = max(self.highest, write.sequence)
            if write.key not in self.claims:
                self.queue[write.key] = min(self.queue.get(write.key, write.sequence), write.sequence)

    def append_next(self, writes: Sequence[Write]) -> list[Write]:
        """Keep every write under the next number."""
        first = max(self.highest + 1, int((WALL + self.now()) * 1e6))
        numbered = [replace(write, sequence=first + place) for place, write in enumerate(writes)]
        self.append(numbered)
        return numbered

    def last(self) -> int:
        """Return the highest number ever."""
        return self.highest

    def pending(self, keys: Sequence[str]) -> dict[str, Write]:
        """Return the newest write of each of *keys*."""
        return {key: self._newest(key) for key in keys if key in self.writes}

    def everything(self) -> list[Write]:
        """Return what is pending, in the order of numbers."""
        found = [write for writes in self.writes.values() for write in writes.values()]
        return sorted(found, key=lambda write: write.sequence)

    def claim(self, limit: int, token: bytes, ttl: float) -> list[Write]:
        """Take up to *limit* keys, the longest waiting first."""
        for key in [key for key, claim in self.claims.items() if claim.until <= self.now()]:
            self._offer(key, self.claims[key].since)
        if token not in self.tokens:
            self.tokens.add(token)
            for key in sorted(self.queue, key=lambda key: self.queue[key])[:limit]:
                self.claims[key] = _Claim(token, self.now() + ttl, self.queue.pop(key))
        return [self._newest(key) for key, claim in self.claims.items() if claim.token == token]

    def renew(self, keys: Sequence[str], token: bytes, ttl: float) -> bool:
        """Prolong the claims of *token*."""
        mine = [key for key in keys if self._owns(key, token)]
        for key in mine:
            self.claims[key].until = self.now() + ttl
        return len(mine) == len(keys)

    def settle(self, flushed: Mapping[str, int], token: bytes) -> list[str]:
        """Acknowledge under a claim, end it; return what is another's."""
        lost: list[str] = []
        for key, number in flushed.items():
            if self._owns(key, token):
                self._forget(key, number)
                self._offer(key)
            elif min(self.writes.get(key, {number + 1: None})) <= number:
                lost.append(key)
        return lost

    def release(self, keys: Sequence[str], token: bytes) -> None:
        """End the claims of *token*."""
        for key in keys:
            if self._owns(key, token):
                self._offer(key, self.claims[key].since)

    def acknowledge(self, flushed: Mapping[str, int]) -> None:
        """Forget what was flushed, whoever did it."""
        for key, number in flushed.items():
            self._forget(key, number)
            if key not in self.claims:
                self._offer(key)

    def bury(self, write: Write, error: str) -> None:
        """Make a dead letter of a pending write."""
        standing = self.writes.get(write.key, {}).get(write.sequence)
        if standing is None:
            return
        name = f"{write.sequence}:{write.key}"
        self.tries[name] = self.tries.get(name, 0) + 1
        letter = DeadLetter(
            id=name,
            key=write.key,
            write=standing,
            error=error,
            attempts=self.tries[name],
            at=WALL + self.now(),
        )
        self.graves[name] = _Grave(letter)
        self._remove(write.key, write.sequence)
        if write.key not in self.claims:
            self._offer(write.key)

    def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again."""
        grave = self.graves.get(letter.id)
        if grave is None or grave.outdated:
            raise JournalFailed("the dead letter is gone, or something newer was flushed")
        del self.graves[letter.id]
        self.append([grave.letter.write])

    def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        if self.graves.pop(letter.id, None) is not None:
            self.tries.pop(letter.id, None)

    def depth(self) -> Depth:
        """Return how much there is."""
        firsts = [*self.queue.values(), *(claim.since for claim in self.claims.values())]
        oldest = min(firsts, default=None)
        age = 0.0 if oldest is None else max(0.0, WALL + self.now() - oldest / 1e6)
        return Depth(pending=len(firsts), oldest=oldest, oldest_age=age, dead=len(self.graves))

    def _newest(self, key: str) -> Write:
        return self.writes[key][max(self.writes[key])]

    def _owns(self, key: str, token: bytes) -> bool:
        return key in self.claims and self.claims[key].token == token

    def _offer(self, key: str, since: int | None = None) -> None:
        self.claims.pop(key, None)
        self.queue.pop(key, None)
        if key in self.writes:
            self.queue[key] = min(self.writes[key]) if since is None else since

    def _forget(self, key: str, number: int) -> None:
        for sequence in [sequence for sequence in self.writes.get(key, ()) if sequence <= number]:
            self._remove(key, sequence)
            self.tries.pop(f"{sequence}:{key}", None)
        for grave in self.graves.values():
            if grave.letter.key == key and grave.letter.write.sequence < number:
                grave.outdated = True

    def _remove(self, key: str, sequence: int) -> None:
        del self.writes[key][sequence]
        if not self.writes[key]:
            del self.writes[key]


class MemorySharedJournal:
    """One process's way to a `JournalServer`. Over a *network* it may lose requests and answers.

    `last`, `dead` and `recover` are steps of their own; a lost answer is JournalFailed, effect or not."""

    def __init__(self, server: JournalServer | None = None, *, network: Network | None = None) -> None:
        self.server = JournalServer(_loop_time) if server is None else server
        self.network = Network() if network is None else network

    async def append(self, writes: Sequence[Write]) -> None:
        """Keep every write under its own number."""
        await self._ask("append", lambda: self.server.append(writes))

    async def append_next(self, writes: Sequence[Write]) -> Sequence[Write]:
        """Keep every write under the next number."""
        return await self._ask("append", lambda: self.server.append_next(writes)) if writes else []

    async def last(self) -> int:
        """Return the highest number ever."""
        return await self._ask("last", self.server.last)

    async def recover(self) -> AsyncIterator[Write]:
        """Yield what is pending."""
        for write in await self._ask("recover", self.server.everything):
            yield write

    async def pending(self, keys: Sequence[str]) -> Mapping[str, Write]:
        """Return the newest write of each of *keys*."""
        return await self._ask("pending", lambda: self.server.pending(keys))

    async def claim(self, limit: int, token: bytes, *, ttl: float) -> Sequence[Write]:
        """Take up to *limit* keys, the longest waiting first."""
        return await self._ask("claim", lambda: self.server.claim(limit, token, ttl))

    async def renew(self, keys: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong the claims of *token*."""
        return await self._ask("renew", lambda: self.server.renew(keys, token, ttl))

    async def settle(self, flushed: Mapping[str, int], token: bytes) -> Sequence[str]:
        """Acknowledge under a claim, end it; return what is another's."""
        return await self._ask("settle", lambda: self.server.settle(flushed, token))

    async def release(self, keys: Sequence[str], token: bytes) -> None:
        """End the claims of *token*."""
        await self._ask("release", lambda: self.server.release(keys, token))

    async def acknowledge(self, flushed: Mapping[str, int]) -> None:
        """Forget what was flushed, whoever did it."""
        await self._ask("acknowledge", lambda: self.server.acknowledge(flushed))

    async def bury(self, write: Write, error: str) -> None:
        """Make a dead letter of a pending write."""
        await self._ask("bury", lambda: self.server.bury(write, error))

    async def dead(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        for grave in await self._ask("dead", lambda: list(self.server.graves.values())):
            yield grave.letter

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again."""
        await self._ask("revive", lambda: self.server.revive(letter))

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        await self._ask("discard", lambda: self.server.discard(letter))

    async def depth(self) -> Depth:
        """Return how much there is."""
        return await self._ask("depth", self.server.depth)

    async def aclose(self) -> None:
        """Do nothing: nothing stays open between requests."""

    async def _ask(self, verb: str, step: Callable[[], T]) -> T:
        """Send the step and return its result."""
        todo, arrives = self.network.fate(verb, 1)
        try:
            await self.network.travel(verb)
            self.network.check(verb, arrives=todo > 0)
            result = step()
            await self.network.travel(verb)
            self.network.check(verb, arrives=arrives)
        except StoreUnavailable as error:
            raise JournalFailed(str(error)) from error
        return result


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
