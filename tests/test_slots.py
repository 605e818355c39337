"""How many loads run at once, and that loads inside loads never wait for the slot of their own waiter."""

import asyncio

import pytest

from acache import Cache
from acache._singleflight import Node
from acache._slots import Slots
from acache.errors import ConfigurationError, Overloaded


class Source:
    """Counts how many loads run at once."""

    def __init__(self):
        self.running = self.most = self.runs = 0
        self.gate = asyncio.Event()

    async def __call__(self, value=1):
        self.runs += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        return value


@pytest.fixture
def source():
    return Source()


def reads(cache, load, keys, **options):
    return [asyncio.create_task(cache.get_or_load(key, load, ttl=60, **options)) for key in keys]


@pytest.mark.asyncio
async def test_no_more_than_max_loads_run_and_the_rest_wait_their_turn(clock, source, turn):
    async with Cache(clock=clock, max_loads=3) as cache:
        tasks = reads(cache, source, "abcdefgh")
        await turn()
        assert (source.running, cache._engine.process.slots.queued) == (3, 5)
        source.gate.set()
        assert await asyncio.gather(*tasks) == [1] * 8
        assert (source.most, source.runs) == (3, 8)


@pytest.mark.asyncio
async def test_past_max_queue_a_load_is_refused_and_nothing_else_is(clock, source, turn):
    async with Cache(clock=clock, max_loads=1, max_queue=1) as cache:
        tasks = reads(cache, source, "abc")
        await turn()
        with pytest.raises(Overloaded, match="raise max_loads or max_queue"):
            await tasks[2]
        joined = reads(cache, source, "ab")
        await cache.set("old", "old", ttl=1, stale_if_error=60)
        clock.advance(2)
        served = await cache.get_or_load("old", source, ttl=60, stale_if_error=60)
        source.gate.set()
        assert await asyncio.gather(*tasks[:2], *joined) == [1] * 4
        assert (served, source.runs) == ("old", 2)
        assert await cache.get_or_load("c", source, ttl=60) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["error", "cancelled"])
async def test_a_slot_is_given_back_however_a_load_ends(clock, source, turn, ending):
    async def fail():
        await source()
        raise ValueError

    async with Cache(clock=clock, max_loads=1) as cache:
        for _ in range(3):
            tasks = reads(cache, fail, "ab")
            await turn()
            if ending == "cancelled":
                for task in tasks:
                    task.cancel()
            else:
                source.gate.set()
            await asyncio.gather(*tasks, return_exceptions=True)
            await turn()
        source.gate.set()
        assert await asyncio.wait_for(cache.get_or_load("c", source, ttl=60), 5) == 1


@pytest.mark.asyncio
async def test_one_who_leaves_the_queue_is_skipped(clock, source, turn):
    async with Cache(clock=clock, max_loads=1) as cache:
        first, second, third = reads(cache, source, "abc")
        await turn()
        second.cancel()
        await turn()
        assert cache._engine.process.slots.queued == 1
        source.gate.set()
        assert (await first, await third) == (1, 1)
        assert source.runs == 2


@pytest.mark.asyncio
async def test_a_slot_that_was_given_to_one_who_just_left_goes_to_the_next(turn):
    slots = Slots(asyncio.get_running_loop(), max_loads=1, max_queue=9)
    order = []

    async def work(name):
        async with slots.taken(Node()):
            order.append(name)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # a has ended and handed its slot to b, who has not noticed yet
    tasks[1].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert order[0] == "a"
    assert order[-1] == "c"
    async with slots.taken(Node()):
        assert slots.queued == 0


# --- loads inside loads -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_load_inside_a_load_runs_in_its_slot(clock):
    async with Cache(clock=clock, max_loads=1) as cache:

        @cache.cached("f:{n}", ttl=60)
        async def factorial(n: int):
            return n * await factorial(n - 1) if n else 1

        @cache.cached_many("g:{}", ttl=60)
        async def many(ids: list[int]):
            return {n: await factorial(n) for n in ids}

        assert await asyncio.wait_for(factorial(5), 5) == 120
        assert await asyncio.wait_for(cache.get_or_load("m", lambda: many([3, 4]), ttl=60), 5) == {
            3: 6,
            4: 24,
        }


@pytest.mark.asyncio
@pytest.mark.parametrize("head_start", range(6))
async def test_a_load_lends_its_slot_to_the_one_that_it_comes_to_wait_for(clock, turn, head_start):
    """However far the other has come: not begun, queued, or queued with its batch."""
    async with Cache(clock=clock, max_loads=1) as cache:
        parts = asyncio.Event()

        @cache.cached("part", ttl=60)
        async def part():
            await asyncio.sleep(0)
            return "part"

        @cache.cached_many("id:{}", ttl=60)
        async def many(ids: list[int]):
            await asyncio.sleep(0)
            return dict.fromkeys(ids, "row")

        async def whole():
            await parts.wait()
            return [await part(), await many([1, 2])]

        main = asyncio.create_task(cache.get_or_load("whole", whole, ttl=60))
        await turn()
        others = [asyncio.create_task(call) for call in (part(), many([2, 3]))]
        for _ in range(head_start):
            await asyncio.sleep(0)
        parts.set()
        assert await asyncio.wait_for(main, 5) == ["part", {1: "row", 2: "row"}]
        assert await asyncio.wait_for(asyncio.gather(*others), 5) == ["part", {2: "row", 3: "row"}]


@pytest.mark.asyncio
async def test_what_a_load_left_running_has_no_slot_to_run_in(clock, source, turn):
    async with Cache(clock=clock, max_loads=1) as cache:
        left = []

        async def leaves():
            left.append(asyncio.create_task(later()))

        async def later():
            await turn()
            return await asyncio.gather(*(cache.get_or_load(key, source, ttl=60) for key in "xyz"))

        await cache.get_or_load("first", leaves, ttl=60)
        for _ in range(3):
            await turn()
        assert source.running == 1
        source.gate.set()
        assert await left[0] == [1, 1, 1]


@pytest.mark.parametrize("options", [{"max_loads": 0}, {"max_loads": -1}, {"max_queue": 0}])
def test_a_bound_that_lets_nothing_through_is_refused(options):
    with pytest.raises(ConfigurationError, match=f"{next(iter(options))}=.* must be more than zero"):
        Cache(**options)
