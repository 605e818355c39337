"""A hit in every form of call: arguments, methods, tags, direct calls, many at once."""

from collections.abc import Awaitable, Callable
from typing import Any

from acache import Cache
from acache.testing.remote import MemoryRemote
from benchmarks import _measure as measure
from benchmarks._table import Row

SUITE = "memory"
TIMES = 20_000
BATCH = 100
Work = Callable[[], Awaitable[object]]


async def hits(rounds: int) -> list[Row]:
    """Measure a hit of each form, of `async_lru` beside where it has that form, and the floors."""
    from async_lru import alru_cache

    near = Cache(MemoryRemote(), near="memory://?max_entries=10000")
    async with Cache("memory://?max_entries=10000") as cache, near:
        works = {
            **_decorated("acache", lambda template: cache.cached(template, ttl=300)),
            **_decorated("async_lru", lambda _: alru_cache(maxsize=10_000, ttl=300)),
            "with two tags, acache": _one(
                cache.cached("t:{user_id}", ttl=300, tags=["user:{user_id}", "users"])(one)
            ),
            "near of a remote store, acache": _one(near.cached("n:{user_id}", ttl=300)(one)),
            "get_or_load, acache": _get_or_load(cache),
            "get, acache": _get(cache),
        }
        runs = {f"hit: {name}": measure.Busy(work, TIMES) for name, work in works.items()}
        runs["floor: await of an async function"] = measure.Busy(_one(one), TIMES)
        times = await _warm(runs, rounds)
    return [measure.row(SUITE, name, each, "ns", runs[name]) for name, each in times.items()]


async def many(rounds: int) -> list[Row]:
    """Measure hits of a hundred keys in one call, per key."""
    async with Cache("memory://?max_entries=10000") as cache:
        ids = list(range(BATCH))
        keys = [f"m:{number}" for number in ids]
        await cache.set_many(dict.fromkeys(keys, 1), ttl=300)

        @cache.cached_many("d:{}", ttl=300)
        async def decorated(ids: list[int]) -> dict[int, int]:
            return dict.fromkeys(ids, 1)

        async def load_many(missing: object) -> dict[str, int]:
            raise AssertionError(missing)

        works: dict[str, Work] = {
            "get_many": lambda: cache.get_many(keys),
            "get_or_load_many": lambda: cache.get_or_load_many(keys, load_many, ttl=300),
            "cached_many": lambda: decorated(ids),
        }
        runs = {name: measure.Busy(_repeated(work, 200), 200 * BATCH) for name, work in works.items()}
        times = await _warm(runs, rounds)
    return [
        measure.row(SUITE, f"{BATCH} hits in one {name}, each", each, "ns", runs[name])
        for name, each in times.items()
    ]


async def one(user_id: int) -> int:
    """Return at once."""
    return user_id


def _decorated(whose: str, decorate: Callable[[str], Any]) -> dict[str, Work]:
    async def two(a: int, b: int) -> int:
        return a + b

    async def four(a: int, b: int, c: int, d: int) -> int:
        return a + b + c + d

    async def text(name: str) -> str:
        return name

    class Repo:
        tenant = 7

        @decorate("repo:{self.tenant}:{user_id}")
        async def get(self, user_id: int) -> int:
            return user_id

    works = {
        "one argument": _one(decorate("one:{user_id}")(one)),
        "two arguments": _two(decorate("two:{a}:{b}")(two)),
        "four arguments": _four(decorate("four:{a}:{b}:{c}:{d}")(four)),
        "a string": _text(decorate("text:{name}")(text)),
        "by keyword": _keyword(decorate("keyword:{a}:{b}:{c}:{d}")(four)),
        "a method": _one(Repo().get),
    }
    return {f"{name}, {whose}": work for name, work in works.items()}


async def _warm(runs: dict[str, measure.Busy], rounds: int) -> dict[str, list[float]]:
    for run in runs.values():
        await run()
    return await measure.interleaved(runs, rounds)


# Each form is written out: calling through `*arguments` would cost what is to be measured.


def _one(read: Callable[[int], Awaitable[object]]) -> Work:
    async def work() -> None:
        for _ in range(TIMES):
            await read(42)

    return work


def _two(read: Callable[[int, int], Awaitable[object]]) -> Work:
    async def work() -> None:
        for _ in range(TIMES):
            await read(1, 2)

    return work


def _four(read: Callable[[int, int, int, int], Awaitable[object]]) -> Work:
    async def work() -> None:
        for _ in range(TIMES):
            await read(1, 2, 3, 4)

    return work


def _text(read: Callable[[str], Awaitable[object]]) -> Work:
    async def work() -> None:
        for _ in range(TIMES):
            await read("somebody@example.org")

    return work


def _keyword(read: Callable[..., Awaitable[object]]) -> Work:
    async def work() -> None:
        for _ in range(TIMES):
            await read(a=1, b=2, c=3, d=4)

    return work


def _get_or_load(cache: Cache) -> Work:
    async def load() -> int:
        return 1

    async def work() -> None:
        for _ in range(TIMES):
            await cache.get_or_load("direct", load, ttl=300)

    return work


def _get(cache: Cache) -> Work:
    async def work() -> None:
        await cache.set("held", 1, ttl=300)
        for _ in range(TIMES):
            await cache.get("held")

    return work


def _repeated(once: Work, times: int) -> Work:
    async def work() -> None:
        for _ in range(times):
            await once()

    return work
