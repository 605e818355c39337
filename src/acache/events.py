"""What the cache tells its observers. Values only; an event never carries a cached value."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; `cache.subscribe(observer)` gets each one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAwaited(Event):
    """A read begins to wait for a value of *key*: for a load of its own, or for one that it joins.

    Told in the context of that read. A fleet may spare it the load: then no `LoadStarted` follows."""

    function: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStarted(Event):
    """A loader is about to be called. Told in the context that it runs in."""

    function: str
    keys: tuple[str, ...]  # several for a batch loader


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEnded(Event):
    """A loader has returned, raised or been cancelled. Told in the context that it ran in."""

    function: str
    keys: tuple[str, ...]  # as in `LoadStarted`
    seconds: float
    error: str | None  # its type


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAwaited(Event):
    """A load has waited for another process's load of the key."""

    function: str
    key: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFinished(Event):
    """A load brought a value back."""

    function: str
    key: str
    seconds: float
    waiters: int
    stored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailed(Event):
    """A load raised or timed out; *served_stale* if an old value was served instead."""

    function: str
    key: str
    error: str  # its type; the message may hold what must not be logged
    served_stale: bool
    cause: BaseException | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshFailed(Event):
    """A refresh of a value that can still be served failed."""

    function: str
    key: str
    error: str
    cause: BaseException | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDiscarded(Event):
    """A loaded or committed value was not stored, because its key or a tag changed meanwhile."""

    function: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidated(Event):
    """Keys and tags were invalidated by this process."""

    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared(Event):
    """The namespace was dropped by this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStartTooLong(Event):
    """XFetch refreshes so early that over half of the ttl is given away. Once per function."""

    function: str
    head_start: float
    ttl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRejected(Event):
    """Bytes from a remote store were no entry of ours: foreign, corrupt, unsigned, undecodable."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTripFailed(Event):
    """A value did not come back from its codec as it was, and was not stored."""

    function: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed(Event):
    """A remote store failed or timed out."""

    operation: str
    error: str  # its type
    cause: BaseException | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged(Event):
    """The circuit breaker of the remote store opened or closed."""

    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidationPending(Event):
    """An invalidation did not reach the remote store; it is retried until it does."""

    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidationLanded(Event):
    """Every pending invalidation has reached the remote store."""

    seconds: float = field(default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inconsistent(Event):
    """A sampled hit differed from what its load returns now (`verify`)."""

    function: str
    key: str
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFlushed(Event):
    """A batch of written-behind records has reached the source, within *seconds*.

    *pending*: keys that wait now; *oldest_age*: seconds that the oldest of them has waited."""

    records: int
    seconds: float
    pending: int
    oldest_age: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushFailed(Event):
    """A batch did not reach the source; it is tried again after *pause* seconds.

    *attempt*: how often in a row it has failed; *pending* and *oldest_age* as in `BatchFlushed`."""

    records: int
    error: str
    pause: float
    attempt: int = 1
    pending: int = 0
    oldest_age: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRefused(Event):
    """The source holds something newer than a flushed write (version guard)."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBuried(Event):
    """The source refused a record for its data: it is a dead letter now."""

    key: str
    error: str
