"""Fixtures for people who test their own app. Synchronous, so they work under every async plugin.

pytest loads this module by itself once acache is installed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from acache._cache import Cache
    from acache.testing.clock import ManualClock


@pytest.fixture
def acache_clock() -> "ManualClock":
    """A clock that stands still until the test moves it: `acache_clock.advance(60)`."""
    from acache.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def acache_override(acache_clock: "ManualClock") -> "Iterator[Callable[..., Cache]]":
    """Give a cache an empty local store and the test's clock until the test ends.

    `acache_override(app.cache)`; further options are those of `acache.testing.override`."""
    from acache.testing.override import override

    with ExitStack() as stack:

        def replace(cache: "Cache", **options: Any) -> "Cache":
            return stack.enter_context(override(cache, **{"clock": acache_clock, **options}))

        yield replace


@pytest.fixture
def acache_disabled() -> "Iterator[Callable[[Cache], Cache]]":
    """Let every read of a cache go to its loader until the test ends: `acache_disabled(app.cache)`."""
    with ExitStack() as stack:

        def disable(cache: "Cache") -> "Cache":
            stack.enter_context(cache.disabled())
            return cache

        yield disable
