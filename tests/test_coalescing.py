"""`@singleflight`: coalesced calls of functions and methods whose results are not cached."""

import asyncio
import inspect

import pytest

from acache import singleflight
from acache.errors import InvalidTemplate, RecursiveLoad, UncacheableArgument


def define(load, **options):
    @singleflight(**options)
    async def fetch(url, retries: int = 1, *, user=None):
        """Fetch it."""
        return url, await load()

    return fetch


async def together(turn, load, *calls):
    tasks = [asyncio.create_task(call) for call in calls]
    await turn()
    load.gate.set()
    return await asyncio.gather(*tasks)


@pytest.mark.asyncio
async def test_equal_calls_share_one_run(load, turn):
    fetch = define(load)
    calls = [fetch("a"), fetch("a", 1), fetch("a", retries=1, user=None), fetch("b")]
    assert await together(turn, load, *calls) == [("a", 1)] * 3 + [("b", 1)]
    assert load.runs == 2


@pytest.mark.asyncio
async def test_arguments_of_different_types_are_different_calls(load, turn):
    fetch = define(load)
    await together(turn, load, *(fetch(url) for url in (1, "1", 1.0, True, None, "")))
    assert load.runs == 6


@pytest.mark.asyncio
async def test_a_template_says_which_arguments_count(load, turn):
    fetch = define(load, key="{url}")
    assert await together(turn, load, fetch("a", 1, user=object()), fetch("a", 2)) == [("a", 1)] * 2
    assert load.runs == 1


@pytest.mark.asyncio
async def test_nothing_is_kept(load):
    fetch = define(load)
    load.gate.set()
    await fetch("a")
    await fetch("a")
    assert load.runs == 2


@pytest.mark.asyncio
async def test_forgetting_lets_the_next_call_run_anew(load, turn):
    fetch = define(load)
    old = asyncio.create_task(fetch("a"))
    await turn()
    fetch.forget("a")
    load.value = 2
    assert await together(turn, load, fetch("a")) == [("a", 2)]
    assert await old == ("a", 1)


def test_it_keeps_the_face_of_the_function(load=None):
    fetch = define(load)
    assert inspect.iscoroutinefunction(fetch)
    assert str(inspect.signature(fetch)) == "(url, retries: int = 1, *, user=None)"
    assert fetch.__doc__ == "Fetch it."


@pytest.mark.asyncio
async def test_methods_coalesce_per_instance(load, turn):
    class Client:
        @singleflight
        async def fetch(self, url: str):
            return self, await load()

    class Child(Client):
        @singleflight
        async def fetch(self, url: str):
            return await super().fetch(url)

    a, b, c = Client(), Client(), Child()
    calls = [a.fetch("u"), a.fetch("u"), b.fetch("u"), Client.fetch(b, "u"), c.fetch("u")]
    assert await together(turn, load, *calls) == [(a, 1), (a, 1), (b, 1), (b, 1), (c, 1)]
    assert load.runs == 3
    assert str(inspect.signature(a.fetch)) == "(url: str)"
    Client.fetch.forget(a, "u")


def test_an_instance_that_has_no_place_to_keep_its_calls_is_told_so():
    class Slotted:
        __slots__ = ()

        @singleflight
        async def fetch(self, url):
            return url

    with pytest.raises(TypeError, match='Slotted keeps no state of a call: add "__dict__" to __slots__'):
        Slotted().fetch("u")


@pytest.mark.asyncio
async def test_a_call_that_waits_for_itself_is_refused():
    @singleflight
    async def again(n: int):
        return await again(n)

    with pytest.raises(RecursiveLoad):
        await asyncio.wait_for(again(1), 5)


@pytest.mark.asyncio
async def test_what_cannot_be_a_key_is_refused(load):
    with pytest.raises(UncacheableArgument, match="argument 'url' of .*fetch"):
        await define(load)(object())
    with pytest.raises(InvalidTemplate, match="nobody"):
        define(load, key="{nobody}")
    with pytest.raises(TypeError, match="@singleflight needs an async function"):
        singleflight(lambda url: url)
    assert load.runs == 0
