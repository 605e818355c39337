"""Every error that acache raises, named by whose fault it is. Knows nothing of the rest."""

from collections.abc import Collection


class CacheError(Exception):
    """The root: `except CacheError` catches whatever acache itself raises."""


# --- what is written wrongly: raised at construction or decoration, before any request -------------


class ConfigurationError(CacheError):
    """A cache, a policy or a decorated function is set up in a way that cannot work."""


class NoInvalidationPlan(ConfigurationError):
    """A caching call says neither how long its value is good for nor what would invalidate it."""


class InvalidPolicy(ConfigurationError, ValueError):
    """An option of a policy has a value that makes no sense; the message names the option."""


class InvalidTemplate(ConfigurationError, ValueError):
    """A key or tag template cannot be compiled for the function that it stands over."""


class DuplicateTemplate(ConfigurationError):
    """Two functions of one cache would write to the same keys."""


class UnknownScheme(ConfigurationError, LookupError):
    """No installed distribution serves this URL scheme; the message names the one to install."""


# --- what is called wrongly -------------------------------------------------------------------------


class InvalidKey(CacheError, ValueError):
    """A key or tag is empty or longer than 1,024 characters."""


class UncacheableArgument(CacheError, TypeError):
    """An argument has no canonical text, so it cannot be part of a key."""


class CacheClosed(CacheError):
    """The cache was closed; open it again with `async with`."""


class WrongLoop(CacheError):
    """The cache is in use by another running event loop, usually one of another thread."""


class NoRunningLoop(CacheError):
    """The call needs a running event loop."""


class RecursiveLoad(CacheError):
    """A load waits, directly or through others, for its own result."""


class RecursiveUpdate(CacheError):
    """The `change` of an `update` writes the very id that is being updated; it would wait for itself."""


# --- what went wrong while running ------------------------------------------------------------------


class LoadTimeout(CacheError, TimeoutError):
    """A load took longer than the caller wanted to wait, or than `max_load_time`."""


class LoadCancelled(CacheError):
    """A load was cancelled by something other than its callers: from within, or by closing the cache."""


class Overloaded(CacheError):
    """`max_loads` loads are running and `max_queue` more are waiting."""


class InvalidationFailed(CacheError):
    """The remote store did not hear of an invalidation yet; it is being retried.

    `written` says whether the caller's own write to the source stood."""

    def __init__(self, message: str, *, written: bool) -> None:
        super().__init__(message)
        self.written = written


class CodecError(CacheError, ValueError):
    """A value cannot be encoded, or bytes cannot be decoded into the type asked for."""


class StoreUnavailable(CacheError):
    """A remote store cannot be reached, is too slow, or answered with an error of its own."""


class PartlyUnavailable(StoreUnavailable):
    """One of a remote store's several servers cannot be reached, and has what was asked for; others can.

    Unlike after other failures a cache goes on to ask the store, which is to know for itself whom not to
    ask. `asked`: False if nothing was sent, since that server did not answer a moment ago."""

    def __init__(self, message: str, *, asked: bool = True) -> None:
        super().__init__(message)
        self.asked = asked


class SourceUnavailable(CacheError):
    """A source cannot be reached; trying again may help."""


class SourceRefused(CacheError):
    """A source refused the data of `keys`; trying again will not help."""

    def __init__(self, message: str, *, keys: Collection[object] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class JournalFailed(CacheError):
    """A journal could not make a write durable; the write was not acknowledged."""


class BacklogFull(CacheError):
    """`max_backlog` writes wait for the source, and `on_full` is "raise"."""
