"""Each library behind one face: cache an async function of one argument, and invalidate one argument.

As its documentation tells a user to do it, in memory, with a ttl, and with its own protection against
stampedes where it has one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

Function = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True)
class Cached:
    call: Function
    invalidate: Callable[[Any], Awaitable[object]]


def acache(function: Function) -> Cached:
    from acache import Cache

    wrapped = Cache("memory://").cached("v:{key}", ttl=60)(named(function))
    return Cached(wrapped, wrapped.invalidate)


def async_lru(function: Function) -> Cached:
    from async_lru import alru_cache

    wrapped = alru_cache(maxsize=1024, ttl=60)(named(function))

    async def invalidate(key: Any) -> None:
        wrapped.cache_invalidate(key)

    return Cached(wrapped, invalidate)


def aiocache(function: Function) -> Cached:
    from aiocache import Cache, cached_stampede

    wrapped = cached_stampede(lease=2, ttl=60, cache=Cache.MEMORY, key_builder=lambda _, key: f"v:{key}")(
        named(function)
    )
    return Cached(wrapped, lambda key: wrapped.cache.delete(f"v:{key}"))


def cashews(function: Function) -> Cached:
    from cashews import Cache

    cache = Cache()
    cache.setup("mem://")
    wrapped = cache(ttl=60, key="v:{key}", lock=True)(named(function))
    return Cached(wrapped, lambda key: cache.delete(f"v:{key}"))


def cachebox(function: Function) -> Cached:
    from cachebox import TTLCache, cached, make_key

    store = TTLCache(1024, global_ttl=60)
    wrapped = cached(store)(named(function))

    async def invalidate(key: Any) -> None:
        store.pop(make_key(key), None)

    return Cached(wrapped, invalidate)


def theine(function: Function) -> Cached:
    from datetime import timedelta

    from theine import Memoize

    memoize = Memoize(1024, timedelta(seconds=60))
    wrapped = memoize(named(function))
    wrapped.key(lambda key: f"v:{key!r}")

    async def invalidate(key: Any) -> None:
        memoize.cache.delete(f"v:{key!r}")

    return Cached(wrapped, invalidate)


def named(function: Function) -> Function:
    async def load(key: Any) -> Any:
        return await function(key)

    return load


LIBRARIES: dict[str, Callable[[Function], Cached]] = {
    "acache-core": acache,
    "async-lru": async_lru,
    "aiocache": aiocache,
    "cashews": cashews,
    "cachebox": cachebox,
    "theine": theine,
}


def versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}
