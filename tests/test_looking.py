"""Reads that leave without a task, over stores that answer when and how they like: nobody hangs."""

import asyncio

import pytest
import pytest_asyncio

from acache import Cache, MemoryStore
from acache.errors import CacheClosed, StoreUnavailable
from acache.events import BreakerChanged, StoreFailed
from acache.testing.remote import MemoryRemote

pytestmark = pytest.mark.asyncio


class Odd(MemoryRemote):
    """A store whose reads are answered at once, or by whom a test appoints."""

    def __init__(self, server, *, timeout=1.0):
        super().__init__(server)
        self.timeout = timeout
        self.how = self.answer
        self.asked = []

    def ask(self, keys, tags, reply):
        self.asked.append((keys, tags, reply))
        self.how(keys, tags, reply)

    def answer(self, keys, tags, reply):
        reply.set_result([*map(self.server.get, keys), *map(self.server.peek_version, tags)])

    def keep_silent(self, keys, tags, reply):
        """Tell nobody."""

    def answer_those_who_wait(self):
        """Answer what was asked and is not answered yet."""
        for keys, tags, reply in self.asked:
            if not reply.done():
                self.answer(keys, tags, reply)


class Unheard(Odd):
    """The same without a feed: closing it takes no turn of the loop."""

    listen = None


@pytest.fixture
def store(server):
    return Odd(server)


@pytest_asyncio.fixture
async def cache(store, clock):
    async with Cache(store, clock=clock) as cache:
        yield cache


async def seven():
    return 7


def reading(cache, key="k", load=seven, **options):
    return asyncio.create_task(cache.get_or_load(key, load, **{"ttl": 60, "type": int, **options}))


async def over(*tasks):
    """Wait for all and return what they brought, errors too."""
    async with asyncio.timeout(30):
        return await asyncio.gather(*tasks, return_exceptions=True)


def away(keys, tags, reply):
    reply.set_exception(StoreUnavailable("away"))


async def test_p5_a_store_whose_ask_raises_is_one_that_is_away(cache, store):
    def broken(keys, tags, reply):
        raise ValueError("no such thing")

    store.how = broken
    assert await over(reading(cache), reading(cache, "other")) == [7, 7]
    assert cache.health().remote == "down"


async def test_p5_a_store_that_never_answers_costs_its_timeout_once(server, clock):
    store = Odd(server, timeout=0.02)
    async with Cache(store, clock=clock) as cache:
        store.how = store.keep_silent
        assert await over(reading(cache), reading(cache, "other")) == [7, 7]
        assert await over(reading(cache)) == [7]
        assert len(store.asked) == 1
        assert cache.health().remote == "down"


async def test_p5_a_probe_whose_reader_left_keeps_the_breaker_open_no_longer(cache, store, clock, turn):
    await cache.set("k", 1, ttl=600, type=int)
    store.how = away
    assert await reading(cache) == 7
    clock.advance(2)
    store.how = store.keep_silent
    probe = reading(cache)
    await turn()
    probe.cancel()
    await turn()
    store.answer_those_who_wait()
    store.how = store.answer
    assert await over(reading(cache)) == [1]
    assert cache.health().remote == "up"


async def test_p5_a_probe_whose_loop_ended_keeps_the_breaker_open_no_longer(server, clock, turn):
    store = Odd(server)
    cache = Cache(store, clock=clock)

    async def probe():
        await cache.set("k", 1, ttl=600, type=int)
        store.how = away
        assert await reading(cache) == 7
        clock.advance(2)
        store.how = store.keep_silent
        reading(cache)
        await turn()

    async def read():
        store.how = store.answer
        async with cache:
            return await over(reading(cache))

    await asyncio.to_thread(asyncio.run, probe())
    assert await asyncio.to_thread(asyncio.run, read()) == [1]


async def test_a_store_that_answers_twice_is_heard_once(cache, store):
    events = []
    cache.subscribe(events.append)

    def twice(keys, tags, reply):
        store.answer(keys, tags, reply)
        reply.set_exception(StoreUnavailable("and again"))

    await cache.set("k", 1, ttl=600, type=int)
    store.how = twice
    assert await over(reading(cache)) == [1]
    assert [event for event in events if isinstance(event, StoreFailed | BreakerChanged)] == []


async def test_readers_end_when_the_cache_closes_although_the_store_keeps_silent(store, clock, turn):
    store.how = store.keep_silent
    async with Cache(store, clock=clock) as cache:
        events = []
        cache.subscribe(events.append)
        readers = [reading(cache), reading(cache, "l"), asyncio.create_task(cache.get("m"))]
        await turn()
    assert [type(each) for each in await over(*readers)] == [CacheClosed, CacheClosed, type(None)]
    store.answer_those_who_wait()
    assert [event for event in events if isinstance(event, StoreFailed | BreakerChanged)] == []


async def test_who_has_to_look_twice_hears_that_the_cache_was_closed_meanwhile(server, clock, turn):
    store = Unheard(server)
    async with Cache(store, clock=clock) as cache:
        assert await cache.get_or_load("k", seven, ttl=60, type=int, tags=["t"]) == 7
        cache._engine.process.near.versions.clear()
        store.how = store.keep_silent
        readers = [reading(cache), asyncio.create_task(cache.get("k"))]
        await turn()
        store.answer_those_who_wait()
    assert [type(each) for each in await over(*readers)] == [CacheClosed, CacheClosed]


@pytest.mark.parametrize("again", [False, True], ids=["closed", "opened again"])
async def test_readers_end_when_the_cache_closes_in_the_turn_in_which_they_asked(server, clock, again):
    cache = Cache(Unheard(server), clock=clock)
    await cache.__aenter__()

    async def close():
        await cache.aclose()
        if again:
            await cache.__aenter__()

    read, got, _ = await over(reading(cache), cache.get("m"), close())
    assert (read if again else type(read)) == (7 if again else CacheClosed)
    assert got is None
    await cache.aclose()


async def test_more_keys_than_fit_into_one_request_may_come_from_who_is_told_of_one(store, clock):
    tasks = []

    async def more():
        return await cache.get_or_load("more", seven, ttl=60, type=int)

    def told(event):
        if not tasks:
            tasks.append(asyncio.create_task(more()))

    async with Cache(store, clock=clock) as cache:
        store.how = away
        cache.subscribe(told)
        found = await over(cache.get_or_load_many([f"k{n}" for n in range(1_200)], none, ttl=60))
        assert found == [{}]
        assert await over(*tasks) == [7]


async def none(ids):
    return {}


async def trusted(cache, clock):
    """Wait until near is trusted, and have it so for long."""
    near = cache._engine.process.near
    while near.trusted_until < 0:
        await asyncio.sleep(0.001)
    near.trusted_until = clock.monotonic() + 1_000


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_p1_what_was_invalidated_during_a_look_is_not_what_stands_when_a_load_fails(
    store, clock, turn, load, many
):
    near = MemoryStore(max_entries=10, clock=clock)
    async with Cache(store, near=near, clock=clock) as cache:
        options = {"ttl": 10, "stale_if_error": 1_000, "stale_while_revalidate": 50}
        assert await reading(cache, **options) == 7
        await trusted(cache, clock)
        clock.advance(20 if many else 200)
        store.how = store.keep_silent

        async def all_fail(ids):
            return {id: await load() for id in ids}

        if many:
            first = asyncio.create_task(cache.get_or_load_many(["k", "l"], all_fail, type=int, **options))
        else:
            first = reading(cache, load=load, **options)
        await turn()
        await cache.invalidate("k")
        if many:
            store.answer_those_who_wait()
        else:
            away(*store.asked[-1])
            store.how = away
        await turn()
        load.error = ValueError("down")
        second = reading(cache, load=load, **options)
        await turn()
        load.gate.set()
        assert isinstance((await over(first, second))[1], ValueError)


class Fussy:
    """A stranger's codec, which finds out about a type when it is first to be read, and raises anything."""

    name = "fussy"

    def __init__(self):
        self.refuses = False

    def encode(self, value):
        return repr(value).encode()

    def decode(self, data, type):
        return int(data)

    def decoder(self, type):
        if self.refuses and type is bool:
            raise RuntimeError("no such type")
        return lambda data: self.decode(data, type)


async def test_p4_one_whose_type_the_codec_cannot_read_holds_up_none_of_those_who_asked_with_it(store, clock):
    codec = Fussy()
    async with Cache(store, clock=clock, codec=codec) as cache:
        for key in "ab":
            await cache.set(key, 1, ttl=60, type=int)
        codec.refuses = True
        reads = (cache.get_or_load(key, seven, ttl=60, type=type) for key, type in (("a", bool), ("b", int)))
        async with asyncio.timeout(5):
            _, other = await asyncio.gather(*reads, return_exceptions=True)
        assert other == 1
