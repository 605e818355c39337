"""The way to a remote store: complete names, one breaker, one net of timeouts, bytes only.

Every verb raises StoreUnavailable and nothing else; with the breaker open it does so at once. Of a
store of several servers one that is away does not open it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from math import inf
from types import MappingProxyType
from typing import Final, Protocol, TypeVar, cast, final

from acache._breaker import Breaker
from acache._deadlines import Deadlines
from acache._process import Process
from acache.errors import PartlyUnavailable, StoreUnavailable
from acache.events import BreakerChanged, StoreFailed
from acache.protocols import Claim, Feed, Grant, Item, Leases, Prompt, RemoteStore

T = TypeVar("T")
Peeked = tuple[list[bytes | None], dict[str, bytes | None]]

TIMEOUT: Final = 1.0  # of a store that does not say its own
MARGIN: Final = 1.5  # a store's own timeout comes first; this one catches a store that has none
NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})
SPACE: Final = ""  # the word for the namespace itself: no key or tag of a user is empty
CHUNK: Final = 500  # keys or tags that one request changes
_ANSWERS: Final = frozenset((bytes, type(None)))


class NotAsked(StoreUnavailable):
    """The breaker is open, or the store keeps one for the server in question: nothing was sent."""


class LeasingStore(RemoteStore, Leases, Protocol):
    """A remote store with claims."""


class Remote:
    """A remote store as one cache sees it."""

    __slots__ = ("_net", "_process", "_prompt", "breaker", "feed", "namespace", "store")

    def __init__(self, store: LeasingStore, *, namespace: str, process: Process) -> None:
        """Reach *store*; its names begin with *namespace*."""
        self.store = store
        self.namespace = namespace
        self.feed: Feed | None = store if isinstance(store, Feed) else None
        self._prompt: Prompt | None = store if isinstance(store, Prompt) else None
        self.breaker = Breaker()
        self._process = process
        self._net = float(getattr(store, "timeout", TIMEOUT)) * MARGIN
        process.moved.append(self.breaker.gave_up)  # a probe that another loop had under way

    # --- names ---

    def name(self, word: str) -> str:
        """Return the complete name of a key or tag, or of the namespace."""
        return self.names((word,))[0]

    def names(self, words: Iterable[str]) -> list[str]:
        """Return the complete name of each, without a call for each: every read asks.

        The braces decide a cluster's slot, so what would make them empty is hashed; as is what begins
        like a hash, so that nobody can write what one looks like."""
        space = self.namespace
        return [
            space if word == SPACE else f"{space}:{{{word if word[0] not in '}~' else _hashed(word)}}}"
            for word in words
        ]

    # --- verbs ---

    async def peek(self, keys: Sequence[str], tags: Sequence[str]) -> Peeked:
        """Return the bytes of *keys*, and the version of each of *tags*."""
        return await self._ask("peek", self._peek(keys, tags))

    async def _peek(self, keys: Sequence[str], tags: Sequence[str]) -> Peeked:
        found, versions = await self.store.peek(self.names(keys), self.names(tags))
        return checked(keys, found), answered(tags, versions)

    def peek_for(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        answered: Callable[[Peeked | None], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Have *answered* called with the same, once, with None if the store is away.

        With a store that is `Prompt` by whatever receives the answer, else by a task. *wanted* says
        whether anybody still waits."""
        process, prompt = self._process, self._prompt
        if prompt is None:
            task = process.background.start(self._peek_and_tell(keys, tags, answered))
            task.add_done_callback(partial(_tell_of_cancelling, answered))
        elif self.breaker.allows(process.clock.monotonic()):
            reply = _Reply(self, keys, tags, answered, wanted, process.deadlines, self._net)
            try:
                prompt.ask(self.names(keys), self.names(tags), reply)
            except Exception as error:  # noqa: BLE001 - the border: a plugin's mistake
                reply.set_exception(error)
        else:
            answered(None)

    async def _peek_and_tell(
        self, keys: Sequence[str], tags: Sequence[str], answered: Callable[[Peeked | None], None]
    ) -> None:
        try:
            peeked = await self.peek(keys, tags)
        except StoreUnavailable:
            answered(None)
        else:
            answered(peeked)

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
            self.failed(operation, error)
            raise StoreUnavailable(f"{operation}: no answer within {self._net:g} s") from error
        except PartlyUnavailable as error:
            self.failed(operation, error)
            if not error.asked:
                raise NotAsked(str(error)) from error
            raise
        except StoreUnavailable as error:
            self.failed(operation, error)
            raise
        except Exception as error:
            self.failed(operation, error)
            raise StoreUnavailable(f"{operation}: the store raised {type(error).__name__}") from error
        except BaseException:
            breaker.gave_up()
            raise
        self.succeeded()
        return answer

    def failed_to_read(self, error: Exception) -> None:
        """Note that a read got no answer, which is no failure of a store that is being closed."""
        if self._process.closed:
            self.breaker.gave_up()
        else:
            self.failed("peek", error)

    def succeeded(self) -> None:
        """Note an answer."""
        if self.breaker.succeeded():
            self._process.near.fallback = None  # others may have changed what was kept meanwhile
            self._process.emit(BreakerChanged(open=False))

    def failed(self, operation: str, error: Exception) -> None:
        """Note that there was none, and why; one server of several that is away is not the whole store."""
        partly = error if isinstance(error, PartlyUnavailable) else None
        if partly is None or partly.asked:
            self._process.emit(StoreFailed(operation=operation, error=type(error).__name__, cause=error))
        if partly is not None:
            self.breaker.gave_up()
        elif self.breaker.failed(self._process.clock.monotonic()):
            self._process.emit(BreakerChanged(open=True))


@final
class _Reply:
    """The other end of one prompt request: told once, by the store or by its own time."""

    __slots__ = ("_answered", "_deadlines", "_keys", "_limit", "_remote", "_tags", "_wanted", "at")

    def __init__(
        self,
        remote: Remote,
        keys: Sequence[str],
        tags: Sequence[str],
        answered: Callable[[Peeked | None], None],
        wanted: Callable[[], bool],
        deadlines: Deadlines,
        limit: float,
    ) -> None:
        self._remote = remote
        self._keys = keys
        self._tags = tags
        self._answered: Callable[[Peeked | None], None] | None = answered
        self._wanted = wanted
        self._deadlines = deadlines
        self._limit = limit
        self.at = inf
        deadlines.add(self, limit)

    def done(self) -> bool:
        # Who asks will not tell it then, and nobody comes to want it later.
        if self._answered is not None and not self._wanted():
            self._end()
            self._remote.breaker.gave_up()
        return self._answered is None

    def set_result(self, found: list[bytes | None], /) -> None:
        count = len(self._keys)
        try:
            peeked = checked(self._keys, found[:count]), answered(self._tags, found[count:])
        except Exception as error:  # noqa: BLE001 - the border: whatever a foreign store answers
            self.set_exception(error)
            return
        tell = self._end()
        if tell is not None:
            self._remote.succeeded()
            tell(peeked)

    def set_exception(self, error: Exception, /) -> None:
        tell = self._end()
        if tell is not None:
            self._remote.failed_to_read(error)
            tell(None)

    def expire(self) -> None:
        """End: the store kept silent for too long, or the cache closes."""
        tell, self._answered = self._answered, None
        if tell is not None and self._wanted():
            self._remote.failed_to_read(TimeoutError(f"no answer within {self._limit:g} s"))
            tell(None)
        elif tell is not None:
            self._remote.breaker.gave_up()

    def _end(self) -> Callable[[Peeked | None], None] | None:
        """Return who is to be told; None if that was done."""
        tell, self._answered = self._answered, None
        if tell is not None:
            self._deadlines.leave(self, self._limit)
        return tell


def _tell_of_cancelling(answered: Callable[[Peeked | None], None], task: asyncio.Task[None]) -> None:
    if task.cancelled():
        answered(None)


def _hashed(word: str) -> str:
    return f"~{blake2b(word.encode('utf-8', 'surrogatepass'), digest_size=20).hexdigest()}"


def checked(names: Sequence[str], found: Sequence[object]) -> list[bytes | None]:
    """Return what was *found* of each of *names*; TypeError or ValueError for what is no such answer."""
    if not _ANSWERS.issuperset(map(type, found)):
        raise TypeError(
            f"a store answers bytes or None, not {({*map(type, found)} - _ANSWERS).pop().__name__}"
        )
    if len(found) != len(names):
        raise ValueError(f"{len(found)} answers for {len(names)} names")
    return cast("list[bytes | None]", found)


def answered(names: Sequence[str], found: Sequence[object]) -> dict[str, bytes | None]:
    """Return the same by name."""
    return dict(zip(names, checked(names, found), strict=True))
