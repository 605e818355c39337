"""What a cached function looks like from outside, and what its own verbs do."""

import asyncio
import inspect
from functools import partial
from types import MappingProxyType
from typing import Annotated

import pytest

from acache import MISSING, Cache, Policy, loading
from acache.errors import (
    DuplicateTemplate,
    InvalidPolicy,
    InvalidTemplate,
    NoInvalidationPlan,
    UncacheableArgument,
)


@pytest.fixture
def get_user(cache):
    @cache.cached("user:{user_id}", ttl=60, tags=["user:{user_id}", "users"])
    async def get_user(user_id: int, /, name: str = "Ann", *, upper: bool = False) -> str:
        """Return a user."""
        get_user.calls.append((user_id, name, upper))
        return name.upper() if upper else name

    get_user.calls = []
    return get_user


# --- the wrapper is the function --------------------------------------------------------------------


def test_a_cached_function_is_a_coroutine_function_with_the_same_face(get_user):
    assert inspect.iscoroutinefunction(get_user)
    assert asyncio.iscoroutinefunction(get_user)
    assert (
        str(inspect.signature(get_user))
        == "(user_id: int, /, name: str = 'Ann', *, upper: bool = False) -> str"
    )
    assert (get_user.__name__, get_user.__doc__) == ("get_user", "Return a user.")
    assert get_user.__module__ == __name__
    assert get_user.__annotations__ == {"user_id": int, "name": str, "upper": bool, "return": str}
    assert inspect.unwrap(get_user) is get_user.uncached


@pytest.mark.asyncio
async def test_it_can_be_made_a_task_and_a_partial(get_user):
    assert await asyncio.create_task(get_user(1)) == "Ann"
    assert await partial(get_user, 2)() == "Ann"


@pytest.mark.asyncio
async def test_defaults_positions_and_keywords_mean_what_they_mean_in_the_function(cache):
    @cache.cached("f:{a}:{b}:{rest}:{c}:{more}", ttl=60)
    async def f(a, b=2, *rest, c=MappingProxyType({}), **more):
        return a, b, rest, c, more

    assert await f(1, c=1) == (1, 2, (), 1, {})
    assert await f(b=2, a=1, c=1) == (1, 2, (), 1, {})
    assert f.stats().loads == 1
    assert await f(1, 2, 3, 4, c=5, d=6) == (1, 2, (3, 4), 5, {"d": 6})
    assert f.stats().loads == 2
    for wrong in [lambda: f(), lambda: f(1, a=2), lambda: f.key()]:
        with pytest.raises(TypeError, match="f.. "):
            wrong()


def test_a_default_is_kept_by_reference(cache):
    marker = object()

    @cache.cached("f:{a}", ttl=60)
    async def f(a, b=marker):
        return b

    assert inspect.signature(f).parameters["b"].default is marker
    assert f.__defaults__ == (marker,)


@pytest.mark.asyncio
async def test_no_name_of_a_parameter_is_taken(cache):
    names = "key lookup entry now near miss function wrapper left every rounds tags instance version partial"

    @cache.cached("f:{key}", ttl=60)
    async def f(key, lookup, entry, now, near, miss, function, wrapper, left, every, version, sample, finish):
        return key, lookup, entry, now, near, miss, function, wrapper, left, every, version, sample, finish

    given = tuple(range(13))
    assert names
    for _ in range(2):
        assert await f(*given) == given


# --- reading ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_second_call_is_a_hit(get_user):
    assert [await get_user(1), await get_user(1), await get_user(2)] == ["Ann"] * 3
    assert get_user.calls == [(1, "Ann", False), (2, "Ann", False)]
    assert (get_user.stats().hits, get_user.stats().misses, get_user.stats().loads) == (1, 2, 2)


@pytest.mark.asyncio
async def test_what_the_template_does_not_name_does_not_count(get_user):
    assert await get_user(1, "Bob") == "Bob"
    assert await get_user(1, "Cid", upper=True) == "Bob"


@pytest.mark.asyncio
async def test_none_is_a_value_like_any_other(cache):
    calls = []

    @cache.cached("nothing", ttl=60)
    async def nothing():
        calls.append(1)

    assert [await nothing(), await nothing(), calls] == [None, None, [1]]
    assert await cache.get("nothing", MISSING) is None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "alive", "gone"),
    [
        ({"ttl": 300}, 59, 61),
        ({"ttl": 30}, 29, 31),
        ({"ttl": 300, "missing_ttl": 5}, 4, 6),
        ({"ttl": 5, "missing_ttl": 50}, 49, 51),
        ({"ttl": None}, 59, 61),
    ],
)
async def test_a_missing_row_lives_for_its_own_time(cache, clock, options, alive, gone):
    @cache.cached("none", **options)
    async def none():
        return None

    await none()
    clock.advance(alive)
    await none()
    assert none.stats().loads == 1
    clock.advance(gone - alive)
    await none()
    assert none.stats().loads == 2


@pytest.mark.asyncio
async def test_a_missing_row_is_never_cached_if_told_so(cache):
    @cache.cached("none", ttl=60, missing_ttl=0)
    async def none():
        return None

    await none()
    await none()
    assert none.stats().loads == 2


@pytest.mark.asyncio
async def test_a_value_expires_after_its_ttl(cache, clock, load):
    @cache.cached("k", ttl=10, beta=0)
    async def get():
        return await load()

    load.gate.set()
    assert await get() == 1
    load.value = 2
    clock.advance(9.99)
    assert await get() == 1
    clock.advance(0.01)
    assert await get() == 2


@pytest.mark.asyncio
async def test_until_invalidated_is_for_ever(cache, clock):
    @cache.cached("k:{a}", ttl=None)
    async def get(a):
        return a

    await get(1)
    clock.advance(10**9)
    await get(1)
    assert get.stats().loads == 1


@pytest.mark.asyncio
async def test_a_predicate_keeps_what_it_refuses_from_being_stored(cache, load):
    @cache.cached("k", ttl=60, cache_if=lambda value: value != 1)
    async def get():
        return await load()

    load.gate.set()
    assert [await get(), await get()] == [1, 1]
    load.value = 2
    assert [await get(), await get(), load.runs] == [2, 2, 3]


@pytest.mark.asyncio
async def test_a_predicate_that_raises_is_an_error_of_the_load(cache):
    @cache.cached("k", ttl=60, cache_if=lambda value: value["no"])
    async def get():
        return {}

    @cache.cached_many("m:{}", ttl=60, cache_if=lambda value: value["no"])
    async def many(ids: list[int]):
        return dict.fromkeys(ids, {})

    for call in (get, get, lambda: many([1, 2])):
        with pytest.raises(KeyError):
            await asyncio.wait_for(call(), 5)


@pytest.mark.asyncio
async def test_a_value_of_another_version_is_a_miss_also_for_a_function_defined_again(cache, load):
    def define(version):
        @cache.cached("k:{a}", ttl=60, version=version)
        async def get(a):
            return await load()

        return get

    load.gate.set()
    old = define("1")
    assert await old(7) == 1
    load.value = 2
    new = define("2")
    assert await new(7) == 2
    assert await new(7) == 2
    assert new.stats().misses == 2, "the figures go on"
    assert (await cache.explain("k:7")).last_miss == "stored by version '1', wanted '2'"


@pytest.mark.asyncio
async def test_nothing_of_another_version_is_served_even_if_the_load_fails(cache, clock, load):
    await cache.set("k", "other", ttl=1, version="1", stale_if_error=600)
    seen = []

    @cache.cached("k", ttl=1, version="2", stale_if_error=600)
    async def get():
        seen.append(loading().current)
        return await load()

    load.error = ValueError("down")
    load.gate.set()
    with pytest.raises(ValueError):
        await get()
    with pytest.raises(ValueError):
        await get.refresh()
    assert seen == [None, None]


# --- its own verbs ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_invalidate_drops_one_result(get_user):
    await get_user(1)
    await get_user(2)
    await get_user.invalidate(1)
    await get_user(1)
    await get_user(2)
    assert (get_user.stats().loads, get_user.stats().invalidations) == (3, 1)


@pytest.mark.asyncio
async def test_tags_drop_what_carries_them(cache, get_user):
    await get_user(1)
    await get_user(2)
    await cache.invalidate(tags=["user:1"])
    await get_user(1)
    await get_user(2)
    assert get_user.stats().loads == 3
    await cache.invalidate(tags=["users"])
    await get_user(1)
    await get_user(2)
    assert get_user.stats().loads == 5


@pytest.mark.asyncio
async def test_refresh_loads_whatever_is_cached_and_stores_it(cache, load):
    @cache.cached("k:{a}", ttl=60)
    async def get(a):
        return await load()

    load.gate.set()
    assert await get(1) == 1
    load.value = 2
    assert await get.refresh(1) == 2
    assert await get(1) == 2
    assert await get.refresh(a=3) == 2


@pytest.mark.asyncio
async def test_refresh_joins_a_load_that_runs(cache, load, turn):
    @cache.cached("k", ttl=60)
    async def get():
        return await load()

    tasks = [asyncio.create_task(call()) for call in (get, get.refresh, get.refresh)]
    await turn()
    load.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert load.runs == 1


@pytest.mark.asyncio
async def test_uncached_calls_the_function_itself(cache, get_user):
    assert await get_user.uncached(1) == "Ann"
    assert await get_user.uncached(1) == "Ann"
    assert len(get_user.calls) == 2
    assert await cache.get("user:1", MISSING) is MISSING


@pytest.mark.asyncio
async def test_key_is_what_the_result_is_stored_under(cache, get_user):
    await get_user(1, "Bob")
    assert get_user.key(1) == get_user.key(1, "Bob", upper=True) == "user:1"
    assert await cache.get(get_user.key(1)) == "Bob"


@pytest.mark.asyncio
async def test_a_long_key_is_one_key_everywhere(cache):
    @cache.cached("page:{url}", ttl=60, tags=["page:{url}"])
    async def page(url: str):
        return len(url)

    url = "a" * 2_000
    assert await page(url) == 2_000
    assert await page(url) == 2_000
    assert page.stats().loads == 1
    key = page.key(url)
    assert len(key) == 250
    assert await cache.get(key) == 2_000
    assert cache.key("page:{}", url) == key
    await page.invalidate(url)
    assert await cache.get(key, MISSING) is MISSING
    await page(url)
    await cache.invalidate(tags=[cache.tag("page:{}", url)])
    assert await cache.get(key, MISSING) is MISSING


@pytest.mark.asyncio
async def test_keys_of_hand_and_of_decorators_meet(cache, get_user):
    await cache.set("user:1", "by hand", ttl=60)
    assert await get_user(1) == "by hand"
    await get_user(2)
    assert await cache.get("user:2") == "Ann"


# --- how key() and tag() read a template ------------------------------------------------------------


def test_key_and_tag_build_what_the_decorators_build(cache):
    @cache.cached("order:{b}:{a}", ttl=60, tags=["by:{a}", "both:{b}:{a}"])
    async def order(a: int, b: str):
        return a, b

    assert order.key(1, "x") == "order:x:1" == cache.key("order:{}:{}", "x", 1)
    assert cache.key("order:{b}:{a}", a=1, b="x") == "order:x:1"
    assert cache.key("order:{b}:{a}", "x", a=True) == "order:x:1"
    assert order.key(1, "1") == cache.key("order:{}:{}", "1", True)
    assert cache.tag("by:{}", True) == cache.tag("by:{a}", a=1) == "by:1"
    assert cache.tag("both:{}:{}", "True", True) == "both:True:1"


def test_without_a_function_the_value_says_its_type(cache):
    assert cache.key("free:{}", 1) != cache.key("free:{}", "1")
    assert cache.key("free:{}", 1) != cache.key("free:{}", True)
    assert cache.tag("free:{}", 1) != cache.tag("free:{}", "1")


def test_what_has_no_text_is_refused_with_the_functions_words(cache):
    @cache.cached("u:{who}", ttl=60, tags=["t:{who}"])
    async def get(who: object):
        return who

    for build in (partial(cache.key, "u:{}"), partial(cache.tag, "t:{}"), get.key):
        with pytest.raises(UncacheableArgument, match=r"argument 'who' of .*get"):
            build(object())


@pytest.mark.parametrize(
    ("args", "named"), [((), {}), ((1, 2), {}), ((1,), {"user_id": 1}), ((), {"nobody": 1})]
)
def test_a_wrong_number_of_values_is_refused(cache, get_user, args, named):
    for build in (cache.key, cache.tag):
        with pytest.raises(TypeError, match="takes 1 value, one for each field"):
            build("user:{user_id}", *args, **named)


def test_methods_and_batch_functions_type_their_templates_too(cache):
    class Repo:
        tenant = "t"

        @cache.cached("repo:{self.tenant}:{number}", ttl=60)
        async def get(self, number: int):
            return number

    @cache.cached_many("many:{}", ttl=60, tags=["many:{}"])
    async def many(ids: list[int]):
        return {}

    assert Repo().get.key(True) == "repo:t:1" == cache.key("repo:{}:{}", "t", True)
    assert many.key(True) == "many:1" == cache.key("many:{}", True) == cache.tag("many:{}", True)


@pytest.mark.asyncio
async def test_arguments_that_are_hard_to_tell_apart_by_a_dict_are_told_apart(cache):
    @cache.cached("n:{n}", ttl=60)
    async def number(n: Annotated[int, "a number"]):
        return n

    @cache.cached("o:{n}", ttl=60)
    async def anything(n):
        return n

    assert [await number(1), await number(True), await number(1.0)][:2] == [1, 1]
    assert [await anything(n) for n in (1, True, 1.0, "1")] == [1, True, 1.0, "1"]
    assert anything.stats().loads == 4


# --- refused at decoration --------------------------------------------------------------------------


def test_two_functions_may_not_share_a_template(cache):
    @cache.cached("user:{user_id}", ttl=60)
    async def get_user(user_id):
        return user_id

    with pytest.raises(DuplicateTemplate, match="other and .*get_user would share the keys 'user:{}'"):

        @cache.cached("user:{name}", ttl=60)
        async def other(name):
            return name

    assert get_user.key(1) == "user:1"
    assert cache.stats().entries == 0


@pytest.mark.asyncio
async def test_after_a_refused_function_the_cache_goes_on_as_before(cache, get_user):
    await get_user(1)
    for decorate in (
        cache.cached("user:{x}", ttl=60),
        cache.cached("y:{y}", ttl=60),
        cache.cached("z:{x}"),
        cache.cached(ttl=None),
    ):
        with pytest.raises((DuplicateTemplate, InvalidTemplate, NoInvalidationPlan)):

            @decorate
            async def refused(x):
                return x

    assert await get_user(1) == "Ann"
    assert get_user.stats().hits == 1
    assert [row.name for row in cache.report().functions] == [f"{__name__}.get_user.<locals>.get_user"]

    @cache.cached("z:{x}", ttl=60)
    async def allowed(x):
        return x

    assert await allowed(1) == 1


@pytest.mark.asyncio
async def test_a_function_defined_again_takes_the_place_of_its_former_self(cache):
    def define(result):
        @cache.cached("k:{a}", ttl=60)
        async def again(a):
            return result

        return again

    old, new = define("old"), define("new")
    assert await old(1) == "old"
    assert await new(1) == "old", "the same key"
    assert await new(2) == "new"
    assert len(cache.report().functions) == 1


@pytest.mark.asyncio
async def test_functions_of_a_factory_with_templates_of_their_own_stay_connected(clock):
    cache = Cache(clock=clock)

    def define(kind):
        @cache.cached(f"{kind}:{{a}}", ttl=60)
        async def get(a):
            return kind, a

        return get

    one, two = define("one"), define("two")
    cache.configure("memory://?max_entries=7")
    async with cache:
        assert await one(1) == ("one", 1)
        assert await two(1) == ("two", 1)
        assert cache.stats().entries == 2
        await cache.invalidate("one:1")
        assert await cache.get("one:1", MISSING) is MISSING
        for _ in range(3):
            await one(1)
            await two(1)
        assert one.stats().hits == 5, "they share a name, and so a row"


@pytest.mark.asyncio
async def test_one_function_may_be_cached_twice_and_a_partial_at_all(cache):
    async def get(a, b=0):
        return a, b

    one, two = cache.cached("one:{a}", ttl=60)(get), cache.cached("two:{a}:{b}", ttl=60)(get)
    three = cache.cached("three:{b}", ttl=60)(partial(get, 7))
    assert [await one(1), await two(1, 2), await three(b=3), await get(1)] == [(1, 0), (1, 2), (7, 3), (1, 0)]
    assert (one.key(1), two.key(1, 2), three.key(b=3)) == ("one:1", "two:1:2", "three:3")


@pytest.mark.asyncio
async def test_a_function_and_a_batch_function_may_share_a_template(cache):
    @cache.cached("user:{user_id}", ttl=60)
    async def one(user_id: int):
        return f"user {user_id}"

    @cache.cached_many("user:{}", ttl=60)
    async def many(ids: list[int]):
        return {number: f"user {number} of many" for number in ids}

    assert await one(1) == "user 1"
    assert await many([1, 2]) == {1: "user 1", 2: "user 2 of many"}
    assert await one(2) == "user 2 of many"
    await one.invalidate(2)
    assert await many([2]) == {2: "user 2 of many"}
    assert (one.stats().loads, many.stats().loads) == (1, 2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, NoInvalidationPlan, "say how long the value is good for, ttl=<seconds>"),
        ({"policy": Policy(beta=2)}, NoInvalidationPlan, "ttl="),
        ({"ttl": -1}, InvalidPolicy, "ttl must be zero or more seconds, not -1"),
        ({"ttl": float("nan")}, InvalidPolicy, "ttl must be zero or more seconds, not nan"),
        ({"policy": 60}, TypeError, r"policy= takes a Policy, such as Policy\(ttl=60\), not int"),
        ({"ttl": 60, "stale_while_revalidate": -1}, InvalidPolicy, "stale_while_revalidate"),
        ({"ttl": 60, "ttll": 60}, TypeError, "unknown option 'ttll'; did you mean 'ttl'"),
        ({"ttl": 60, "tags": "users"}, TypeError, r"tags takes an iterable of str.*write tags=\['users'\]"),
        ({"ttl": 60, "tags": None}, TypeError, "tags takes an iterable of str, not NoneType"),
        ({"ttl": 60, "tags": ["{nobody}"]}, InvalidTemplate, "nobody"),
        ({"ttl": 60, "tags": [3]}, TypeError, "tags: a template is a str such as .*, not int"),
    ],
)
def test_what_makes_no_sense_is_refused_at_decoration(cache, options, error, words):
    for decorator in (cache.cached, cache.cached_many):
        with pytest.raises(error, match=words):

            @decorator("k:{}" if decorator == cache.cached_many else "k:{a}", **options)
            async def get(a: list[int]):
                return a


@pytest.mark.parametrize(
    ("template", "error", "words"),
    [
        ("user:{nobody}", InvalidTemplate, "names {nobody}, which is no parameter"),
        ("user:{usr_id}", InvalidTemplate, "did you mean {user_id}"),
        ("", InvalidTemplate, "is empty"),
        ("user:{}", InvalidTemplate, "field without a name"),
        (3, TypeError, "template: a template is a str such as .*, not int"),
    ],
)
def test_a_template_that_does_not_fit_is_refused_at_decoration(cache, template, error, words):
    with pytest.raises(error, match=words):

        @cache.cached(template, ttl=60)
        async def get(user_id):
            return user_id


def test_the_template_is_not_forgotten(cache):
    with pytest.raises(TypeError, match=r"write @cache.cached\("):

        @cache.cached
        async def get(a):
            return a


@pytest.mark.asyncio
async def test_an_argument_without_text_is_refused_at_the_call_and_disturbs_nothing(cache):
    @cache.cached(ttl=60)
    async def get(thing):
        return thing

    with pytest.raises(UncacheableArgument, match=r"argument 'thing' of .*get.*template"):
        await get(object())
    assert await get(1) == 1
    assert cache.stats().misses == 1


def test_a_sync_function_is_refused(cache):
    for decorator in (cache.cached("a:{x}", ttl=1), cache.cached_many("b:{}", ttl=1)):
        with pytest.raises(TypeError, match="needs an async function; write `async def .*sync`"):

            @decorator
            def sync(x):
                return x

    async def stream(x):
        yield x

    with pytest.raises(TypeError, match="needs an async function"):
        cache.cached("c:{x}", ttl=1)(stream)


# --- counting ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_every_hit_is_counted_and_one_in_1024_is_timed(cache, get_user):
    await get_user(1)
    for hits in (1, 1023, 1024, 1025, 2048, 2049, 3000):
        while get_user.stats().hits < hits:
            before = get_user.stats().hits
            assert await get_user(1) == "Ann"
            assert get_user.stats().hits == before + 1
    (row,) = cache.report().functions
    assert row.stats.hits == 3000
    assert cache._engine.process.tallies[row.name].hit_time.count == 2
    assert get_user.calls == [(1, "Ann", False)]


@pytest.mark.asyncio
async def test_more_arguments_than_are_remembered_keep_their_keys(cache, monkeypatch):
    monkeypatch.setattr("acache._key_memo.LIMIT", 2)
    loaded = []

    @cache.cached("sum:{a}:{b}", ttl=60)
    async def add(a: int, b: int) -> int:
        loaded.append((a, b))
        return a + b

    pairs = [(a, b) for a in (-1, 0, 1, 2) for b in (-1, 0, 1, True)]
    for _ in range(2):
        for a, b in pairs:
            assert await add(a, b) == a + b
            assert await cache.get(add.key(a, b)) == a + b
    assert len(loaded) == len({add.key(a, b) for a, b in pairs}) == 12
