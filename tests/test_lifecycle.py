"""A cache's life: loops one after the other, threads, closing, forks; whose context a load runs in."""

import asyncio
import contextvars
import os
import subprocess
import sys
from contextlib import closing, suppress
from random import Random
from textwrap import dedent

import pytest

from acache import MISSING, Cache, MemoryStore
from acache._writing import Fence
from acache.errors import CacheClosed, CacheError, LoadCancelled, NoRunningLoop, WrongLoop
from acache.testing import ManualClock
from acache.testing.remote import PromptRemote

module_level = Cache("memory://")


@module_level.cached("square:{n}", ttl=60)
async def square(n: int) -> int:
    await asyncio.sleep(0)
    return n * n


# --- loops ------------------------------------------------------------------------------------------


def test_a_module_level_cache_serves_one_loop_after_another():
    async def main():
        return [await square(3), await module_level.get("square:3"), square.stats().loads]

    assert [asyncio.run(main()) for _ in range(3)] == [[9, 9, 1]] * 3


class Silent(PromptRemote):
    listen = None


def test_an_answer_that_comes_in_a_loop_that_was_left_holds_nobody_up():
    slow, first, second = Silent(), asyncio.new_event_loop(), asyncio.new_event_loop()
    cache = Cache(slow)

    async def read():
        async with asyncio.timeout(5):
            return await cache.get("k", default="nothing")

    async def begin():
        reading = asyncio.create_task(read())
        for _ in range(3):
            await asyncio.sleep(0)
        return reading

    async def end(reading):
        return await reading

    with closing(first), closing(second):
        slow.network.delays = {"peek": 0.01}
        reading = first.run_until_complete(begin())
        assert second.run_until_complete(read()) == "nothing"
        assert first.run_until_complete(end(reading)) == "nothing"
        assert second.run_until_complete(read()) == "nothing"
        second.run_until_complete(cache.aclose())


def test_what_an_ended_loop_left_behind_is_forgotten():
    cache = Cache(max_loads=1)

    async def leave():
        asyncio.create_task(cache.get_or_load("k", asyncio.Event().wait, ttl=60))
        asyncio.create_task(cache.get_or_load_many(["x"], lambda keys: asyncio.Event().wait(), ttl=60))
        await Fence(cache._engine, ["k"], ["t"]).enter()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def come():
        assert await cache.get("x", MISSING) is MISSING
        assert cache.stats().loading == 0
        return await asyncio.wait_for(
            cache.get_or_load("k", lambda: asyncio.sleep(0, 1), ttl=60, tags=["t"]), 5
        )

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    assert asyncio.run(come()) == 1
    assert asyncio.run(cache.get("k")) == 1, "and the fence of that loop is gone"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_second_running_loop_is_refused_everywhere():
    cache = Cache()

    async def calls():
        async def load(*_):
            return {}

        for call in (
            cache.get("k"),
            cache.get_many(["k"]),
            cache.set("k", 1, ttl=60),
            cache.get_or_load("k", load, ttl=60),
            cache.get_or_load_many(["k"], load, ttl=60),
            cache.invalidate("k"),
            cache.clear(),
            cache.explain("k"),
            cache.writing("k").__aenter__(),
            cache.__aenter__(),
            cache.aclose(),
        ):
            with pytest.raises(WrongLoop, match="in use by another running event loop: make one cache"):
                await call

    async def main():
        await cache.set("k", "mine", ttl=60)
        await asyncio.to_thread(asyncio.run, calls())
        assert await cache.get("k") == "mine"
        await cache.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("verify", [0, 1.0])
def test_a_hit_in_another_loop_is_served_and_a_miss_refused(verify):
    cache = Cache(verify=verify)
    loads = []

    @cache.cached("n:{n}", ttl=60)
    async def read(n: int) -> int:
        loads.append(n)
        return n + len(loads)

    async def elsewhere():
        hits = [await read(1) for _ in range(3)]
        with pytest.raises(WrongLoop):
            await read(2)
        return hits

    async def main():
        first = await read(1)
        assert await asyncio.to_thread(asyncio.run, elsewhere()) == [first] * 3
        await read.invalidate(1)
        with pytest.raises(WrongLoop):
            await asyncio.to_thread(asyncio.run, elsewhere())
        await cache.aclose()

    asyncio.run(main())
    assert loads == [1]


def test_without_a_loop_a_call_says_what_it_needs():
    for call in (square(-1), module_level.get("k"), module_level.aclose()):
        with pytest.raises(NoRunningLoop, match="asyncio.run"):
            call.send(None)


# --- closing ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_closed_cache_refuses_everything_hits_included(clock, load):
    load.gate.set()
    cache = Cache(clock=clock)

    @cache.cached("k", ttl=60)
    async def get():
        return await load()

    @cache.cached_many("n:{}", ttl=60)
    async def many(ids: list[int]):
        return dict.fromkeys(ids, await load())

    async def load_many(keys):
        return dict.fromkeys(keys, 1)

    await get()
    await many([1])
    await cache.aclose()
    await cache.aclose()
    for call in (
        get,
        get.refresh,
        get.invalidate,
        lambda: many([1]),
        lambda: many.refresh([1]),
        lambda: cache.get("k"),
        lambda: cache.get_many(["k"]),
        lambda: cache.set("k", 2, ttl=60),
        lambda: cache.get_or_load("k", load, ttl=60),
        lambda: cache.get_or_load_many(["k"], load_many, ttl=60),
        lambda: cache.invalidate("k"),
        cache.clear,
        lambda: cache.explain("k"),
        cache.writing("k").__aenter__,
    ):
        with pytest.raises(CacheClosed, match="open it again with `async with cache:`"):
            await call()
    assert load.runs == 2
    assert (cache.stats().hits, get.key(), await get.uncached()) == (0, "k", 1)
    async with cache:
        assert await get() == 1
        assert await many([1]) == {1: 1}
        assert await cache.get("k") == 1
        assert load.runs == 3


@pytest.mark.asyncio
async def test_closing_before_first_use_and_opening_again_is_fine(clock):
    cache = Cache(clock=clock)
    await cache.aclose()
    with pytest.raises(CacheClosed):
        await cache.get("k")
    async with cache:
        await cache.set("k", 1, ttl=60)
    async with cache:
        assert await cache.get("k") == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("steps", range(4))
async def test_closing_ends_loads_and_their_waiters_and_leaves_no_task(clock, load, turn, steps):
    cache = Cache(clock=clock, max_loads=2)

    @cache.cached_many("n:{}", ttl=60)
    async def many(ids: list[int]):
        return dict.fromkeys(ids, await load())

    calls = [cache.get_or_load("a", load, ttl=60) for _ in range(3)]
    calls += [many([1, 2]), cache.get_or_load("queued", load, ttl=60), many([3])]
    tasks = [asyncio.create_task(call) for call in calls]
    for _ in range(steps):
        await asyncio.sleep(0)
    await cache.aclose()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    # Without a step only an eager task has called by then.
    assert {type(result) for result in results} <= (
        {CacheClosed, LoadCancelled} if steps == 0 else {LoadCancelled}
    )
    assert issubclass(LoadCancelled, CacheError)
    await turn()
    assert load.running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_closing_ends_refreshes_in_the_background(clock, load, turn):
    cache = Cache(clock=clock)
    await cache.set("k", "old", ttl=1, stale_while_revalidate=60)
    clock.advance(2)
    options = {"ttl": 1, "stale_while_revalidate": 60, "refresh": "background"}
    assert await cache.get_or_load("k", load, **options) == "old"
    await turn()
    assert load.running == 1
    await cache.aclose()
    assert load.running == 0


@pytest.mark.asyncio
async def test_a_close_that_was_cancelled_can_be_done_again(clock, turn):
    cache = Cache(clock=clock)

    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()  # until it is cancelled again

    caller = asyncio.create_task(cache.get_or_load("k", stubborn, ttl=60))
    await turn()
    closing = asyncio.create_task(cache.aclose())
    await turn()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert not caller.done()
    await cache.aclose()
    assert isinstance((await asyncio.gather(caller, return_exceptions=True))[0], LoadCancelled)


@pytest.mark.asyncio
async def test_a_load_may_close_the_cache_it_runs_in(clock):
    cache = Cache(clock=clock)

    async def load():
        await cache.aclose()

    with suppress(LoadCancelled):  # an eager task has done it before anybody owns it
        await asyncio.wait_for(cache.get_or_load("k", load, ttl=60), 5)
    await cache.aclose()
    with pytest.raises(CacheClosed):
        await cache.get("k")


@pytest.mark.asyncio
async def test_a_block_closes_the_cache_also_after_an_error(clock):
    with pytest.raises(KeyError):
        async with Cache(clock=clock) as cache:
            raise KeyError
    with pytest.raises(CacheClosed):
        await cache.get("k")


def test_what_was_closed_in_one_loop_opens_in_the_same_one_again():
    cache = Cache()

    @cache.cached("k", ttl=60)
    async def get():
        return 1

    async def use():
        async with cache:
            await get()
            return (await get()), get.stats().hits

    async def close():
        await cache.aclose()

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(use()) == (1, 1)
    asyncio.run(close())
    assert loop.run_until_complete(use()) == (1, 3)
    loop.close()


# --- whose context ----------------------------------------------------------------------------------

USER = contextvars.ContextVar("user", default="nobody")
TENANT = contextvars.ContextVar("tenant", default="none")
TRACE = contextvars.ContextVar("trace")


@pytest.mark.asyncio
async def test_a_load_does_not_see_the_context_of_its_first_caller(cache):
    async def load(*_):
        return {"a": (USER.get(), TENANT.get())}

    USER.set("Ann")
    assert await cache.get_or_load("k", load, ttl=60) == {"a": ("nobody", "none")}
    assert await cache.get_or_load_many(["a"], load, ttl=60) == {"a": ("nobody", "none")}


@pytest.mark.asyncio
async def test_a_load_sees_what_the_cache_is_told_to_inherit(clock):
    TENANT.set("at the making")
    cache = Cache(clock=clock, inherit_context=[USER, TRACE])

    @cache.cached_many("n:{}", ttl=60)
    async def many(ids: list[int]):
        return dict.fromkeys(ids, (USER.get(), TENANT.get(), TRACE.get("unset")))

    async def load():
        assert await many([1]) == {1: ("Ann", "at the making", "unset")}
        return USER.get(), TENANT.get(), TRACE.get("unset")

    async with cache:
        USER.set("Ann")
        TENANT.set("later")
        assert await cache.get_or_load("k", load, ttl=60) == ("Ann", "at the making", "unset")
        TRACE.set("trace")
        assert await many([2]) == {2: ("Ann", "at the making", "trace")}


@pytest.mark.asyncio
async def test_what_a_load_sets_stays_in_it(cache):
    async def load():
        USER.set("load")
        return 1

    await cache.get_or_load("a", load, ttl=60)
    assert USER.get() == "nobody"
    assert await cache.get_or_load("b", lambda: asyncio.sleep(0, USER.get()), ttl=60) == "nobody"


# --- parts ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_two_caches_share_nothing(clock, load):
    load.gate.set()
    async with Cache(clock=clock) as one, Cache(clock=clock) as two:
        await one.set("k", 1, ttl=60)
        assert await two.get("k", MISSING) is MISSING
        await two.get_or_load("k", load, ttl=60)
        await one.clear()
        assert await two.get("k") == 1


@pytest.mark.asyncio
async def test_a_store_reads_the_clock_of_its_cache(clock):
    store = MemoryStore(max_entries=2)
    async with Cache(store, clock=clock) as cache:
        await cache.set("short", 1, ttl=1)
        await cache.set("long", 1, ttl=60)
        clock.advance(2)
        await cache.set("new", 1, ttl=60)
        assert await cache.get_many(["short", "long", "new"]) == {"long": 1, "new": 1}


def test_random_numbers_and_ids_may_come_from_outside():
    ids = iter([b"1" * 16, b"2" * 16])
    cache = Cache(clock=ManualClock(), rng=Random(1), ids=lambda: next(ids))

    async def main():
        async with cache.writing("k"):
            assert list(cache._engine.authority._key_claims.of("k").tokens) == [b"1" * 16]

    asyncio.run(main())


# --- processes --------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_parent_and_child_go_on_each_for_itself():
    program = """
        import asyncio, os
        from acache import Cache

        cache = Cache(max_loads=1)

        @cache.cached("k:{n}", ttl=60)
        async def get(n: int):
            await asyncio.sleep(0)
            return os.getpid(), n

        async def use():
            one, two = await get(1), await get(2)
            await cache.invalidate("k:2")
            return one, two, [cache._engine.process.draw() for _ in range(3)]

        async def fork_inside():
            asyncio.get_running_loop().slow_callback_duration = 60  # a fork takes as long as it takes
            before = await get(1)
            waiting = asyncio.create_task(cache.get_or_load("slow", lambda: asyncio.sleep(0.2, "slow"), ttl=60))
            await asyncio.sleep(0)
            pid = os.fork()
            if pid == 0:  # it has a copy of the running loop, of which it can make nothing
                os._exit(asyncio.run(asyncio.wait_for(get(7), 5))[1] != 7)
            status = await asyncio.to_thread(os.waitpid, pid, 0)
            return before, status[1], await waiting, await get(1)

        # before the fork, in a loop that has ended
        first = asyncio.run(use())
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, repr(asyncio.run(use())).encode())
            os._exit(0)
        assert os.wait()[1] == 0
        child = eval(os.read(read, 10_000))
        parent = asyncio.run(use())
        assert child[0] == parent[0] == first[0], "what was cached went along"
        assert child[1] != parent[1], "what was loaded since is each one's own"
        assert child[2] != parent[2], "and so is chance"

        # inside a running loop: the child starts one of its own
        before, status, slow, after = asyncio.run(fork_inside())
        assert (status, slow, before) == (0, "slow", after), (before, status, slow, after)
        print("fine")
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)
