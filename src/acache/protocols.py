"""What a plugin implements. A third party imports this module and `acache.errors`, nothing else.

Required protocols are small; what only some stores can do is a protocol of its own, asked for once
when a cache is made. All durations are seconds.

One store serves many namespaces. Keys and tags arrive complete, as `<namespace>:{<key>}` and
`<namespace>:{<tag>}`; the version of a whole namespace is made, read and dropped like that of a
tag whose complete name is the bare `<namespace>`. A namespace has no colon, so the part of a name
before the first one says whose stamp has to be replaced (`namespace_of`)."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Protocol, TypeVar, runtime_checkable

from acache._entry import Entry

__all__ = [
    "BUSY",
    "FENCED",
    "FOUND",
    "GRANTED",
    "Claim",
    "ClaimKind",
    "Codec",
    "DeadLetter",
    "Depth",
    "Entry",
    "Failover",
    "Feed",
    "Grant",
    "GrantKind",
    "Item",
    "Journal",
    "JournalView",
    "Leases",
    "LocalStore",
    "Prompt",
    "RemoteStore",
    "Reply",
    "Saved",
    "SharedJournal",
    "Source",
    "ThinnedTags",
    "WritableSource",
    "Write",
    "digest",
    "namespace_of",
]

K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


# --- stores -----------------------------------------------------------------------------------------


@runtime_checkable
class LocalStore(Protocol):
    """Objects in this process. Synchronous: no method may await, block or call back."""

    @property
    def lookup(self) -> Callable[[str], Entry | None]:
        """The cheapest way from a key to its entry; the entry may be outdated, readers judge it."""
        ...

    def put(self, key: str, entry: Entry) -> None:
        """Keep *entry*, replacing another of the same key, until `entry.expires` or eviction."""
        ...

    def drop(self, key: str) -> None:
        """Forget *key*; nothing happens if it is not there."""
        ...

    def drop_tag(self, tag: str) -> None:
        """Forget every entry that carries *tag*."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


@runtime_checkable
class ThinnedTags(Protocol):
    """Local stores that can drop what carries a tag in slices, for the loop to run in between.

    Without it `drop_tag` drops them all in one go, however many they are."""

    def thin_tag(self, tag: str, limit: int) -> int:
        """Forget up to *limit* of the entries that carry *tag*, and return how many still do."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Bytes to store under a key for *ttl* seconds."""

    key: str
    data: bytes = field(repr=False)
    ttl: float


@runtime_checkable
class RemoteStore(Protocol):
    """Bytes shared between processes.

    Every method raises `StoreUnavailable`, with the cause kept, when the server cannot be reached
    or refuses; no other error may come out. A store of several servers raises its `PartlyUnavailable`
    when one of them is away, and a cache asks on; a read of keys of several servers may take those of
    the one that is away for absent. Every method may be cancelled at any await. A store that
    gives up by itself says after how many seconds in an attribute `timeout`; the cache then gives up
    later, and without one after 1.5 seconds."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes under each of *keys*, in their order, None where nothing is."""
        ...

    async def set_many(self, items: Sequence[Item]) -> None:
        """Store every item; those already there are replaced."""
        ...

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete *keys*; those that are not there do not matter."""
        ...

    async def aclose(self) -> None:
        """Close what this store opened, never what it was lent. Safe to call twice."""
        ...


def namespace_of(name: str) -> str:
    """Return the namespace of a complete key or tag."""
    return name.partition(":")[0]


def digest(data: bytes) -> bytes:
    """Return what stands for an entry's bytes in `Leases.lease`: their SHA-1, 20 bytes.

    A name, not a safeguard, and the only digest that a script inside Redis can compute too."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


class GrantKind(Enum):
    """The four answers to a request for a lease."""

    GRANTED = "granted"
    BUSY = "busy"
    FENCED = "fenced"
    FOUND = "found"


GRANTED = GrantKind.GRANTED
BUSY = GrantKind.BUSY
FENCED = GrantKind.FENCED
FOUND = GrantKind.FOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The answer to a request for a lease: load now, wait, load without storing, or judge this."""

    kind: GrantKind
    remaining: float = 0.0  # BUSY: seconds until the holder's lease ends unless renewed
    holder: bytes = b""  # BUSY: the holder's token
    data: bytes | None = field(default=None, repr=False)  # FOUND: an entry other than the one seen


class ClaimKind(Enum):
    """Exclusive claim of a loader, or shared claim of a writer."""

    LEASE = "lease"
    FENCE = "fence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim that stands on a key, for `Cache.explain`."""

    kind: ClaimKind
    token: bytes
    remaining: float  # seconds
    tainted: bool = False


class Reply(Protocol):
    """Who waits for an answer: a future, or somebody who hears of it at once and not a turn later."""

    def done(self) -> bool:
        """Say whether it need not be told any more."""
        ...

    def set_result(self, found: list[bytes | None], /) -> None:
        """Take what was found."""
        ...

    def set_exception(self, error: Exception, /) -> None:
        """Take the error instead."""
        ...


@runtime_checkable
class Prompt(Protocol):
    """Capability of a remote store with leases: reads that cost no task."""

    def ask(self, keys: Sequence[str], tags: Sequence[str], reply: Reply) -> None:
        """Tell *reply* what `peek` returns, the entries and then the versions, or `StoreUnavailable`.

        It is told once, in any case, within the store's `timeout` and from the loop that asked; a cache
        waits half as long again, takes silence for an error, and hears no second answer. Unlike
        an awaited read this one does not wait for company: a cache asks for all that is wanted in a turn."""
        ...


@runtime_checkable
class Leases(Protocol):
    """Capability of a remote store: claims.

    Each method is atomic per key and per tag and idempotent, so that a client may send it again.
    A *message*, where one is given, is published in the same atomic step as the last change, or
    alone if there is nothing to change. `drop`, `fence` and `settle` of tags first replace the
    stamp of each namespace that the tags belong to, and go on once that is acknowledged.
    A key holds one lease or any number of fences, each a token with an expiry. A *taint* on the
    fences of a key or tag says that somebody else changed it meanwhile; it ends when the last
    fence has gone. Every method raises `StoreUnavailable`."""

    async def peek(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return the bytes under each of *keys* and the version of each of *tags*, in one read.

        Like `get_many`, for hits: it makes and prolongs nothing; None where nothing is."""
        ...

    async def versions(self, tags: Sequence[str], *, ttl: float) -> list[bytes | None]:
        """Return the version of each tag: made if missing, prolonged to *ttl*; None while fenced."""
        ...

    async def stamp(self, namespace: str) -> bytes:
        """Return the invalidation stamp of *namespace*, made if missing: random, never a counter."""
        ...

    async def lease(self, key: str, token: bytes, *, ttl: float, seen: bytes | None) -> Grant:
        """Ask to be the only loader of *key*.

        FOUND with the entry's bytes if one is there and their `digest` is not *seen*; FENCED under
        a fence; BUSY under another's lease; else GRANTED, also to the holder who asks again."""
        ...

    async def renew(self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong this token's claims; return False if any of them is no longer there."""
        ...

    async def commit(self, item: Item, token: bytes, *, message: bytes | None) -> bool:
        """Store the entry if the token's claim is present, alone and untainted; end it either way.

        Return whether it was stored; also True if it is sent again and the entry is still exactly
        this one. The message is published when it is stored, only then."""
        ...

    async def put(self, items: Sequence[Item], *, message: bytes | None) -> None:
        """Store entries whatever lease stands, ending it; under a fence delete and taint instead."""
        ...

    async def drop(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        *,
        keep: Mapping[str, bytes] = ...,
        message: bytes | None,
    ) -> None:
        """Delete the entries of *keys* and the versions of *tags*, end leases, taint fences.

        *keep* spares an entry whose bytes equal these (its lease still ends)."""
        ...

    async def fence(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float, message: bytes | None
    ) -> None:
        """Like `drop`, and add *token* to the fences of each key and tag for *ttl* seconds.

        Fences of this token that already stand are prolonged, not tainted."""
        ...

    async def settle(self, tags: Sequence[str], token: bytes, *, ttl: float) -> list[bytes | None]:
        """For each tag delete its version and end this token's fence.

        Where the token was present, alone and untainted a new version is made, to live for *ttl*,
        and returned; otherwise standing fences are tainted and None is returned."""
        ...

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, message: bytes | None
    ) -> None:
        """End this token's claims, nobody else's."""
        ...

    async def claims(self, key: str) -> Sequence[Claim]:
        """Return what stands on *key* now."""
        ...


@runtime_checkable
class Feed(Protocol):
    """Capability of a remote store: hear what others stored and dropped."""

    def listen(
        self,
        *,
        heard: Callable[[bytes], None],
        gap: Callable[[], None],
        alive: Callable[[float], None],
    ) -> AbstractAsyncContextManager[None]:
        """Call back, synchronously and on the loop, while the context is entered.

        *heard*: one message, in the order of the connection. *gap*: after each confirmed
        (re)subscription, before any message that follows it. *alive*: the monotonic send time of
        each answered ping; on a cluster the oldest over the nodes. Entering does not wait for a
        server that is away: listening reconnects by itself."""
        ...


@runtime_checkable
class Failover(Protocol):
    """Capability of a remote store whose primary may be replaced by a replica that lacks the last changes."""

    def expect_failover(self, *, window: float, wait_replicas: int) -> None:
        """Be prepared; asked for once by each cache, and the most that any of them asked for counts.

        What `put`, `drop`, `fence`, `settle` and `release` changed within the last *window* seconds is
        dropped again, with its message, on a primary that has other data than the one that did it:
        before anything is read from there. Each of them waits, within the store's timeout, until
        *wait_replicas* replicas have it; that there were too few is no error."""
        ...


# --- sources ----------------------------------------------------------------------------------------


@runtime_checkable
class Source(Protocol[K, V_co]):
    """A system of record that values are loaded from.

    Raises `SourceUnavailable` if trying again may help and `SourceRefused` if it will not, each
    with the cause kept. An id that a successful `load` does not return does not exist."""

    async def load(self, keys: Sequence[K]) -> Mapping[K, V_co]:
        """Return the values of those of *keys* that exist.

        A key is answered by a record that has exactly that key: 1 is neither True, nor 1.0, nor '1'.
        Of keys that are equal, *keys* never has several."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Generic[K, V]):
    """What became of a batch of writes."""

    rows: Mapping[K, V] = field(default_factory=dict[K, V])  # as the source holds them, where they differ
    refused: tuple[K, ...] = ()  # older than what the source holds (version guard)


@runtime_checkable
class WritableSource(Source[K, V], Protocol[K, V]):
    """A system of record that takes writes, each batch whole or not at all."""

    async def save(self, items: Mapping[K, V], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Insert or replace *items*; with *versions* only where the source's version is lower."""
        ...

    async def remove(self, keys: Sequence[K], *, versions: Mapping[K, int] | None = None) -> Saved[K, V]:
        """Delete *keys*; with *versions* a tombstone keeps the version against late writes."""
        ...


# --- journals ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One acknowledged write that has not reached the source: a value, or a removal if payload is None."""

    key: str
    id: bytes
    payload: bytes | None = field(repr=False)
    tags: tuple[str, ...] = ()
    sequence: int
    at: float  # wall seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A write that the source refused for its data."""

    id: str
    key: str
    write: Write
    error: str
    attempts: int
    at: float  # wall seconds


class JournalView(Protocol):
    """What whoever looks after a journal needs of it; the methods are those of `Journal`.

    A plugin registers what makes one from a URL, by scheme, in the group `acache.journals`."""

    def recover(self) -> AsyncIterator[Write]:
        """Yield what is pending."""
        ...

    def dead(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters."""
        ...

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again."""
        ...

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        ...

    async def aclose(self) -> None:
        """Close what was opened."""
        ...


@runtime_checkable
class Journal(Protocol):
    """A durable log of writes. Raises `JournalFailed`; never acknowledges what is not durable."""

    async def append(self, writes: Sequence[Write]) -> None:
        """Return once every write is durable; raise if any is not."""
        ...

    async def last(self) -> int:
        """Return the highest sequence number ever appended, 0 for a new journal."""
        ...

    def recover(self) -> AsyncIterator[Write]:
        """Yield what is pending, per key in the order of sequence numbers."""
        ...

    async def acknowledge(self, flushed: Mapping[str, int]) -> None:
        """Forget, per key, everything up to this sequence number."""
        ...

    async def bury(self, write: Write, error: str) -> None:
        """Move a pending write to the dead letters."""
        ...

    def dead(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        ...

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again; refused if a newer write of its key was acknowledged."""
        ...

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        ...

    async def aclose(self) -> None:
        """Close files and connections that the journal opened."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much of a shared journal has not reached the source."""

    pending: int  # keys
    oldest: int | None  # no number below this one is pending; None if nothing is
    oldest_age: float  # seconds by the journal's own clock; 0 if nothing is pending
    dead: int  # dead letters


@runtime_checkable
class SharedJournal(Journal, Protocol):
    """A journal that several processes append to and flush from.

    A claim is the right to flush a key: a token with a deadline, of one flusher at a time, so that
    the writes of a key reach the source one after the other. A claim whose deadline is over is
    taken by whoever claims next, and its token is worth nothing from then on. That keeps the
    journal in order; the source is kept in order past a flusher that was paused in the middle of a
    statement by the numbers, which a source with a `version_column` compares."""

    async def append_next(self, writes: Sequence[Write]) -> Sequence[Write]:
        """Return once every write is durable, as it stands: under the next number that nobody has had.

        Numbers follow the order of appends of all processes; they are the microseconds of the
        journal's clock, or one more than the highest number yet. What *writes* say about their
        own does not matter."""
        ...

    async def pending(self, keys: Sequence[str]) -> Mapping[str, Write]:
        """Return the newest pending write of each of *keys* that has one."""
        ...

    async def claim(self, limit: int, token: bytes, *, ttl: float) -> Sequence[Write]:
        """Take up to *limit* keys to flush, and return the newest write of each.

        The longest waiting first; keys that others have claimed are left to them, until *ttl* ends.
        *token* is new with every claim: the same one asks for the same answer again."""
        ...

    async def renew(self, keys: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong the claims on *keys*; return False if any of them is no longer this token's."""
        ...

    async def settle(self, flushed: Mapping[str, int], token: bytes) -> Sequence[str]:
        """Acknowledge what was flushed under a claim, and end the claim.

        Return the keys of which nothing was acknowledged because they are another's by now."""
        ...

    async def release(self, keys: Sequence[str], token: bytes) -> None:
        """End this token's claims, nobody else's: the keys are to be claimed again at once."""
        ...

    async def depth(self) -> Depth:
        """Return how much is pending and dead now."""
        ...


# --- codecs -----------------------------------------------------------------------------------------


@runtime_checkable
class Codec(Protocol):
    """Values to bytes and back. Raises `CodecError`, never executes what it reads."""

    name: str

    def encode(self, value: object) -> bytes:
        """Return *value* as bytes."""
        ...

    def decode(self, data: bytes, type: object) -> object:
        """Return the value in *data* as an instance of *type*; `typing.Any` where nothing is known."""
        ...
