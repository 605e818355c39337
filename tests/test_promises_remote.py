"""The promises over a remote store, each edge by itself: what comes back, what is told, what a store that
lies, fails or is away may cost. Interleavings are searched in `scenarios/`."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from acache import MISSING, Cache, MemoryStore, loading
from acache.errors import CacheClosed, CodecError, InvalidationFailed, PartlyUnavailable
from acache.events import (
    BreakerChanged,
    EntryRejected,
    InvalidationLanded,
    InvalidationPending,
    RoundTripFailed,
    StoreFailed,
)
from acache.testing.network import Network
from acache.testing.remote import LeasingRemote, MemoryRemote, PlainRemote

KEYS = (b"first signing key, 32 bytes long", b"another signing key, as long too")


@pytest_asyncio.fixture
async def open_cache(server, clock):
    """Open caches over one server, each with a network of its own and its events collected."""
    caches = []

    async def opened(kind=MemoryRemote, *, store=None, **options):
        network = Network()
        store = kind(server, network=network) if store is None else store
        cache = Cache(store, **{"clock": clock, **options})
        cache.network, cache.events = network, []
        cache.subscribe(cache.events.append)
        await cache.__aenter__()
        caches.append(cache)
        return cache

    yield opened
    for cache in caches:
        await cache.aclose()


def told(cache, kind):
    """Return the events of *kind*."""
    return [event for event in cache.events if isinstance(event, kind)]


def answers(value):
    async def load():
        return value

    return load


async def trusted(cache):
    """Wait until near is trusted."""
    cache._engine.process.enter()
    process = cache._engine.process
    while process.clock.monotonic() >= process.near.trusted_until:
        await asyncio.sleep(0.001)


# --- P8: what comes back is what was stored ---------------------------------------------------------


@dataclass
class Point:
    x: int


@dataclass
class Point3(Point):
    z: int = 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("value", "into"),
    [
        pytest.param({1, 2}, Any, id="a set under Any"),
        pytest.param(Point3(1, 2), Point, id="a subclass"),
        pytest.param((1, 2), Sequence[int], id="a tuple in a Sequence"),
        pytest.param("1", int, id="another type"),
    ],
)
async def test_what_does_not_come_back_is_served_and_told_but_not_stored(open_cache, server, value, into):
    cache = await open_cache()
    for _ in range(20):  # more often than a type is looked at that has never failed
        assert await cache.get_or_load("k", answers(value), ttl=60, type=into) == value
    assert server.keys() == []
    assert cache.stats().loads == 20
    assert {event.key for event in told(cache, RoundTripFailed)} == {"k"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("value", "plain", "into"),
    [
        pytest.param((1, 2), [1, 2], Any, id="nothing is annotated"),
        pytest.param({"at": (1,)}, {"at": [1]}, dict, id="a bare dict"),
        pytest.param({"at": {1}}, {"at": [1]}, dict[str, Any], id="a part of a dict"),
        pytest.param({"at": (1,)}, {"at": [1]}, dict[str, Sequence[int]], id="an abstract collection"),
    ],
)
async def test_what_an_annotation_leaves_open_is_compared_however_many_stores_went_well(
    open_cache, server, value, plain, into
):
    cache = await open_cache()
    for n in range(30):  # by whatever functions share the annotation
        await cache.get_or_load(f"plain:{n}", answers(plain), ttl=60, type=into)
    before = server.keys()
    assert len(before) == 30
    assert await cache.get_or_load("k", answers(value), ttl=60, type=into) == value
    assert server.keys() == before
    assert [event.key for event in told(cache, RoundTripFailed)] == ["k"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("value", "type", "read_as"),
    [
        ((1, 2), Any, None),
        ({1, 2}, Any, None),
        (frozenset({1}), Any, None),
        ([(1, 2)], Any, None),
        ((1, 2), tuple[int, int], tuple[int, int]),
        ({1, 2}, set[int], set[int]),
        ([1, 2], Any, Any),
        ({"a": [1, None]}, Any, Any),
        (b"bytes", Any, Any),
        (Point(1), Any, Point),
        (Point3(1), Point, None),
    ],
    ids=repr,
)
async def test_what_is_set_comes_back_as_it_is_or_is_refused(open_cache, value, type, read_as):
    cache = await open_cache()
    await cache.set("k", "before", ttl=60)
    if read_as is None:
        with pytest.raises(CodecError, match="does not come back"):
            await cache.set("k", value, ttl=60, type=type)
        assert await cache.get("k") is None
    else:
        await cache.set("k", value, ttl=60, type=type)
        found = await (await open_cache()).get("k", type=read_as)
        assert (found, found.__class__) == (value, value.__class__)


@pytest.mark.asyncio
async def test_one_row_of_a_batch_that_does_not_come_back_leaves_the_others_stored(open_cache, server):
    cache = await open_cache()

    @cache.cached_many("p:{}", ttl=60)
    async def points(ids: list[int]) -> dict[int, Point]:
        return {id: Point3(id) if id == 2 else Point(id) for id in ids}

    assert await points([1, 2, 3]) == {1: Point(1), 2: Point3(2), 3: Point(3)}
    assert [event.key for event in told(cache, RoundTripFailed)] == ["p:2"]
    assert sorted(server.keys()) == ["default:{p:1}", "default:{p:3}"]
    other = await open_cache()
    assert await other.get_many(["p:1", "p:2", "p:3"], type=Point) == {"p:1": Point(1), "p:3": Point(3)}


@pytest.mark.asyncio
async def test_a_load_that_takes_longer_than_its_ttl_is_cached_all_the_same(open_cache, clock):
    cache, other = await open_cache(), await open_cache()

    async def slow():
        clock.advance(8)  # the versions of its tags were read before
        return 1

    assert await cache.get_or_load("k", slow, ttl=3, tags=["t"], type=int) == 1
    clock.advance(2)
    assert await other.get_or_load("k", answers(2), ttl=3, beta=0, tags=["t"], type=int) == 1


@pytest.mark.asyncio
async def test_a_set_that_does_not_come_back_is_refused_and_what_stood_is_gone(open_cache, server):
    cache = await open_cache()
    await cache.set("k", 1, ttl=60)
    with pytest.raises(CodecError, match="does not come back"):
        await cache.set("k", Point3(1), ttl=60, type=Point)
    assert await cache.get("k", MISSING) is MISSING


@pytest.mark.asyncio
async def test_a_commit_that_does_not_come_back_is_told_and_the_key_is_dropped(open_cache, server):
    cache = await open_cache()
    await cache.set("k", 1, ttl=60)
    async with cache.writing("k", "l") as writer:
        writer.commit("k", {1: Point3(1)}, ttl=60)
        writer.commit("l", 5, ttl=60)
    assert [event.key for event in told(cache, RoundTripFailed)] == ["k"]
    assert await cache.get_many(["k", "l"]) == {"l": 5}


class Strange:
    """A codec that a stranger wrote: its errors are its own."""

    name = "strange"

    def __init__(self) -> None:
        self.breaks = ""

    def encode(self, value):
        if self.breaks == "encode":
            raise RuntimeError("encode")
        return repr(value).encode()

    def decode(self, data, type):
        if self.breaks == "decode":
            raise RuntimeError("decode")
        return eval(data)


@pytest.mark.asyncio
@pytest.mark.parametrize("breaks", ["encode", "decode"])
async def test_an_error_of_a_strangers_codec_fails_no_read(open_cache, breaks):
    codec = Strange()
    cache = await open_cache(codec=codec)
    assert await cache.get_or_load("old", answers(1), ttl=60, type=int) == 1
    codec.breaks = breaks
    assert await cache.get_or_load("old", answers(1), ttl=60, type=int) == 1
    assert await cache.get_or_load("k", answers(2), ttl=60, type=int) == 2

    async def load_many(keys):
        return dict.fromkeys(keys, 3)

    assert await cache.get_or_load_many(["a", "b"], load_many, ttl=60, type=int) == {"a": 3, "b": 3}
    assert told(cache, RoundTripFailed)
    if breaks == "decode":
        assert await cache.get("old", type=int) is None
        assert told(cache, EntryRejected)
    with pytest.raises(CodecError):
        await cache.set("k", 1, ttl=60)
    async with cache.writing("old") as writer:
        writer.commit("old", 2, ttl=60)
    codec.breaks = ""
    assert await cache.get("old") is None


@pytest.mark.asyncio
async def test_signing_keys_rotate_between_caches_and_strangers_bytes_are_a_miss(open_cache, server):
    old, both, new = [
        await open_cache(signing_keys=keys) for keys in (KEYS[:1], (KEYS[1], KEYS[0]), KEYS[1:])
    ]
    await old.set("k", 1, ttl=60)
    assert await both.get("k") == 1
    assert await new.get("k") is None
    assert [event.reason for event in told(new, EntryRejected)] == ["signature"]
    await both.set("k", 2, ttl=60)
    assert await new.get("k") == 2
    unsigned = await open_cache()
    await unsigned.set("k", 3, ttl=60)
    assert await new.get_or_load("k", answers(4), ttl=60, type=int) == 4
    assert [event.reason for event in told(new, EntryRejected)] == ["signature", "unsigned"]


# --- P5: reads survive the cache ---------------------------------------------------------------------


class Liar(MemoryRemote):
    """A store whose answers have been tampered with."""

    def __init__(self, server, lie):
        super().__init__(server)
        self.lie = lie

    async def peek(self, keys, tags):
        found, versions = await super().peek(keys, tags)
        return self.lie(found, versions)


LIES = {
    "foreign bytes": lambda found, versions: ([b"garbage" for _ in found], versions),
    "text": lambda found, versions: (["text" for _ in found], versions),
    "numbers": lambda found, versions: ([7 for _ in found], versions),
    "too few": lambda found, versions: (found[1:], versions),
    "too many": lambda found, versions: ([*found, None], versions),
    "no versions": lambda found, versions: (found, []),
    "nothing": lambda found, versions: None,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_whatever_a_store_answers_reads_bring_their_values(open_cache, server, lie):
    cache = await open_cache(store=Liar(server, lie))

    async def load_many(keys):
        return dict.fromkeys(keys, 2)

    assert await cache.get_or_load("k", answers(1), ttl=60, type=int) == 1
    assert await cache.get("l", MISSING) is MISSING
    assert await cache.get_or_load_many(["a", "b"], load_many, ttl=60, type=int) == {"a": 2, "b": 2}
    assert told(cache, EntryRejected) or told(cache, StoreFailed) or lie is LIES["foreign bytes"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: b"\0" + data[1:], lambda data: data + b"x", lambda data: b""],
    ids=["cut", "altered", "longer", "empty"],
)
async def test_damaged_entries_are_a_miss_an_event_and_soon_replaced(open_cache, server, damage):
    cache = await open_cache()
    await cache.set("k", 1, ttl=60)
    name = "default:{k}"
    data, until = server._state.entries[name]
    server._state.entries[name] = (damage(data), until)
    assert await cache.get_or_load("k", answers(2), ttl=60, type=int) == 2
    assert [event.key for event in told(cache, EntryRejected)][:1] == ["k"]
    assert await cache.get("k") == 2


class Heavy(MemoryStore):
    """A local store that fails."""

    def put(self, key, entry):
        raise ZeroDivisionError


@pytest.mark.asyncio
async def test_a_near_store_that_fails_fails_no_read_and_no_write(open_cache):
    cache = await open_cache(near=Heavy(max_entries=10))
    for _ in range(2):
        assert await cache.get_or_load("k", answers(1), ttl=60, type=int) == 1
    assert await cache.get("k") == 1
    async with cache.writing("k") as writer:
        writer.commit("k", 2, ttl=60)
    assert await cache.get("k") == 2
    assert {event.operation for event in told(cache, StoreFailed)} == {"put"}


@pytest.mark.asyncio
async def test_the_breaker_opens_at_once_and_says_so_and_closes_with_the_first_answer(open_cache, clock):
    cache = await open_cache(LeasingRemote)
    cache.network.down = True
    assert await cache.get("k") is None
    asked = cache._engine.authority._remote.store.requests.total()
    assert await cache.get_or_load("k", answers(1), ttl=60, type=int) == 1
    assert cache._engine.authority._remote.store.requests.total() == asked
    cache.network.down = False
    clock.advance(1.1)
    assert await cache.get_or_load("k", answers(2), ttl=60, type=int) == 2
    assert [event.open for event in told(cache, BreakerChanged)] == [True, False]


class Halved(LeasingRemote):
    """A store of two servers, the one with keys that begin with "gone" being away."""

    asked = True

    async def lease(self, key, token, *, ttl, seen):
        self._reach(key)
        return await super().lease(key, token, ttl=ttl, seen=seen)

    async def drop(self, keys, tags, **options):
        self._reach(*keys)
        await super().drop(keys, tags, **options)

    def _reach(self, *keys):
        if any("{gone" in key for key in keys):
            raise PartlyUnavailable("one of two servers does not answer", asked=self.asked)


@pytest.mark.asyncio
@pytest.mark.parametrize("asked", [True, False])
async def test_a_server_of_several_that_is_away_does_not_open_the_breaker(open_cache, server, asked):
    cache = await open_cache(store=(store := Halved(server)))
    store.asked = asked
    for value in (1, 2):
        assert await cache.get_or_load("gone", answers(value), ttl=60, type=int) == value
        assert await cache.get_or_load("there", answers(value), ttl=60, type=int) == 1
    await cache.invalidate("gone")
    await cache.invalidate("there")
    assert cache.health().pending_invalidations == 1
    assert await cache.get_or_load("there", answers(3), ttl=60, type=int) == 3
    assert not told(cache, BreakerChanged)
    assert cache.health().remote == "up"
    assert bool(told(cache, StoreFailed)) is asked, "what was not sent has not failed"


@pytest.mark.asyncio
async def test_fallbacks_are_served_while_the_store_is_away_and_gone_when_it_is_back(open_cache, clock):
    cache = await open_cache(LeasingRemote)
    cache.network.down = True
    await cache.get("x")
    for _ in range(2):
        assert await cache.get_or_load("k", answers(1), ttl=600, fallback_ttl=60, type=int) == 1
    assert cache.stats().loads == 1
    cache.network.down = False
    clock.advance(1.1)
    assert await cache.get("x") is None  # the store answers
    cache.network.down = True
    assert await cache.get("x") is None  # and is away again
    assert await cache.get_or_load("k", answers(2), ttl=600, fallback_ttl=60, type=int) == 2


@pytest.mark.asyncio
async def test_a_disabled_cache_serves_no_fallback(open_cache):
    cache = await open_cache(LeasingRemote)
    cache.network.down = True
    await cache.get("x")
    assert await cache.get_or_load("k", answers(1), ttl=600, fallback_ttl=60, type=int) == 1
    with cache.disabled():
        assert await cache.get_or_load("k", answers(2), ttl=600, fallback_ttl=60, type=int) == 2


# --- P6: nothing pending is lost silently -------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_last_try_at_closing_asks_whatever_the_breaker_says(open_cache, server):
    cache, other = await open_cache(LeasingRemote), await open_cache()
    await other.set("k", 1, ttl=60)
    cache.network.down = True
    await cache.invalidate("k")
    assert told(cache, InvalidationPending)
    cache.network.down = False
    await cache.aclose()
    assert told(cache, InvalidationLanded)
    assert await other.get("k") is None


@pytest.mark.asyncio
async def test_an_outage_is_told_by_an_event_each_but_not_by_a_line_of_the_log_each(open_cache, caplog):
    cache = await open_cache(LeasingRemote)
    cache.network.down = True
    with caplog.at_level(logging.WARNING, "acache"):
        for n in range(1_000):
            await cache.invalidate(f"k:{n}")
    assert len(told(cache, InvalidationPending)) == 1_000
    told_by_log = [record.args for record in caplog.records if record.name == "acache"]
    assert told_by_log == [(2**n,) for n in range(10)]


@pytest.mark.asyncio
async def test_closing_says_what_never_landed(open_cache, caplog):
    cache = await open_cache(LeasingRemote)
    cache.network.down = True
    await cache.invalidate("k", "l")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "acache"):
        await cache.aclose()
    assert "2 keys and tags" in caplog.text and "closed" in caplog.text


@pytest.mark.asyncio
async def test_what_a_block_raised_comes_out_of_it_also_if_its_invalidation_was_lost(open_cache):
    cache = await open_cache(LeasingRemote, on_lost_invalidation="raise")
    with pytest.raises(InvalidationFailed) as clean:
        async with cache.writing("k"):
            cache.network.down = True
    assert clean.value.written
    for error in (LookupError, asyncio.CancelledError):
        with pytest.raises(error):
            async with cache.writing("k"):
                raise error
    assert told(cache, InvalidationPending)


@pytest.mark.asyncio
@pytest.mark.parametrize("change", ["invalidate", "tag", "clear"])
async def test_a_lost_invalidation_raises_where_that_was_asked_for(open_cache, change):
    cache = await open_cache(on_lost_invalidation="raise")
    cache.network.down = True
    with pytest.raises(InvalidationFailed) as error:
        await {
            "invalidate": lambda: cache.invalidate("k"),
            "tag": lambda: cache.invalidate(tags=["t"]),
            "clear": cache.clear,
        }[change]()
    assert error.value.written


# --- what an entry lives ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_entry_whose_load_chose_a_longer_life_lives_it(open_cache, clock):
    cache = await open_cache(LeasingRemote)

    async def load():
        loading().ttl = 3600
        return 1

    await cache.get_or_load("k", load, ttl=60, beta=0, type=int)
    clock.advance(1800)
    assert await cache.get("k") == 1


@pytest.mark.asyncio
async def test_near_serves_under_a_clock_that_a_test_moves(open_cache, clock):
    cache = await open_cache(near=True)
    await trusted(cache)
    await cache.get_or_load("k", answers(1), ttl=60, type=int)
    requests = cache._engine.authority._remote.store.requests
    asked = requests["peek"]
    assert await cache.get_or_load("k", answers(2), ttl=60, type=int) == 1
    assert requests["peek"] == asked
    clock.advance(6)  # past max_staleness, and no ping was answered meanwhile
    assert await cache.get_or_load("k", answers(2), ttl=60, type=int) == 1
    assert requests["peek"] == asked + 1


class AtOnce:
    """A store that answers without suspending."""

    def __init__(self):
        self.data = {}

    async def get_many(self, keys):
        return [self.data.get(key) for key in keys]

    async def set_many(self, items):
        self.data.update({item.key: item.data for item in items})

    async def delete_many(self, keys):
        for key in keys:
            self.data.pop(key, None)

    async def aclose(self):
        pass


@pytest.mark.asyncio
async def test_a_caller_who_refreshes_and_finds_the_lease_taken_gets_the_value_that_stands(open_cache, clock):
    store = AtOnce()
    cache = await open_cache(store=store)
    options = {"ttl": 10, "beta": 0, "stale_while_revalidate": 600, "refresh": "caller", "type": int}
    assert await cache.get_or_load("k", answers(1), **options) == 1
    clock.advance(11)
    leases = cache._engine.authority._remote.store
    grant = await leases.lease("default:{k}", b"another", ttl=10, seen=None)
    if grant.data is not None:
        from acache.protocols import digest

        await leases.lease("default:{k}", b"another", ttl=10, seen=digest(grant.data))
    reading = asyncio.ensure_future(cache.get_or_load("k", answers(2), **options))
    await asyncio.sleep(0.01)
    await leases.release(["default:{k}"], [], b"another", message=None)
    assert await reading in (1, 2)


# --- names -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_no_key_that_somebody_writes_meets_one_that_was_hashed(open_cache):
    cache = await open_cache(PlainRemote)
    name = cache._engine.authority._remote.name
    hashed = name("}secret").partition("{")[2].removesuffix("}")
    assert name(hashed) != name("}secret")


@pytest.mark.asyncio
async def test_who_looks_while_the_cache_closes_is_told(open_cache):
    cache = await open_cache()
    cache.network.delay = 0.2
    looking = asyncio.ensure_future(cache.get_or_load("k", answers(1), ttl=60, type=int))
    await asyncio.sleep(0.01)
    await cache.aclose()
    with pytest.raises(CacheClosed):
        await looking


# --- one name, given twice ----------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [PlainRemote, LeasingRemote, MemoryRemote])
async def test_a_tag_or_key_that_is_named_twice_counts_once(open_cache, kind):
    cache = await open_cache(kind)

    @cache.cached("pair:{a}:{b}", ttl=60, tags=["user:{a}", "user:{b}"])
    async def pair(a: int, b: int) -> int:
        return a + b

    @cache.cached_many("own:{}", ttl=60, tags=["own:{}", "own:{}"])
    async def own(ids: list[int]) -> dict[int, int]:
        return {id: id for id in ids}

    async def load_many(keys):
        return dict.fromkeys(keys, 3)

    for _ in range(2):
        assert await pair(1, 1) == 2
        assert await own([1, 1]) == {1: 1}
        assert await cache.get_or_load("k", answers(1), ttl=60, tags=["t", "t"], type=int) == 1
        await cache.get_or_load_many(["l", "l"], load_many, ttl=60, tags=["t", "t"], type=int)
    assert cache.stats().loads == 4
    async with cache.writing("k", "k", tags=["t", "t"]) as writer:
        writer.commit("k", 2, ttl=60, tags=["t", "t"])
    assert await cache.get("k") == 2
    await cache.set("k", 3, ttl=60, tags=["u", "u"])
    assert await cache.get_many(["k", "k"]) == {"k": 3}
    await cache.invalidate("k", "k", tags=["user:1", "user:1"])
    assert await cache.get_many(["k", "pair:1:1"]) == {}


@pytest.mark.asyncio
async def test_what_expired_while_it_was_fetched_is_not_served(open_cache, clock, turn):
    cache = await open_cache(LeasingRemote)
    await cache.set("k", 1, ttl=10)
    cache.network.delay = 0.01
    looking = asyncio.ensure_future(cache.get("k"))
    await turn()
    clock.advance(9.5)
    cache._engine.authority._remote.store.server._clock = type("Slow", (), {"monotonic": lambda _: 0.0})()
    clock.advance(1)
    assert await looking is None


# --- versions of tags, held near --------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_version_of_a_tag_is_asked_for_once(open_cache):
    cache = await open_cache()

    @cache.cached("user:{user_id}", ttl=60, tags=["users", "user:{user_id}"])
    async def user(user_id: int) -> int:
        return user_id

    await trusted(cache)
    await user(1)
    await user(1)  # who loads asks for all of them, and holds none that it stamps with
    store = cache._engine.authority._remote.store
    before = store.steps["peek"]
    assert await user(1) == 1
    assert store.steps["peek"] - before == 2  # the entry and the namespace's version


@pytest.mark.asyncio
async def test_a_version_held_near_goes_when_the_tag_is_invalidated_elsewhere(open_cache):
    here, there = await open_cache(), await open_cache()
    loads = []

    @here.cached("user:{user_id}", ttl=60, tags=["users"])
    async def user(user_id: int) -> int:
        loads.append(user_id)
        return user_id

    await trusted(here)
    for _ in range(3):
        await user(1)
    await there.invalidate(tags=["users"])
    while here._engine.process.near.versions.keys() & {"users"}:
        await asyncio.sleep(0.001)
    await user(1)
    assert loads == [1, 1]


@pytest.mark.asyncio
async def test_no_version_is_held_without_a_feed(open_cache):
    cache = await open_cache(LeasingRemote)
    for _ in range(2):
        await cache.get_or_load("k", answers(1), ttl=60, tags=["t"], type=int)
    assert not cache._engine.process.near.versions


@pytest.mark.asyncio
async def test_readers_of_one_tick_share_what_is_read_of_a_key_and_each_gets_its_own_type(open_cache):
    cache = await open_cache()

    @cache.cached("k", ttl=60)
    async def point() -> Point:
        return Point(x=1)

    def fields():
        return cache.get_or_load("k", answers({}), ttl=60, type=dict[str, int])

    await point()
    hits = cache.stats().hits
    found = await asyncio.gather(point(), fields(), point(), fields())
    assert found == [Point(x=1), {"x": 1}, Point(x=1), {"x": 1}]
    assert cache.stats().hits - hits == 4
