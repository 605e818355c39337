"""P8 and P5 against whoever writes to the server: what acache did not store is a miss, secrets stay secret."""

import logging
import traceback

import pytest
from redis.asyncio import Redis
from valkey_server import valkey

from acache import Cache, loading
from acache.errors import ConfigurationError
from acache.events import EntryRejected, InvalidationPending, StoreFailed
from acache_redis import RedisStore

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

KEY, OTHER_KEY = b"0123456789abcdef", b"fedcba9876543210"
SECRET = "hunter2-s3cret"


async def answer():
    return {"name": "Ada"}


def name(key, namespace="shop"):
    return f"acache:e:{namespace}:{{{key}}}"


async def stored(server, key, *, namespace="shop", **options):
    """Have a cache store an answer; return the bytes that it wrote."""
    async with Cache(RedisStore(server.url), namespace=namespace, **options) as cache:
        await cache.get_or_load(key, answer, ttl=60, type=dict)
    async with Redis.from_url(server.url) as redis:
        return await redis.get(name(key, namespace))


FORGERIES = {
    "nothing at all": (lambda good: b"", "foreign"),
    "text": (lambda good: b'{"name": "Mallory"}', "foreign"),
    "a pickle that would run": (lambda good: b"cos\nsystem\n(S'exit 1'\ntR.", "foreign"),
    "truncated": (lambda good: good[:-1], "truncated"),
    "cut to its header": (lambda good: good[:8], "truncated"),
    "prolonged": (lambda good: good + b"x", "signature"),
    "a flipped bit in the payload": (lambda good: good[:-3] + bytes([good[-3] ^ 1]) + good[-2:], "signature"),
    "a flipped bit in the signature": (lambda good: good[:9] + bytes([good[9] ^ 1]) + good[10:], "signature"),
    "a format of the future": (lambda good: good[:2] + b"\x63" + good[3:], "version"),
    "huge": (lambda good: good + bytes(200_000), "oversized"),
}


@pytest.fixture(scope="module")
def server():
    with valkey() as running:
        yield running


async def read_over(server, key, forged, **options):
    """Write *forged* under *key*, read it as a cache would; return its answer, loads and rejections."""
    loads, rejected = 0, []

    async def load():
        nonlocal loads
        loads += 1
        return await answer()

    async with Redis.from_url(server.url) as redis:
        await redis.set(name(key), forged)
    async with Cache(RedisStore(server.url), namespace="shop", **options) as cache:
        cache.subscribe(lambda event: rejected.append(event) if isinstance(event, EntryRejected) else None)
        values = [await cache.get_or_load(key, load, ttl=60, type=dict) for _ in range(2)]
        assert await cache.get(key) == values[0]
    return values, loads, [event.reason for event in rejected]


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_p8_what_was_written_by_others_is_a_miss_and_an_event_and_is_replaced(server, forgery):
    forge, reason = FORGERIES[forgery]
    good = await stored(server, "k", signing_keys=[KEY])
    found = await read_over(server, "k", forge(good), signing_keys=[KEY], max_value_bytes=100_000)
    if forgery == "prolonged":
        reason = "corrupt"
    assert found == ([{"name": "Ada"}] * 2, 1, [reason])


async def test_p8_only_what_a_signing_key_signed_for_this_key_and_namespace_counts(server):
    good = await stored(server, "k", signing_keys=[KEY])
    unsigned = await stored(server, "plain")
    by_another = await stored(server, "other", signing_keys=[OTHER_KEY])
    elsewhere = await stored(server, "k", namespace="bank", signing_keys=[KEY])
    for forged, reason in [
        (unsigned, "unsigned"),
        (by_another, "signature"),
        (elsewhere, "signature"),
        (await stored(server, "k2", signing_keys=[KEY]), "signature"),
    ]:
        assert await read_over(server, "k", forged, signing_keys=[KEY]) == ([await answer()] * 2, 1, [reason])
    assert (await read_over(server, "plain", good))[2] == ["signature"], "signed, and no key to verify it"


async def test_p8_a_key_that_is_being_changed_still_verifies_and_the_new_one_signs(server):
    good = await stored(server, "rotated", signing_keys=[KEY])
    values, loads, rejected = await read_over(server, "rotated", good, signing_keys=[OTHER_KEY, KEY])
    assert (values, loads, rejected) == ([await answer()] * 2, 0, [])


async def test_p8_damage_and_misplaced_bytes_are_found_without_a_key_as_well(server):
    good = await stored(server, "k")
    for forged in (good[:-3] + bytes([good[-3] ^ 1]) + good[-2:], await stored(server, "k2")):
        assert await read_over(server, "k", forged) == ([await answer()] * 2, 1, ["corrupt"])


async def test_p8_a_value_of_another_type_is_a_miss(server):
    async def number():
        return 7

    async with Cache(RedisStore(server.url), namespace="shop") as cache:
        await cache.set("typed", {"name": "Ada"}, ttl=60)
        assert await cache.get_or_load("typed", number, ttl=60, type=int) == 7


async def tagged():
    loading().tags.add("late")
    return await answer()


FOREIGN = {
    "an entry": "acache:e:shop:{k}",
    "the claims of a key": "acache:c:shop:{k}",
    "a version": "acache:t:shop:{t}",
    "the claims of a tag": "acache:tc:shop:{t}",
    "the namespace's version": "acache:n:shop",
    "the claims of the namespace": "acache:nc:{acache:n:shop}",
    "the stamp": "acache:s:shop",
}


@pytest.mark.parametrize("place", FOREIGN)
async def test_p5_a_key_of_another_type_in_our_place_is_nothing_and_holds_up_nobody(server, place):
    async with Redis.from_url(server.url) as redis:
        await redis.flushdb()
        await redis.lpush(FOREIGN[place], "x")
    async with Cache(RedisStore(server.url), namespace="shop") as cache:
        assert await cache.get_or_load("k", answer, ttl=60, tags=["t"], type=dict) == await answer()
        assert await cache.get_or_load("late", tagged, ttl=60, type=dict) == await answer()
        assert await cache.get("late", type=dict) == await answer()
        await cache.invalidate("k", tags=["t"])
        async with cache.writing("k", tags=["t"]) as writer:
            writer.commit("k", await answer(), ttl=60)
        assert await cache.get("k", type=dict) == await answer()
        assert (cache.health().remote, cache.health().pending_invalidations) == ("up", 0)


async def test_p5_claims_that_are_no_times_are_none(server):
    async with Redis.from_url(server.url) as redis:
        await redis.flushdb()
        await redis.hset("acache:c:shop:{k}", mapping={"kind": "fence", ":x": "soon"})
    async with Cache(RedisStore(server.url), namespace="shop") as cache:
        await cache.get_or_load("k", answer, ttl=60, type=dict)
        assert await cache.get("k", type=dict) == await answer()


async def test_p8_a_password_is_shown_nowhere(caplog):
    with valkey("--requirepass", SECRET) as server:
        caplog.set_level(logging.DEBUG)
        shown, told = [], []
        right = server.url.replace("//", f"//:{SECRET}@")
        wrong = server.url.replace("//", f"//:{SECRET}-wrong@")
        for url in (right, wrong, f"redis://:{SECRET}@127.0.0.1:1/0"):
            async with Cache(url, near=True, on_lost_invalidation="raise") as cache:
                cache.subscribe(told.append)
                assert await cache.get_or_load("k", answer, ttl=60, type=dict) == await answer()
                try:
                    await cache.invalidate("k")
                except Exception as error:
                    shown.append(whole(error))
                shown += [repr(cache), str(await cache.explain("k")), str(cache.stats()), str(cache.report())]
                shown += [str(dict(cache.guarantees)), repr(cache._engine.authority._remote.store)]
        for url in (f"redis://:{SECRET}@host:port/0", f"redis://:{SECRET}@host/0?frobnicate=1"):
            with pytest.raises(ConfigurationError) as caught:
                Cache(url)
            shown.append(whole(caught.value))
        assert {StoreFailed, InvalidationPending} <= {type(event) for event in told}
        told += [getattr(event, "cause", None) for event in told]
        everything = "\n".join([*shown, *map(repr, told), caplog.text, *map(str, caplog.records)])
        assert len(everything) > 1_000
        assert SECRET not in everything


def whole(error):
    """Return an error as the most talkative of reporters would show it, with the variables of our frames."""
    shown = ""
    while error is not None:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [frame for frame in trace.stack if frame.filename != __file__]
        shown += "".join(traceback.StackSummary.from_list(ours).format()) + str(error) + repr(error)
        error = error.__cause__ or error.__context__
    return shown
