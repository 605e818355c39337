"""A remote store that others use, asked from the command line. Knows the public API only, prints nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from acache import Cache
from acache.errors import CacheError, ConfigurationError, InvalidationFailed
from acache.events import Event, StoreFailed


class NoAnswer(CacheError):
    """The store did not answer; the message says why, without its credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a remote store holds of one key. Times in seconds; the value is never shown."""

    namespace: str
    key: str
    remote: str  # "an entry", "nothing", "refused: ..."
    verdict: str  # what a read would make of it: "fresh", "expired", "miss"
    age: float | None  # since its load began
    fresh_for: float | None  # negative: expired since; None: until invalidated
    load_time: float | None
    tags: tuple[str, ...]
    outdated: tuple[str, ...]  # tags that were invalidated since it was stored
    cleared: bool  # the namespace was, since it was stored
    version: str | None
    size: int | None  # bytes
    codec: str | None
    holder: str | None  # of the lease: somebody loads it
    held_for: float | None  # until the lease ends, unless it is renewed
    writers: int  # inside `writing` of it: nothing is stored until they are done

    def facts(self) -> dict[str, object]:
        """Return all of it by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidation:
    """What was dropped, whether or not anything was there."""

    namespace: str
    keys: tuple[str, ...]
    tags: tuple[str, ...]


async def inspect(url: str, key: str, *, namespace: str, signing_keys: Sequence[bytes] = ()) -> Inspection:
    """Return what the store at *url* holds of *key*, leaving no trace.

    Raises ConfigurationError for a URL of no remote store, InvalidKey, and NoAnswer."""
    failures: list[StoreFailed] = []
    async with _opened(url, failures, namespace=namespace, signing_keys=signing_keys) as cache:
        found = await cache.explain(key)
    if failures or found.remote is None:
        raise _no_answer(failures)
    held = {
        field.name: getattr(found, field.name) for field in fields(Inspection) if field.name != "namespace"
    }
    return Inspection(namespace=namespace, **held)


async def invalidate(url: str, keys: Sequence[str], tags: Sequence[str], *, namespace: str) -> Invalidation:
    """Drop *keys* and *tags* in the store at *url*; its processes hear of it and drop their near copies.

    Raises ConfigurationError for a URL of no remote store, InvalidKey, and NoAnswer."""
    failures: list[StoreFailed] = []
    cache = _opened(url, failures, namespace=namespace, on_lost_invalidation="raise")
    try:
        async with cache:
            await cache.invalidate(*keys, tags=tags)
    except InvalidationFailed:
        raise _no_answer(failures) from None
    return Invalidation(namespace=namespace, keys=tuple(keys), tags=tuple(tags))


def _opened(url: str, failures: list[StoreFailed], **options: object) -> Cache:
    """Return a cache over the store at *url* that notes what fails."""
    if url.partition(":")[0] == "memory":
        raise ConfigurationError("a memory:// store lives in one process: no other can look into it")

    def note(event: Event) -> None:
        if isinstance(event, StoreFailed):
            failures.append(event)

    try:
        cache = Cache(url, **options)  # type: ignore[arg-type]
    finally:
        del url  # it may hold a password, and reporters of errors show the variables of a frame
    cache.subscribe(note)
    return cache


def _no_answer(failures: Sequence[StoreFailed]) -> NoAnswer:
    cause = next((failure.cause for failure in failures if failure.cause is not None), None)
    return NoAnswer(f"the store does not answer: {cause or 'no reason given'}")
