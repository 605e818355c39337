"""The façade: what it refuses and in which words, and how it is put together."""

import asyncio
import gc
import math

import pytest

from acache import MISSING, Cache, MemoryStore, Policy, ReadThrough
from acache.errors import (
    CacheError,
    ConfigurationError,
    InvalidKey,
    InvalidPolicy,
    InvalidTemplate,
    NoInvalidationPlan,
    NoRunningLoop,
    UnknownScheme,
)
from acache.testing import ManualClock
from acache.testing.remote import MemoryRemote


async def value(*_):
    return "loaded"


async def values(keys):
    return dict.fromkeys(keys, "loaded")


DOORS = {
    "get": lambda cache, key: cache.get(key),
    "get_many": lambda cache, key: cache.get_many(["good", key]),
    "set": lambda cache, key: cache.set(key, 1, ttl=60),
    "set_many": lambda cache, key: cache.set_many({"good": 1, key: 1}, ttl=60),
    "get_or_load": lambda cache, key: cache.get_or_load(key, value, ttl=60),
    "get_or_load_many": lambda cache, key: cache.get_or_load_many(["good", key], values, ttl=60),
    "invalidate": lambda cache, key: cache.invalidate("good", key),
    "explain": lambda cache, key: cache.explain(key),
    "tags of set": lambda cache, tag: cache.set("k", 1, ttl=60, tags=["good", tag]),
    "tags of get_or_load": lambda cache, tag: cache.get_or_load("k", value, ttl=60, tags=[tag]),
    "tags of get_or_load_many": lambda cache, tag: cache.get_or_load_many(["k"], values, ttl=60, tags=[tag]),
    "tags of invalidate": lambda cache, tag: cache.invalidate(tags=[tag]),
}


# --- keys -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        (7, TypeError, "is a str, not int: build one, as in cache."),
        (b"k", TypeError, "not bytes"),
        (None, TypeError, "not NoneType"),
        ("", InvalidKey, "is empty"),
        ("k" * 1025, InvalidKey, "1025 characters, more than 1024"),
        ("\ud800", InvalidKey, "half of a surrogate pair"),
    ],
)
async def test_what_is_no_key_or_tag_is_refused_at_every_door_and_nothing_happens(
    cache, door, key, error, words
):
    with pytest.raises(error, match=words) as caught:
        await DOORS[door](cache, key)
    assert ("a tag" if "tags" in door else "a key") in str(caught.value)
    assert (cache.stats().entries, cache.stats().sets, cache.stats().loads) == (0, 0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [1, 250, 251, 1024])
async def test_a_key_of_any_length_is_one_key_at_every_door(cache, length):
    key = "k" * length
    await cache.set(key, 1, ttl=60)
    assert await cache.get(key) == 1
    assert await cache.get_many([key, "other"]) == {key: 1}
    assert await cache.get_or_load(key, value, ttl=60) == 1
    assert await cache.get_or_load_many([key], values, ttl=60) == {key: 1}
    assert (await cache.explain(key)).where == ("near",)
    await cache.set_many({key: 2}, ttl=60)
    assert await cache.get(key) == 2
    await cache.invalidate(key)
    assert await cache.get(key, MISSING) is MISSING
    assert await cache.get_or_load_many([key], values, ttl=60) == {key: "loaded"}
    assert await cache.get(key) == "loaded"
    async with cache.writing(key) as writer:
        writer.commit(key, 3, ttl=60)
    assert await cache.get(key) == 3
    assert cache.stats().entries == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [1, 250, 251, 1024])
async def test_a_tag_of_any_length_is_one_tag_at_every_door(cache, length):
    tag = "t" * length
    for store in (
        lambda: cache.set("k", 1, ttl=60, tags=[tag]),
        lambda: cache.set_many({"k": 1}, ttl=60, tags=[tag]),
        lambda: cache.get_or_load("k", value, ttl=60, tags=(tag,)),
        lambda: cache.get_or_load_many(["k"], values, ttl=60, tags={tag}),
    ):
        await store()
        assert await cache.get("k", MISSING) is not MISSING
        await cache.invalidate(tags=[tag])
        assert await cache.get("k", MISSING) is MISSING
        await store()
        async with cache.writing(tags=[tag]):
            pass
        assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_long_keys_that_differ_late_are_different(cache):
    await cache.set("k" * 300 + "a", "a", ttl=60)
    assert await cache.get("k" * 300 + "b", MISSING) is MISSING


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "call",
    [
        lambda cache: cache.get_many("abc"),
        lambda cache: cache.get_many(b"abc"),
        lambda cache: cache.get_or_load_many("abc", values, ttl=60),
        lambda cache: cache.get_many(3),
        lambda cache: cache.get_or_load_many(None, values, ttl=60),
        lambda cache: cache.set("k", 1, ttl=60, tags="users"),
        lambda cache: cache.set("k", 1, ttl=60, tags=None),
        lambda cache: cache.invalidate(tags="users"),
        lambda cache: cache.get_or_load("k", value, ttl=60, tags="users"),
    ],
)
async def test_one_where_several_are_meant_is_refused(cache, call):
    with pytest.raises(TypeError, match=r"(keys|tags) takes an iterable of str, not "):
        await call(cache)
    assert cache.stats().entries == 0


@pytest.mark.asyncio
async def test_set_many_takes_a_mapping(cache):
    with pytest.raises(TypeError, match="items takes a mapping from key to value, not list"):
        await cache.set_many([("k", 1)], ttl=60)


@pytest.mark.parametrize("template", ["", "user:{", "{a}{b}", "user:{user id}", "{0}"])
def test_a_template_that_cannot_be_is_refused_by_key_and_tag(cache, template):
    for build in (cache.key, cache.tag):
        with pytest.raises(InvalidTemplate):
            build(template, 1)


def test_a_template_is_a_str(cache):
    for build in (cache.key, cache.tag):
        with pytest.raises(TypeError, match="a template is a str such as .*, not int"):
            build(42)


# --- options ----------------------------------------------------------------------------------------

CALLS = {
    "set": lambda cache, **options: cache.set("k", 1, **options),
    "set_many": lambda cache, **options: cache.set_many({"k": 1}, **options),
    "get_or_load": lambda cache, **options: cache.get_or_load("k", value, **options),
    "get_or_load_many": lambda cache, **options: cache.get_or_load_many(["k"], values, **options),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, NoInvalidationPlan, r"ttl=<seconds>, or ttl=None .* or give a policy="),
        ({"policy": Policy(beta=2.0)}, NoInvalidationPlan, "ttl=<seconds>"),
        ({"ttl": -1}, InvalidPolicy, "ttl must be zero or more seconds, not -1"),
        ({"ttl": math.nan}, InvalidPolicy, "ttl must be zero or more seconds, not nan"),
        ({"ttl": math.inf}, InvalidPolicy, "for 'until invalidated' write ttl=None"),
        ({"ttl": "60"}, InvalidPolicy, r"ttl must be seconds \(a number\) or a timedelta, not '60'"),
        ({"ttl": 1, "stale_if_error": -1}, InvalidPolicy, "stale_if_error must be zero or more"),
        ({"ttl": 1, "jitter": 2}, InvalidPolicy, "jitter must lie between 0 and 1, not 2"),
        ({"ttl": 1, "jitter": "2"}, InvalidPolicy, "jitter must be a number, not '2'"),
        ({"ttl": 1, "beta": math.nan}, InvalidPolicy, "beta must be zero or more, not nan"),
        ({"ttl": 1, "beta": math.inf}, InvalidPolicy, "beta must be finite$"),
        ({"policy": 60}, TypeError, r"policy= takes a Policy, such as Policy\(ttl=60\), not int"),
        ({"ttl": 1, "refresh": "never"}, InvalidPolicy, 'refresh must be "background" or "caller"'),
        ({"ttl": 1, "cache_if": []}, InvalidPolicy, "cache_if must be a function"),
        ({"ttl": 1, "ttl_": 1}, TypeError, "unknown option 'ttl_'; did you mean 'ttl'"),
        ({"ttl": 1, "zzz": 1}, TypeError, "unknown option 'zzz'; known are ttl, beta"),
    ],
)
async def test_options_that_make_no_sense_are_refused_by_every_call(cache, call, options, error, words):
    for _ in range(2):  # also from memory
        with pytest.raises(error, match=words):
            await CALLS[call](cache, **options)
    assert (cache.stats().entries, cache.stats().sets, cache.stats().loads) == (0, 0, 0)
    await CALLS[call](cache, ttl=60)
    assert await cache.get("k", MISSING) is not MISSING


@pytest.mark.asyncio
async def test_a_bool_is_no_duration_even_where_one_second_was_given_before(cache):
    await cache.set("k", 1, ttl=1)
    with pytest.raises(InvalidPolicy, match="not True"):
        await cache.set("k", 1, ttl=True)


@pytest.mark.asyncio
async def test_a_policy_may_carry_the_ttl_and_a_call_overrides_it(cache, clock):
    policy = Policy(ttl=60)
    await cache.set("a", 1, policy=policy)
    await cache.set("b", 1, policy=policy, ttl=5)
    clock.advance(6)
    assert await cache.get_many(["a", "b"]) == {"a": 1}


@pytest.mark.asyncio
async def test_options_of_many_calls_are_remembered_for_some(cache):
    for number in range(300):
        await cache.get_or_load("k", value, ttl=60, cache_if=lambda _, number=number: True)
        await cache.set("k", 1, ttl=number)
    assert len(cache._plans) <= 256


# --- loaders ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("load", "words"),
    [
        (3, "load must be an async function, not int: pass the function, do not call it"),
        (None, "load must be an async function, not NoneType"),
        (lambda: 3, "the loader of 'k' returned int, which cannot be awaited: pass an async function"),
        (lambda: None, "the loader of 'k' returned NoneType, which cannot be awaited"),
    ],
)
async def test_a_loader_that_is_not_async_is_told_so(cache, load, words):
    with pytest.raises(TypeError, match=words):
        await cache.get_or_load("k", load, ttl=60)
    assert await cache.get_or_load("k", value, ttl=60) == "loaded"


@pytest.mark.asyncio
async def test_a_coroutine_in_place_of_a_function_is_closed_and_told(cache):
    with pytest.raises(TypeError, match="load must be an async function, not coroutine: pass the function"):
        await cache.get_or_load("k", value(), ttl=60)
    with pytest.raises(TypeError, match="load_many must be an async function, not coroutine"):
        await cache.get_or_load_many(["k"], values(["k"]), ttl=60)


@pytest.mark.asyncio
async def test_a_batch_loader_that_is_not_async_is_told_so(cache):
    with pytest.raises(TypeError, match="returned dict, which cannot be awaited: pass an async function"):
        await cache.get_or_load_many(["k"], lambda keys: dict.fromkeys(keys, 1), ttl=60)


@pytest.mark.asyncio
async def test_a_loader_may_be_anything_that_returns_an_awaitable(cache):
    future = asyncio.get_running_loop().create_future()
    future.set_result("future")

    class Loader:
        async def __call__(self):
            return "object"

    assert await cache.get_or_load("a", lambda: value(1), ttl=60) == "loaded"
    assert await cache.get_or_load("b", lambda: future, ttl=60) == "future"
    assert await cache.get_or_load("c", Loader(), ttl=60) == "object"


# --- putting a cache together -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Cache("memory://?max_entris=5"), ConfigurationError, "no parameter 'max_entris'"),
        (lambda: Cache("memory://?max_entries=-5"), ConfigurationError, "max_entries"),
        (lambda: Cache("memory://?max_entries=5&max_entries=6"), ConfigurationError, "twice"),
        (lambda: Cache("nothing://"), UnknownScheme, "no store serves the scheme 'nothing': installed are"),
        (lambda: Cache("memory"), UnknownScheme, 'named by a URL, such as "memory://"'),
        (lambda: Cache(object()), ConfigurationError, "object is no store: it has neither the methods"),
        (lambda: Cache(MemoryStore), ConfigurationError, "MemoryStore is a class: pass a store"),
        (lambda: Cache(near=True), ConfigurationError, "near= stands in front of a remote store"),
        (lambda: Cache(near="memory://"), ConfigurationError, "this cache is local already"),
        (lambda: Cache(namespace="a b"), ConfigurationError, "namespace='a b': use letters"),
        (lambda: Cache(namespace=""), ConfigurationError, "namespace=''"),
        (lambda: Cache(policy=Policy(ttl=60)), ConfigurationError, "everything but ttl"),
        (lambda: Cache(verify=2), ConfigurationError, "verify=2 is a share"),
        (lambda: Cache(max_staleness=0), ConfigurationError, "max_staleness=0 must be more than zero"),
        (lambda: Cache(max_ttl=math.nan), ConfigurationError, "max_ttl=nan must be more than zero"),
        (lambda: Cache(on_lost_invalidation="ignore"), ConfigurationError, 'must be "retry" or "raise"'),
        (lambda: Cache(codec="nothing"), ConfigurationError, "codec"),
        (lambda: Cache(namespace=5), ConfigurationError, "namespace=5: use letters"),
        (lambda: Cache(policy={"beta": 2}), TypeError, r"policy= takes a Policy, .* not dict"),
        (lambda: Cache(verify="1%"), ConfigurationError, "verify='1%' must be a number"),
        (lambda: Cache(max_loads="3"), ConfigurationError, "max_loads='3' must be a number"),
        (lambda: Cache(max_queue=None), ConfigurationError, "max_queue=None must be a number"),
        (lambda: Cache(max_loads=True), ConfigurationError, "max_loads=True must be a number"),
        (lambda: Cache(inherit_context=["user"]), ConfigurationError, "inherit_context= takes ContextVars"),
        (lambda: Cache(maxloads=3), TypeError, "maxloads"),
        (lambda: Cache().configure(maxloads=3), TypeError, "unknown option 'maxloads'; known are"),
        (lambda: Cache().configure("nothing://"), UnknownScheme, "nothing"),
    ],
)
def test_a_cache_that_cannot_work_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_every_error_is_a_cache_error_or_a_type_error():
    for error in (
        ConfigurationError,
        InvalidKey,
        InvalidPolicy,
        InvalidTemplate,
        NoInvalidationPlan,
        UnknownScheme,
    ):
        assert issubclass(error, CacheError)


@pytest.mark.asyncio
async def test_a_cache_is_configured_after_its_functions_were_decorated(clock):
    cache = Cache()

    @cache.cached("k:{n}", ttl=60)
    async def get(n: int):
        return n

    class Repo:
        @cache.cached("r:{self}:{n}", ttl=60)
        async def get(self, n: int):
            return n

        def __str__(self):
            return "repo"

    store = MemoryStore(max_entries=5)
    cache.configure(store, clock=clock, namespace="shop", policy=Policy(beta=0))
    async with cache:
        await get(1)
        assert len(store) == 1
        clock.advance(61)
        await get(1)
        assert get.stats().loads == 2
        assert "shop" in repr(cache)


@pytest.mark.asyncio
async def test_a_cache_in_use_is_not_configured(cache):
    with pytest.raises(ConfigurationError, match="before the cache is first used"):
        cache.configure("memory://")
    await cache.set("k", 1, ttl=60)
    assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_a_configuration_that_fails_changes_nothing(clock):
    class Remote:
        async def get_many(self, keys): ...
        async def set_many(self, items): ...
        async def delete_many(self, keys): ...
        async def aclose(self): ...

    cache = Cache(clock=clock)

    @cache.cached("a:{n}", ttl=60)
    async def fine(n: int) -> int:
        return n

    @cache.cached("b:{n}", ttl=60)
    async def not_for_bytes(n: int) -> "asyncio.Event | ManualClock":
        return n

    with pytest.raises(CacheError):
        cache.configure(Remote())
    async with cache:
        assert await fine(1) == 1
        assert await not_for_bytes(1) == 1
        await cache.invalidate("a:1", "b:1")
        assert await fine(1) == 1
        assert (fine.stats().loads, cache.stats().entries) == (2, 1)


def test_unused_and_shown_a_cache_says_little():
    cache = Cache(MemoryStore(), signing_keys=[b"secret" * 6])
    assert repr(cache) == "<Cache namespace='default' functions=0>"
    assert cache.stats().entries == 0
    assert str(cache.report()).startswith("function")


def test_without_a_running_loop_the_error_says_what_is_needed(cache=None):
    cache = Cache()
    call = cache.get("k")
    with pytest.raises(NoRunningLoop, match=r"call it from async code, or through asyncio.run"):
        call.send(None)


def test_what_a_cache_guarantees_is_told():
    held = Cache().guarantees
    assert [name[:2] for name in held] == ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9"]
    assert held["P1 no stale set"] == "holds in this process"
    assert "no remote store" in held["P5 reads survive the cache"]


@pytest.mark.asyncio
async def test_readers_that_nobody_holds_are_forgotten(cache, turn):
    class Source:
        async def load(self, ids):
            return dict.fromkeys(ids, 1)

    for _ in range(10):
        assert await ReadThrough(cache, Source(), key="r:{}", ttl=60).get(1) == 1
    await turn()
    gc.collect()
    assert len(cache._wirings) <= 1


def test_a_near_store_is_used_although_it_is_empty_and_so_falsy():
    near = MemoryStore()
    assert not near
    assert Cache(MemoryRemote(), near=near)._engine.process.near.store is near
    assert Cache(MemoryRemote(), near=False)._engine.process.near.store is None
    with pytest.raises(ConfigurationError, match="local already"):
        Cache(MemoryStore(), near=near)
