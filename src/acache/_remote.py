"""The way to a remote store: complete names, one breaker, one net of timeouts, bytes only.

Every verb raises StoreUnavailable and nothing else; with the breaker open it does so at once. What
is asked for in one tick of the loop goes out as one request."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar, cast, final

from acache._breaker import Breaker
from acache._process import Process
from acache.errors import StoreUnavailable
from acache.events import BreakerChanged, StoreFailed
from acache.protocols import Claim, Feed, Grant, Item, Leases, RemoteStore

T = TypeVar("T")

TIMEOUT: Final = 1.0  # of a store that does not say its own
MARGIN: Final = 1.5  # a store's own timeout comes first; this one catches a store that has none
NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})
SPACE: Final = ""  # the word for the namespace itself: no key or tag of a user is empty
CHUNK: Final = 500  # keys or tags that one request changes


class NotAsked(StoreUnavailable):
    """The breaker is open: nothing was sent."""


class LeasingStore(RemoteStore, Leases, Protocol):
    """A remote store with claims."""


class Remote:
    """A remote store as one cache sees it."""

    __slots__ = ("_net", "_process", "breaker", "feed", "namespace", "store")

    def __init__(self, store: LeasingStore, *, namespace: str, process: Process) -> None:
        """Reach *store*; its names begin with *namespace*."""
        self.store = store
        self.namespace = namespace
        self.feed: Feed | None = store if isinstance(store, Feed) else None
        self.breaker = Breaker()
        self._process = process
        self._net = float(getattr(store, "timeout", TIMEOUT)) * MARGIN

    # --- names ---

    def name(self, word: str) -> str:
        """Return the complete name of a key or tag, or of the namespace.

        The braces decide a cluster's slot, so what would make them empty is hashed."""
        if word == SPACE:
            return self.namespace
        if word.startswith(("}", "~")):  # the second, so that nobody can write what a hash looks like
            word = f"~{blake2b(word.encode('utf-8', 'surrogatepass'), digest_size=20).hexdigest()}"
        return f"{self.namespace}:{{{word}}}"

    def names(self, words: Iterable[str]) -> list[str]:
        """Return the complete name of each."""
        return [self.name(word) for word in words]

    # --- verbs ---

    async def peek(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], dict[str, bytes | None]]:
        """Return the bytes of *keys*, and the version of each of *tags*."""
        return await self._ask("peek", self._peek(keys, tags))

    async def _peek(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], dict[str, bytes | None]]:
        found, versions = await self.store.peek(self.names(keys), self.names(tags))
        answered(keys, found)
        return found, answered(tags, versions)

    async def versions(self, tags: Sequence[str], *, ttl: float) -> dict[str, bytes | None]:
        """Return the version of each of *tags*, made if missing; None while fenced."""
        return await self._ask("versions", self._versions(tags, ttl))

    async def _versions(self, tags: Sequence[str], ttl: float) -> dict[str, bytes | None]:
        return answered(tags, await self.store.versions(self.names(tags), ttl=ttl))

    async def stamp(self) -> bytes:
        """Return the namespace's invalidation stamp."""
        return await self._ask("stamp", self.store.stamp(self.namespace))

    async def lease(self, key: str, token: bytes, *, ttl: float, seen: bytes | None) -> Grant:
        """Ask to be the only loader of *key*."""
        return await self._ask("lease", self.store.lease(self.name(key), token, ttl=ttl, seen=seen))

    async def renew(self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong claims."""
        return await self._ask("renew", self.store.renew(self.names(keys), self.names(tags), token, ttl=ttl))

    async def commit(self, key: str, data: bytes, token: bytes, *, ttl: float, message: bytes) -> bool:
        """Store under a claim, if it still stands alone and untainted."""
        item = Item(key=self.name(key), data=data, ttl=ttl)
        return await self._ask("commit", self.store.commit(item, token, message=message))

    async def put(self, items: Sequence[tuple[str, bytes, float]], *, message: bytes) -> None:
        """Store whatever lease stands."""
        complete = [Item(key=self.name(key), data=data, ttl=ttl) for key, data, ttl in items]
        await self._ask("put", self.store.put(complete, message=message))

    async def drop(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        *,
        keep: Mapping[str, bytes] = NOTHING,
        message: bytes | None,
    ) -> None:
        """Delete entries and versions, end leases, taint fences; spare an entry equal to *keep*."""
        spared = {self.name(key): keep[key] for key in keys if key in keep}
        work = self.store.drop(self.names(keys), self.names(tags), keep=spared, message=message)
        await self._ask("drop", work)

    async def fence(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float, message: bytes
    ) -> None:
        """Drop, and let nobody store."""
        work = self.store.fence(self.names(keys), self.names(tags), token, ttl=ttl, message=message)
        await self._ask("fence", work)

    async def settle(self, tags: Sequence[str], token: bytes, *, ttl: float) -> dict[str, bytes | None]:
        """End the fence of *tags*; return the new version of those that nobody else touched."""
        return await self._ask("settle", self._settle(tags, token, ttl))

    async def _settle(self, tags: Sequence[str], token: bytes, ttl: float) -> dict[str, bytes | None]:
        return answered(tags, await self.store.settle(self.names(tags), token, ttl=ttl))

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, message: bytes | None
    ) -> None:
        """End a token's claims."""
        await self._ask(
            "release", self.store.release(self.names(keys), self.names(tags), token, message=message)
        )

    async def claims(self, key: str) -> Sequence[Claim]:
        """Return what stands on *key*."""
        return await self._ask("claims", self.store.claims(self.name(key)))

    async def _ask(self, operation: str, work: Awaitable[T]) -> T:
        process, breaker = self._process, self.breaker
        if not breaker.allows(process.clock.monotonic()):
            work.close()  # type: ignore[attr-defined]
            raise NotAsked("the remote store did not answer a moment ago; it is tried again soon")
        try:
            async with asyncio.timeout(self._net):
                answer = await work
        except TimeoutError as error:
            self._failed(operation, error)
            raise StoreUnavailable(f"{operation}: no answer within {self._net:g} s") from error
        except StoreUnavailable as error:
            self._failed(operation, error)
            raise
        except Exception as error:
            self._failed(operation, error)
            raise StoreUnavailable(f"{operation}: the store raised {type(error).__name__}") from error
        except BaseException:
            breaker.gave_up()
            raise
        if breaker.succeeded():
            process.near.fallback = None  # others may have changed what was kept meanwhile
            process.emit(BreakerChanged(open=False))
        return answer

    def _failed(self, operation: str, error: Exception) -> None:
        self._process.emit(StoreFailed(operation=operation, error=type(error).__name__, cause=error))
        if self.breaker.failed(self._process.clock.monotonic()):
            self._process.emit(BreakerChanged(open=True))


def answered(names: Sequence[str], found: Sequence[object]) -> dict[str, bytes | None]:
    """Return what was *found* of each of *names*; TypeError or ValueError for what is no such answer."""
    for data in found:
        if data is not None and not isinstance(data, bytes):
            raise TypeError(f"a store answers bytes or None, not {type(data).__name__}")
    return dict(zip(names, cast("Sequence[bytes | None]", found), strict=True))


@final
class Looked:
    """What the readers of one tick ask for in one request, and then its answer."""

    __slots__ = ("away", "found", "since", "values", "versions", "waiting")

    def __init__(self, since: int) -> None:
        """Ask, at the mark *since* of the drops, for the namespace's version: every entry has to match it."""
        self.since = since
        self.found: dict[str, bytes | None] = {}
        self.versions: dict[str, bytes | None] = {SPACE: None}
        self.away = True  # no answer: the store is away, or the cache was closed
        self.values: dict[str, tuple[object, Any]] = {}  # decoded, and into which type, for all
        self.waiting: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        """Let all who wait look at it."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


@final
class Looks:
    """Reads of one tick of the loop, as one request.

    The first who asks in a tick sends for all, in its own task: a lone reader costs no other. If it
    is cancelled a task of the cache takes its place, so that nobody else notices."""

    __slots__ = ("_filling", "_process", "_remote")

    def __init__(self, process: Process, remote: Remote) -> None:
        """Read from *remote*."""
        self._process = process
        self._remote = remote
        self._filling: Looked | None = None  # can be joined until it is sent
        process.moved.append(self._moved)

    def _moved(self) -> None:
        self._filling = None

    def ask(self, keys: Iterable[str], tags: Iterable[str]) -> tuple[Looked, Awaitable[None]]:
        """Ask for the bytes of *keys*, the versions of *tags* and of the namespace; await the second."""
        looked = self._filling
        leads = looked is None or len(looked.found) >= CHUNK
        if looked is None or leads:
            looked = self._filling = Looked(self._process.drops.mark)
        for key in keys:
            looked.found[key] = None
        if tags:
            for tag in tags:
                looked.versions[tag] = None
        if leads:
            return looked, self._lead(looked)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        looked.waiting.append(waiter)
        return looked, waiter

    async def read(self, keys: Iterable[str], tags: Iterable[str]) -> Looked:
        """Return the answer of `ask`."""
        looked, answered = self.ask(keys, tags)
        await answered
        return looked

    async def _lead(self, looked: Looked) -> None:
        try:
            await asyncio.sleep(0)
            await self._send(looked)
        except BaseException:
            self._depart(looked)  # whoever comes now leads another one
            if any(not waiter.done() for waiter in looked.waiting):
                self._process.background.start(self._take_over(looked))
            raise
        looked.wake()

    async def _take_over(self, looked: Looked) -> None:
        try:
            await self._send(looked)
        finally:
            looked.wake()

    def _depart(self, looked: Looked) -> None:
        if self._filling is looked:
            self._filling = None

    async def _send(self, looked: Looked) -> None:
        self._depart(looked)
        if self._process.closed:
            return
        keys, tags = list(looked.found), list(looked.versions)
        try:
            found, versions = await self._remote.peek(keys, tags)
        except StoreUnavailable:
            return
        looked.found = dict(zip(keys, found, strict=True))
        looked.versions = versions
        looked.away = False
