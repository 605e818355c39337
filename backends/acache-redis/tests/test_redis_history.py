"""The store in memory and the one in Redis answer every history of calls alike.

So what the simulator finds out over the one holds for the other.
"""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acache.protocols import Grant, Item, digest
from acache.testing.remote import MemoryRemote
from acache_redis import RedisStore

pytestmark = pytest.mark.real


KEYS, TAGS, TOKENS = ["k", "l", "{}m"], ["t", "u", ""], [b"a" * 16, b"b" * 16, b"c" * 16]

keys = st.lists(st.sampled_from(KEYS), max_size=3)
tags = st.lists(st.sampled_from(TAGS), max_size=3)
one_key, token = st.sampled_from(KEYS), st.sampled_from(TOKENS)
data = st.sampled_from([b"", b"1", b"22"])
message = st.none() | st.binary(max_size=3)
items = st.lists(st.tuples(one_key, data), max_size=3)

calls = st.one_of(
    st.tuples(st.just("get_many"), keys),
    st.tuples(st.just("set_many"), items),
    st.tuples(st.just("delete_many"), keys),
    st.tuples(st.just("peek"), keys, tags),
    st.tuples(st.just("versions"), tags),
    st.tuples(st.just("stamp")),
    st.tuples(st.just("lease"), one_key, token, st.none() | data),
    st.tuples(st.just("renew"), keys, tags, token),
    st.tuples(st.just("commit"), one_key, data, token, message),
    st.tuples(st.just("put"), items, message),
    st.tuples(st.just("drop"), keys, tags, st.dictionaries(one_key, data), message),
    st.tuples(st.just("fence"), keys, tags, token, message),
    st.tuples(st.just("settle"), tags, token),
    st.tuples(st.just("release"), keys, tags, token, message),
    st.tuples(st.just("claims"), one_key),
)


class Player:
    """Plays a history on one store and writes down what it answers, so that two can be compared."""

    def __init__(self, store, namespace):
        self.store = store
        self.namespace = namespace
        self.names = {}  # each random version, by the order of its appearance

    def name(self, text):
        return f"{self.namespace}:{{{text}}}" if text else self.namespace

    def all(self, texts):
        return [self.name(text) for text in texts]

    def items(self, pairs):
        return [Item(key=self.name(key), data=data, ttl=60) for key, data in pairs]

    def known(self, versions):
        return [version and self.names.setdefault(version, len(self.names)) for version in versions]

    async def play(self, history, messages=0):
        answers, heard, ready, ended = [], [], asyncio.Event(), asyncio.Event()

        def hear(message):
            heard.append(message)
            if message == b"the end":
                ended.set()

        async with self.store.listen(heard=hear, gap=ready.set, alive=lambda _: None):
            await ready.wait()
            for verb, *arguments in history:
                answers.append((verb, await getattr(self, verb)(*arguments)))
            await self.store.drop([], [], message=b"the end")
            await ended.wait()
            async with asyncio.timeout(20):
                while len(heard) < messages:  # what one node says may be heard after another's last word
                    await asyncio.sleep(0.01)
        return answers, heard

    async def get_many(self, keys):
        return await self.store.get_many(self.all(keys))

    async def set_many(self, items):
        return await self.store.set_many(self.items(items))

    async def delete_many(self, keys):
        return await self.store.delete_many(self.all(keys))

    async def peek(self, keys, tags):
        found, versions = await self.store.peek(self.all(keys), self.all(tags))
        return found, self.known(versions)

    async def versions(self, tags):
        return self.known(await self.store.versions(self.all(tags), ttl=60))

    async def stamp(self):
        return self.known([await self.store.stamp(self.namespace)])

    async def lease(self, key, token, seen):
        seen = None if seen is None else digest(seen)
        grant = await self.store.lease(self.name(key), token, ttl=30, seen=seen)
        assert isinstance(grant, Grant)
        return grant.kind, grant.data, grant.holder, grant.remaining > 0

    async def renew(self, keys, tags, token):
        return await self.store.renew(self.all(keys), self.all(tags), token, ttl=30)

    async def commit(self, key, data, token, message):
        return await self.store.commit(*self.items([(key, data)]), token, message=message)

    async def put(self, items, message):
        return await self.store.put(self.items(items), message=message)

    async def drop(self, keys, tags, keep, message):
        keep = {self.name(key): data for key, data in keep.items()}
        return await self.store.drop(self.all(keys), self.all(tags), keep=keep, message=message)

    async def fence(self, keys, tags, token, message):
        return await self.store.fence(self.all(keys), self.all(tags), token, ttl=30, message=message)

    async def settle(self, tags, token):
        return self.known(await self.store.settle(self.all(tags), token, ttl=60))

    async def release(self, keys, tags, token, message):
        return await self.store.release(self.all(keys), self.all(tags), token, message=message)

    async def claims(self, key):
        found = await self.store.claims(self.name(key))
        return sorted((claim.token, claim.kind.value, claim.tainted) for claim in found)


async def alike(url, history, *, one_order):
    """Play *history* on both; whoever listens to many nodes hears their messages in no common order."""
    namespace = f"history-{uuid4().hex}"
    expected, told = await Player(MemoryRemote(), namespace).play(history)
    store = RedisStore(url, timeout=20)
    try:
        answers, heard = await Player(store, namespace).play(history, len(told))
    finally:
        await store.aclose()
    assert answers == expected
    assert heard == told if one_order else sorted(heard) == sorted(told)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(calls, max_size=40))
def test_both_stores_answer_every_history_alike(a_server, history):
    asyncio.run(alike(a_server.url, history, one_order=True))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(calls, max_size=40))
def test_so_does_a_cluster(a_cluster, history):
    asyncio.run(alike(a_cluster.url, history, one_order=False))


@pytest.mark.scale
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(calls, max_size=40))
def test_so_does_a_primary_that_sentinels_watch(a_watched_primary, history):
    asyncio.run(alike(a_watched_primary.url, history, one_order=True))
