"""The journal in real servers keeps the journals' contract, and what only a server can break."""

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError
from valkey_server import binaries, valkey

from acache.errors import ConfigurationError, JournalFailed
from acache.protocols import Write
from acache.testing.contracts import SharedJournalContract
from acache.testing.contracts.journal import write
from acache_redis import RedisJournal, RedisStore
from acache_redis._names import journal_keys, journal_request

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=sorted(binaries()))
def server(request):
    with valkey(binary=binaries()[request.param]) as running:
        yield running


class TestRedisJournalKeepsTheContract(SharedJournalContract):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server, self.name = server, uuid4().hex

    def open(self):
        return RedisJournal(self.server.url, name=self.name, timeout=20)


@pytest.fixture
def name():
    return uuid4().hex


async def pending(journal):
    return [write async for write in journal.recover()]


@pytest.mark.asyncio
async def test_a_request_that_is_sent_again_acts_once(server, name):
    async with aclosing(RedisJournal(server.url, name=name, ids=lambda: b"the same request")) as journal:
        first = await journal.append_next([write("a", 0), write("b", 0)])
        assert await journal.append_next([write("a", 0), write("b", 0)]) == first
        assert await pending(journal) == first
        await journal.acknowledge({each.key: each.sequence for each in first})
        assert await journal.append_next([write("a", 0), write("b", 0)]) == first
        assert await pending(journal) == []


@pytest.mark.asyncio
async def test_an_append_that_is_sent_again_brings_nothing_back(server, name):
    async with aclosing(RedisJournal(server.url, name=name, ids=lambda: b"the same request")) as journal:
        await journal.append([write("a", 1)])
        await journal.acknowledge({"a": 1})
        await journal.append([write("a", 1)])
        assert await pending(journal) == []


@pytest.mark.asyncio
async def test_journals_of_two_names_and_the_cache_share_a_server(server, name):
    async with (
        aclosing(RedisJournal(server.url, name=name)) as one,
        aclosing(RedisJournal(server.url, name=f"{name}-2")) as two,
        aclosing(RedisStore(server.url)) as store,
    ):
        await one.append([write("a", 1)])
        await two.append([write("b", 2)])
        await store.delete_many(["shop:{a}", "shop:{b}"])
        assert await pending(one) == [write("a", 1)]
        assert await pending(two) == [write("b", 2)]
        assert (await one.last(), await two.last()) == (1, 2)


@pytest.mark.asyncio
async def test_what_a_source_has_taken_leaves_nothing_behind(server, name):
    async with aclosing(RedisJournal(server.url, name=name)) as journal:
        for _ in range(20):
            await journal.append_next([write("a", 0), write("b", 0)])
            [a, b] = await journal.claim(2, uuid4().bytes, ttl=0.001)
            await journal.bury(a, "refused")
            [letter] = [letter async for letter in journal.dead()]
            await journal.discard(letter)
            await journal.acknowledge({"a": a.sequence, "b": b.sequence})
        await asyncio.sleep(0.01)
        assert await journal.claim(9, uuid4().bytes, ttl=1) == []
    async with Redis.from_url(server.url) as client:
        left = {key.decode() for key in await client.keys(f"acache:j:{{{name}}}:*")}
    assert {key for key in left if ":request:" not in key} == {f"acache:j:{{{name}}}:counts"}


@pytest.mark.asyncio
async def test_a_server_that_is_gone_fails_the_append(name):
    with valkey() as server:
        journal = RedisJournal(server.url, name=name, timeout=0.5)
        await journal.append([write("a", 1)])
        server.kill()
        with pytest.raises(JournalFailed, match=r"^journal '.*': redis://127.0.0.1.*") as caught:
            await journal.append([write("a", 2)])
        assert isinstance(caught.value.__cause__, RedisError)
        await journal.aclose()


@pytest.mark.asyncio
async def test_a_server_that_writes_to_its_disk_first_loses_nothing_when_it_is_killed(name):
    with valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        journal = RedisJournal(server.url, name=name, timeout=20)
        acknowledged: list[Write] = []

        async def append(key):
            while True:
                acknowledged.extend(await journal.append_next([write(key, 0)]))

        writers = [asyncio.create_task(append(f"k{n}")) for n in range(20)]
        while len(acknowledged) < 500:
            await asyncio.sleep(0.01)
        server.kill()
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)
        for writer in writers:
            assert writer.cancelled() or isinstance(writer.exception(), JournalFailed)
        server.start()
        newest = {each.key: each.sequence for each in acknowledged}
        found = await journal.pending(list(newest))
        assert all(found[key].sequence >= number for key, number in newest.items())
        assert await journal.last() >= max(newest.values())
        await journal.aclose()


@pytest.mark.asyncio
async def test_a_full_server_takes_a_write_whole_or_not_at_all(name):
    with valkey("--maxmemory", "8mb", "--maxmemory-policy", "noeviction") as server:
        journal = RedisJournal(server.url, name=name, timeout=20)
        taken = []
        with pytest.raises(JournalFailed, match="OOM"):
            for n in range(1, 1000):
                large = Write(key=f"k{n}", id=b"", payload=bytes(50_000), sequence=n, at=0.0)
                await journal.append([large])
                taken.append((large.key, n))
        assert {(each.key, each.sequence) for each in await pending(journal)} == {*taken}
        # What makes room goes on.
        [first, second] = await journal.claim(2, b"one", ttl=60)
        assert await journal.renew([first.key, second.key], b"one", ttl=60)
        await journal.bury(second, "refused")
        assert await journal.settle({first.key: first.sequence, second.key: 0}, b"one") == []
        await journal.acknowledge(dict(taken))
        await journal.append([write("a", 5000)])
        await journal.aclose()


@pytest.mark.asyncio
async def test_a_server_that_may_evict_is_refused(name):
    with valkey("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as server:
        journal = RedisJournal(server.url, name=name, timeout=20)
        with pytest.raises(JournalFailed, match="maxmemory-policy"):
            await journal.append([write("a", 1)])
        assert await pending(journal) == []
        await journal.aclose()


@pytest.mark.asyncio
async def test_a_server_that_keeps_nothing_is_warned_of_once(server, name, caplog):
    journal = RedisJournal(server.url, name=name)
    await journal.append([write("a", 1)])
    await journal.append_next([write("a", 1)])
    await journal.aclose()
    assert [record.message for record in caplog.records if "appendonly" in record.message] != []
    assert len(caplog.records) == 1


@pytest.mark.asyncio
async def test_a_user_who_may_not_ask_how_the_server_is_set_up_may_append(name):
    with valkey() as server:
        async with Redis.from_url(server.url) as client:
            rights = [
                "~acache:*",
                "&acache:*",
                "+@read",
                "+@write",
                "+@scripting",
                "+@pubsub",
                "+@connection",
                "+time",
            ]
            await client.execute_command("ACL", "SETUSER", "shop", "on", ">hidden", *rights)
        url = server.url.replace("redis://", "redis://shop:hidden@")
        journal = RedisJournal(url, name=name, timeout=20)
        [standing] = await journal.append_next([write("a", 0)])
        assert await journal.claim(1, b"one", ttl=60) == [standing]
        assert await journal.settle({"a": standing.sequence}, b"one") == []
        assert "hidden" not in repr(journal)
        await journal.aclose()


@pytest.mark.asyncio
async def test_what_the_journal_never_wrote_is_said_to_be_foreign(server, name):
    journal = RedisJournal(server.url, name=name)
    [standing] = await journal.append_next([write("a", 0)])
    async with Redis.from_url(server.url) as client:
        [(place, _)] = (await client.hgetall(f"acache:j:{{{name}}}:writes")).items()
        await client.hset(f"acache:j:{{{name}}}:writes", place, b"0" * 20 + b'{"v":2}\n')
    for read in (pending(journal), journal.pending(["a"]), journal.claim(1, b"one", ttl=0.001)):
        with pytest.raises(JournalFailed, match="never wrote"):
            await read
    await journal.acknowledge({"a": standing.sequence})
    await journal.aclose()


def test_a_name_that_could_meet_another_is_refused():
    for name in ("", "a}b", "a b", "a:b"):
        with pytest.raises(ConfigurationError, match="name="):
            RedisJournal("redis://localhost", name=name)


def test_all_of_a_journal_is_in_one_slot():
    names = [*journal_keys("orders"), journal_request("orders", b"\x01")]
    assert names[0] == b"acache:j:{orders}:writes"
    assert names[-1] == b"acache:j:{orders}:request:01"
    assert len({key_slot(name) for name in names}) == 1
