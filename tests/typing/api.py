"""Ten real uses of the public API, checked by two type checkers and never run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, assert_type

from acache import (
    MISSING,
    Cache,
    MemoryStore,
    Policy,
    ReadThrough,
    Singleflight,
    WriteThrough,
    loading,
    singleflight,
)
from acache.protocols import Source, WritableSource


@dataclass
class User:
    id: int
    name: str


cache = Cache("memory://?max_entries=1000", namespace="shop")


# 1. A function keeps its parameters and its result.
@cache.cached("user:{user_id}", ttl=300, tags=["user:{user_id}", "users"])
async def get_user(user_id: int, *, full: bool = False) -> User | None:
    """Load a user."""
    return User(user_id, "x") if full else None


async def functions() -> None:
    assert_type(await get_user(42), User | None)
    assert_type(await get_user(user_id=42, full=True), User | None)
    assert_type(await get_user.refresh(42), User | None)
    assert_type(await get_user.uncached(42), User | None)
    assert_type(get_user.key(42), str)
    assert_type(get_user.stats().hits, int)
    await get_user.invalidate(42, full=True)
    await get_user("42")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await get_user(42, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await get_user.invalidate()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# 2. A method loses `self`, and only that.
class Repository:
    tenant: str = "a"

    @cache.cached("repo:{self.tenant}:{user_id}", policy=Policy(ttl=timedelta(minutes=5), beta=2.0))
    async def get(self, user_id: int) -> User:
        """Load a user of the tenant."""
        return User(user_id, self.tenant)


async def methods(repository: Repository) -> None:
    assert_type(await repository.get(42), User)
    assert_type(await Repository.get(repository, 42), User)
    assert_type(repository.get.key(42), str)
    await repository.get.invalidate(42)
    await repository.get("42")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await repository.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# 3. Generic classes keep their type arguments.
T = TypeVar("T")


class Shelf(Generic[T]):
    def __init__(self, name: str, item: T) -> None:
        self.name = name
        self.item = item

    @cache.cached("shelf:{self.name}:{place}", ttl=60)
    async def at(self, place: int) -> list[T]:
        """Load what lies at a place."""
        return [self.item] * place


# 4. A batch function takes any iterable of ids.
@cache.cached_many("user:{}", ttl=300)
async def get_users(ids: list[int]) -> Mapping[int, User]:
    """Load users."""
    return {id: User(id, "x") for id in ids}


@cache.cached_many("price:{}:{currency}", ttl=60)
async def get_prices(ids: list[str], currency: str) -> dict[str, float]:
    """Load prices."""
    return dict.fromkeys(ids, 1.0) if currency else {}


async def batches(some: Iterable[int]) -> None:
    assert_type(await get_users([1, 2]), dict[int, User])
    assert_type(await get_users({1, 2}), dict[int, User])
    assert_type(await get_users(some), dict[int, User])
    assert_type(await get_prices(["a"], "EUR"), dict[str, float])
    await get_users.invalidate([1])
    await get_users(["a"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await get_prices(["a"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# 5. get_or_load returns what its loader does, with and without `type=`.
async def load_user() -> User:
    """Load one user."""
    return User(1, "x")


async def loads() -> None:
    assert_type(await cache.get_or_load("u", load_user, ttl=60), User)
    assert_type(await cache.get_or_load("u", load_user, ttl=60, type=User, tags=["t"]), User)
    assert_type(await cache.get_or_load("u", load_user, policy=Policy(ttl=None)), User)
    await cache.get_or_load("u", load_user, tll=60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await cache.get_or_load("u", User(1, "x"), ttl=60)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def load_many(keys: list[str]) -> dict[str, User]:
    """Load several."""
    return dict.fromkeys(keys, User(1, "x"))


# 6. Direct verbs.
async def direct() -> None:
    value: Any = await cache.get("k", default=MISSING)
    assert_type(await cache.get_or_load_many(["a"], load_many, ttl=60), dict[str, User])
    await cache.set("k", value, ttl=60, tags=["t"])
    await cache.set_many({"a": 1}, ttl=None)
    await cache.invalidate("a", "b", tags=["t"])
    await cache.clear()


# 7. The fence.
async def fence() -> None:
    async with cache.writing("user:42", tags=["users"]) as writer:
        writer.commit("user:42", User(42, "y"), ttl=300)


# 8. Coalescing without caching.
@singleflight
async def fetch(url: str) -> bytes:
    """Fetch."""
    return url.encode()


@singleflight(key="{url}")
async def fetch_once(url: str, retries: int = 3) -> bytes:
    """Fetch."""
    return url.encode() * retries


async def flights() -> None:
    assert_type(await fetch("a"), bytes)
    assert_type(await fetch_once("a", retries=1), bytes)
    assert_type(await Singleflight().run("k", load_user), User)
    fetch.forget("a")
    await fetch(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# 9. Sources and patterns.
async def patterns(source: Source[int, User], writable: WritableSource[int, User]) -> None:
    users = ReadThrough(cache, source, key="user:{}", ttl=300)
    assert_type(await users.get(1), User | None)
    assert_type(await users.get_many({1, 2}), dict[int, User])
    written = WriteThrough(cache, writable, key="user:{}", ttl=300, tags=["users"])
    await written.put(1, User(1, "x"))
    assert_type(await written.update(1, lambda user: user or User(1, "x")), User)
    await written.put(1, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# 10. Inside a load; and what a policy refuses.
async def inside() -> None:
    load = loading()
    load.ttl = timedelta(seconds=5)
    load.tags.add("team:7")
    Policy(ttl="1m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Cache(MemoryStore(max_entries=10), near=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
