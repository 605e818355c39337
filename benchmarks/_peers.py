"""The in-process peers, each as its users would write it."""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

AsyncFunction = Callable[[int], Awaitable[object]]
SLOW = frozenset({"aiocache", "cashews", "cashews unprotected"})


async def plain(user_id: int) -> int:
    """Load what costs nothing."""
    return user_id


def peers() -> dict[str, AsyncFunction]:
    """Return the same function cached by each peer, all with a ttl where they have one."""
    import aiocache
    import asyncstdlib
    import cachebox
    import theine
    from async_lru import alru_cache
    from cashews import Cache as Cashews

    logging.getLogger("aiocache").setLevel(logging.ERROR)
    cashews = Cashews()
    cashews.setup("mem://")
    return {
        "async_lru": alru_cache(maxsize=10_000, ttl=300)(plain),
        "cachebox": cachebox.cached(cachebox.TTLCache(10_000, 300))(plain),
        "asyncstdlib": asyncstdlib.lru_cache(maxsize=10_000)(plain),
        "theine": theine.Memoize(10_000, timedelta(seconds=300))(plain),
        "aiocache": aiocache.cached(ttl=300)(plain),
        "cashews unprotected": cashews(ttl="5m", key="user:{user_id}", protected=False)(plain),
        "cashews": cashews(ttl="5m", key="safe:{user_id}")(plain),
    }
