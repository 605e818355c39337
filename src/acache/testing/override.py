"""Give a cache other parts for the length of a test, or none at all."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from acache._cache import Cache


@contextmanager
def override(cache: Cache, **options: Any) -> Generator[Cache]:
    """Serve *cache* and everything decorated with it from other parts while the block runs.

    Takes what `Cache` takes: `override(cache, store="memory://", clock=ManualClock())`. The block
    begins with empty figures and, unless a store is given, an empty local store; afterwards the
    former parts are back as they were. Not for use while the cache is at work."""
    options.setdefault("store", "memory://")
    options.setdefault("near", None)
    with cache._replaced(**options):  # pyright: ignore[reportPrivateUsage]
        yield cache
