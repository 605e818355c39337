"""Users who may do what the README says that the store does, and users who may not."""

import asyncio
from contextlib import aclosing
from functools import partial

import pytest
from rights import EVERYWHERE, ON_A_CLUSTER, let
from valkey_cluster import ask

from acache.errors import StoreUnavailable
from acache.protocols import Item
from acache_redis import RedisStore

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

KEYS, TAGS, TOKEN = [f"shop:{{{number}}}" for number in range(6)], ["shop:{t}", "shop"], bytes(16)
ITEM = Item(key=KEYS[0], data=b"1", ttl=60)
VERBS = [
    partial(RedisStore.peek, keys=KEYS, tags=TAGS),
    partial(RedisStore.set_many, items=[ITEM]),
    partial(RedisStore.delete_many, keys=KEYS),
    partial(RedisStore.stamp, namespace="shop"),
    partial(RedisStore.versions, tags=TAGS, ttl=60),
    partial(RedisStore.versions, tags=TAGS, ttl=90),
    partial(RedisStore.lease, key=KEYS[0], token=TOKEN, ttl=30, seen=None),
    partial(RedisStore.commit, item=ITEM, token=TOKEN, message=b"1"),
    partial(RedisStore.fence, keys=KEYS, tags=TAGS, token=TOKEN, ttl=30, message=b"2"),
    partial(RedisStore.settle, tags=TAGS, token=TOKEN, ttl=60),
    partial(RedisStore.drop, keys=[], tags=[], message=b"3"),
]


async def refused(store):
    """Use everything that there is; return what was refused."""
    said = []
    for verb in VERBS:
        try:
            await verb(store)
        except StoreUnavailable as error:
            said.append(str(error))
    return said


def a_url(server, granted):
    return server.url.replace("://", f"://{let(getattr(server, 'running', [server]), granted)}", 1)


@pytest.mark.parametrize("missing", sorted(EVERYWHERE))
async def test_a_right_that_is_missing_is_named(a_server, missing, caplog):
    ask(a_server, "SCRIPT", "FLUSH")
    ask(a_server, "FLUSHALL")
    store = RedisStore(a_url(a_server, {*EVERYWHERE} - {missing}), ping_every=0.01, timeout=20)
    async with aclosing(store), store.listen(heard=len, gap=lambda: None, alive=lambda _: None):
        said = await refused(store)
        async with asyncio.timeout(20):
            while not said and not caplog.text:
                await asyncio.sleep(0.01)
    said = "\n".join([*said, caplog.text])
    assert "NOPERM the ACL of its user lacks" in said
    assert missing in said
    assert "s3cret" not in said
    assert "User app" not in said


@pytest.mark.parametrize("missing", ["nothing", *sorted({*ON_A_CLUSTER} - {"+asking"})])
async def test_on_a_cluster_too(a_cluster, missing, caplog):
    store = RedisStore(
        a_url(a_cluster, {*EVERYWHERE, *ON_A_CLUSTER} - {missing}), ping_every=0.01, timeout=20
    )
    told = []
    async with aclosing(store), store.listen(heard=told.append, gap=lambda: told.append(None), alive=len):
        said = await refused(store)
        async with asyncio.timeout(20):
            while None not in told and not said and not caplog.text:
                await asyncio.sleep(0.01)
    said = "\n".join([*said, caplog.text])
    assert said == "" if missing == "nothing" else f"lacks {missing}" in said
