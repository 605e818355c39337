"""Servers that die, hang, forget, fill up, talk nonsense, or keep secrets."""

import asyncio
from contextlib import aclosing, asynccontextmanager
from functools import partial
from random import Random

import pytest
from redis.asyncio import Redis
from valkey_server import ValkeyServer, valkey

from acache.errors import StoreUnavailable
from acache.protocols import GRANTED, Item
from acache_redis import RedisStore

pytestmark = pytest.mark.real

KEY, TAG, TOKEN = "shop:{k}", "shop:{t}", bytes(16)


def item(data=b"1", key=KEY, ttl=60):
    return Item(key=key, data=data, ttl=ttl)


@pytest.fixture
def server():
    with valkey() as running:
        yield running


@asynccontextmanager
async def impostor(answer):
    """Run a server that calls *answer(reader, writer)* for each connection; yield its URL."""

    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        try:
            await answer(reader, writer)
        except (OSError, asyncio.CancelledError):  # asyncio mishandles a cancelled task of a server
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        try:
            yield f"redis://user:s3cret@127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


def since(started):
    return asyncio.get_running_loop().time() - started


# --- servers that die, hang and forget --------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_server_that_is_killed_under_load_and_comes_back_is_found_again(server):
    async with aclosing(RedisStore(server.url)) as store:
        await store.set_many([item()])
        outcomes, begun, away = [], asyncio.Event(), asyncio.Event()

        async def read():
            while [None] not in outcomes:
                try:
                    outcomes.append(await store.get_many([KEY]))
                    begun.set()
                except StoreUnavailable:
                    outcomes.append("unavailable")
                    away.set()
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(read())
            await begun.wait()
            await asyncio.to_thread(server.kill)
            await away.wait()
            await asyncio.to_thread(server.start)
        told = [one for number, one in enumerate(outcomes) if number == 0 or one != outcomes[number - 1]]
        assert told == [[b"1"], "unavailable", [None]]


@pytest.mark.asyncio
async def test_a_restart_while_idle_is_not_even_noticed(server):
    async with aclosing(RedisStore(server.url)) as store:
        await store.set_many([item()])
        assert (await store.lease(KEY, TOKEN, ttl=30, seen=None)).kind is not GRANTED
        await asyncio.to_thread(server.restart)
        assert await store.get_many([KEY]) == [None]
        assert (await store.lease(KEY, TOKEN, ttl=30, seen=None)).kind is GRANTED


@pytest.mark.asyncio
async def test_a_server_that_forgot_its_scripts_is_taught_again(server):
    async with aclosing(RedisStore(server.url)) as store, Redis.from_url(server.url) as redis:
        for _ in range(2):
            assert (await store.lease(KEY, TOKEN, ttl=30, seen=None)).kind is GRANTED
            await redis.script_flush()
        await store.fence([KEY], [TAG], TOKEN, ttl=30, message=None)
        await redis.script_flush()
        assert await store.commit(item(), TOKEN, message=None)


@pytest.mark.asyncio
async def test_a_hung_server_costs_everybody_one_timeout_at_once(server):
    async with aclosing(RedisStore(server.url, timeout=1)) as store:
        await store.set_many([item()])
        assert await store.get_many([KEY]) == [b"1"]
        server.pause()
        started = asyncio.get_running_loop().time()

        async def late():
            await asyncio.sleep(0.1)
            began = asyncio.get_running_loop().time()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await store.get_many([TAG])
            return since(began)

        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(late())
            answers = await asyncio.gather(
                *(store.get_many([f"shop:{{{number}}}"]) for number in range(50)),
                store.drop([KEY], [TAG], message=None),
                return_exceptions=True,
            )
            took = since(started)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert 0.99 <= took < 1.9
        assert waiting.result() < 1.9, "a batch behind a hung one has a deadline of its own"
        server.resume()
        assert await store.get_many([KEY]) in ([b"1"], [None])


@pytest.mark.asyncio
async def test_what_cannot_be_written_to_a_hung_server_is_not_waited_for_at_the_end(server):
    store = RedisStore(server.url, timeout=0.2)
    await store.set_many([item()])
    server.pause()
    with pytest.raises(StoreUnavailable):
        await store.set_many([item(bytes(50_000_000))])
    async with asyncio.timeout(5):
        await store.aclose()
    server.resume()


@pytest.mark.asyncio
async def test_nobody_listens_at_the_address():
    store = RedisStore("redis://127.0.0.1:1/0")
    with pytest.raises(
        StoreUnavailable, match=r"redis://127\.0\.0\.1:1, database 0: ConnectionError"
    ) as caught:
        await store.get_many([KEY])
    assert caught.value.__cause__ is not None
    await store.aclose()


@pytest.mark.asyncio
async def test_closing_ends_what_is_under_way_and_the_store_opens_again(server):
    store = RedisStore(server.url)
    assert await store.get_many([KEY]) == [None]
    server.pause()
    waiting = [asyncio.create_task(store.get_many([KEY])) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting.append(asyncio.create_task(store.drop([KEY], [], message=None)))
    await asyncio.sleep(0)
    await store.aclose()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    server.resume()
    assert await store.get_many([KEY]) == [None]
    await store.aclose()


@pytest.mark.asyncio
async def test_on_a_full_server_invalidation_works_and_storing_says_no(server):
    async with aclosing(RedisStore(server.url)) as store, Redis.from_url(server.url) as redis:
        stamp, [version] = await store.stamp("shop"), await store.versions([TAG], ttl=60)
        await store.set_many([item(b"old")])
        await store.fence(["shop:{f}"], [], TOKEN, ttl=30, message=None)
        await store.lease("shop:{l}", TOKEN, ttl=30, seen=None)
        await redis.config_set("maxmemory", "1kb")
        for store_it in (
            partial(store.set_many, [item(b"new")]),
            partial(store.put, [item(b"new")], message=None),
            partial(store.commit, item(b"new", "shop:{l}"), TOKEN, message=None),
            partial(store.lease, "shop:{l}", TOKEN, ttl=30, seen=None),
        ):
            with pytest.raises(StoreUnavailable, match="OOM"):
                await store_it()
        assert await store.claims("shop:{l}") == [], "a commit ends the claim either way"
        assert await store.get_many([KEY, "shop:{l}"]) == [b"old", None]
        await store.drop([KEY, "shop:{f}"], [TAG], message=None)
        await store.fence([KEY], [TAG], b"another token", ttl=30, message=None)
        assert await store.settle([TAG], TOKEN, ttl=30) == [None]
        assert await store.peek([KEY], [TAG]) == ([None], [None])
        [claim] = await store.claims("shop:{f}")
        assert claim.tainted
        await redis.config_set("maxmemory", "0")
        assert await store.stamp("shop") != stamp
        await store.release([], [TAG], b"another token", message=None)
        assert await store.versions([TAG], ttl=60) != [version]


@pytest.mark.asyncio
async def test_what_a_server_evicts_is_only_ever_missed():
    options = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "64")
    with valkey(*options) as server:
        store = RedisStore(server.url)
        stamp, [version] = await store.stamp("shop"), await store.versions([TAG], ttl=60)
        for number in range(200):
            await store.set_many([item(bytes(100_000), f"shop:{{{number}}}")])
        assert await store.peek([], [TAG]) == ([], [None])
        assert await store.versions([TAG], ttl=60) != [version]
        assert await store.stamp("shop") != stamp
        await store.aclose()


# --- the feed ---------------------------------------------------------------------------------------


class Heard(list):
    """What a listener was told, and a way to wait for it."""

    def __init__(self):
        self.pings = []
        self._news = asyncio.Event()

    def append(self, one):
        super().append(one)
        self._news.set()

    def listen(self, store):
        return store.listen(heard=self.append, gap=lambda: self.append(None), alive=self.pings.append)

    async def until(self, expected):
        async with asyncio.timeout(5):
            while self != expected:
                self._news.clear()
                await self._news.wait()


@pytest.mark.asyncio
async def test_a_listener_outlives_servers_that_are_away_die_and_hang(tmp_path):
    server = ValkeyServer(str(tmp_path))
    store, heard = RedisStore(server.url, timeout=0.2, ping_every=0.05), Heard()
    async with aclosing(store), heard.listen(store):
        await asyncio.sleep(0.02)
        assert heard == []
        await asyncio.to_thread(server.start)
        try:
            await heard.until([None])
            await asyncio.to_thread(server.restart)
            await heard.until([None, None])
            await store.drop([KEY], [], message=b"1")
            await heard.until([None, None, b"1"])
            server.pause()
            await asyncio.sleep(0.3)
            answered = len(heard.pings)
            await asyncio.sleep(0.1)
            assert len(heard.pings) == answered
            server.resume()
            await heard.until([None, None, b"1", None])
        finally:
            server.kill()
    assert heard.pings == sorted(heard.pings)


@pytest.mark.asyncio
async def test_an_error_of_a_callback_is_reported_and_followed_by_a_gap(server):
    loop, reports, gaps = asyncio.get_running_loop(), [], Heard()
    loop.set_exception_handler(lambda _, context: reports.append(context))

    def heard(message):
        raise RuntimeError("of the callback")

    store = RedisStore(server.url)
    listening = store.listen(heard=heard, gap=lambda: gaps.append(None), alive=lambda _: None)
    async with aclosing(store), listening:
        await gaps.until([None])
        await store.drop([KEY], [], message=b"1")
        await gaps.until([None, None])
    assert [str(report["exception"]) for report in reports] == ["of the callback"]


@pytest.mark.asyncio
async def test_a_subscription_that_the_server_refuses_is_tried_again(server):
    """As while it reads its data after a restart: no mistake of a listener's."""
    reports, heard = [], Heard()
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    url = server.url.replace("redis://", "redis://shop:hidden@")
    async with Redis.from_url(server.url) as redis, aclosing(RedisStore(url)) as store:
        await redis.execute_command("ACL", "SETUSER", "shop", "on", ">hidden", "~*", "+@all", "resetchannels")
        async with heard.listen(store):
            while not await redis.acl_log():  # it was refused
                await asyncio.sleep(0.01)
            await redis.execute_command("ACL", "SETUSER", "shop", "allchannels")
            await heard.until([None])
    assert reports == []


# --- cancellation and numbers -----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_thousand_readers_use_one_connection_and_few_commands(server):
    async with aclosing(RedisStore(server.url, timeout=20)) as store, Redis.from_url(server.url) as redis:
        items = [item(b"%d" % number, f"shop:{{{number}}}") for number in range(1000)]
        await store.set_many(items)
        await redis.config_resetstat()
        answers = await asyncio.gather(*(store.get_many([one.key]) for one in items))
        assert answers == [[one.data] for one in items]
        stats = await redis.info("commandstats")
        assert stats["cmdstat_mget"]["calls"] == 2, "of 500 keys each"
        assert (await redis.info("clients"))["connected_clients"] == 3


@pytest.mark.asyncio
async def test_what_is_asked_for_within_one_turn_travels_together_and_once(server):
    async with aclosing(RedisStore(server.url)) as store, Redis.from_url(server.url) as redis:
        await store.set_many([item()])
        await redis.config_resetstat()
        found = await asyncio.gather(
            *(store.get_many([KEY]) for _ in range(20)), *(store.peek([KEY], [TAG]) for _ in range(20))
        )
        assert found == [[b"1"]] * 20 + [([b"1"], [None])] * 20
        stats = await redis.info("commandstats")
        assert stats["cmdstat_mget"]["calls"] == 1
        assert "cmdstat_evalsha" not in stats


@pytest.mark.asyncio
async def test_a_read_that_was_already_sent_is_not_joined(server):
    async with aclosing(RedisStore(server.url, timeout=20)) as store, Redis.from_url(server.url) as redis:
        await store.get_many([KEY])
        await redis.config_resetstat()
        server.pause()
        first = asyncio.create_task(store.get_many([KEY]))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(store.get_many([KEY]))
        await asyncio.sleep(0.01)
        server.resume()
        assert await asyncio.gather(first, second) == [[None], [None]]
        assert (await redis.info("commandstats"))["cmdstat_mget"]["calls"] == 2


async def commands_of(reader):
    """Yield each command that comes over a connection."""
    while head := await reader.readline():
        command = []
        for _ in range(int(head[1:])):
            size = int((await reader.readline())[1:])
            command.append((await reader.readexactly(size + 2))[:-2])
        yield command


def echo(command):
    """Return what a server answers that holds each key under itself, and agrees to all else."""
    if command[0] != b"MGET":
        return b"+OK\r\n"
    return b"*%d\r\n" % len(command[1:]) + b"".join(b"$%d\r\n%b\r\n" % (len(k), k) for k in command[1:])


@pytest.mark.asyncio
async def test_an_answer_that_comes_after_its_time_is_never_anothers():
    held = []

    async def answer(reader, writer):
        mine = []
        async for command in commands_of(reader):
            if command[0] == b"MGET" and not held:
                held.append(command)
                mine.append(command)
                continue
            for one in (*mine, command):
                writer.write(echo(one))
                await asyncio.sleep(0.01)

    async with impostor(answer) as url, aclosing(RedisStore(url, timeout=0.2)) as store:
        with pytest.raises(StoreUnavailable):
            await store.get_many(["shop:{first}"])
        assert await store.get_many(["shop:{second}"]) == [b"acache:e:shop:{second}"]


@pytest.mark.asyncio
async def test_a_connection_that_answers_twice_is_given_up():
    async def answer(reader, writer):
        async for command in commands_of(reader):
            writer.write(echo(command) * (2 if command[0] == b"MGET" and b"first" in command[1] else 1))

    async with impostor(answer) as url, aclosing(RedisStore(url, timeout=20)) as store:
        with pytest.raises(StoreUnavailable, match="nobody asked for"):
            await store.get_many(["shop:{first}"])
        assert await store.get_many(["shop:{second}"]) == [b"acache:e:shop:{second}"]


@pytest.mark.asyncio
async def test_readers_that_are_cancelled_anywhere_never_get_or_cause_a_wrong_answer(server):
    rng = Random(3)

    async def slowly(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", server.port)

        async def pump(source, sink):
            while data := await source.read(rng.choice([50, 500, 5000])):
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
                sink.write(data)
            sink.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, back))
                group.create_task(pump(there, writer))
        finally:
            back.close()

    async with aclosing(RedisStore(server.url)) as direct, impostor(slowly) as url:
        items = [item(b"%d" % number, f"shop:{{{number}}}") for number in range(100)]
        await direct.set_many(items)
        store = RedisStore(url.replace("user:s3cret@", ""), timeout=5)
        answered = cancelled = 0

        async def read(one):
            nonlocal answered, cancelled
            task = asyncio.create_task(store.get_many([one.key]))
            await asyncio.sleep(rng.random() * 0.01)
            if rng.random() < 0.7:
                task.cancel()
            try:
                assert await task == [one.data]
                answered += 1
            except asyncio.CancelledError:
                cancelled += 1

        async with aclosing(store):
            for _ in range(8):
                await asyncio.gather(*(read(rng.choice(items)) for _ in range(100)))
        assert answered > 100
        assert cancelled > 100


# --- secrets and nonsense ---------------------------------------------------------------------------


def everything_said_by(error):
    """Return all text that a log, a debugger or a report of crashes would show of *error*."""
    said = []
    while error is not None:
        said += [str(error), repr(error)]
        traceback = error.__traceback__
        while traceback is not None:
            if "test_redis" not in traceback.tb_frame.f_code.co_filename:
                said += [repr(value) for value in traceback.tb_frame.f_locals.values()]
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__
    return "\n".join(said)


async def refuse_auth(reader, writer):
    await reader.readline()
    writer.write(b"-ERR unknown command 'AUTH', with args beginning with: 'user' 's3cret'\r\n")
    await writer.drain()


async def talk_http(reader, writer):
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def lie_about_length(reader, writer):
    await reader.read(1)
    writer.write(b"+OK\r\n" * 20 + b"$x\r\n*1\r\n")
    await writer.drain()


async def answer_too_little(reader, writer):
    writer.write(b"+OK\r\n" * 3 + b"*0\r\n")
    await writer.drain()
    await reader.read()


async def hang_up(reader, writer):
    await reader.read(1)


@pytest.mark.parametrize("answer", [refuse_auth, talk_http, lie_about_length, answer_too_little, hang_up])
@pytest.mark.asyncio
async def test_whatever_a_server_answers_is_one_error_without_secrets(answer, caplog):
    caplog.set_level(0)
    async with impostor(answer) as url, aclosing(RedisStore(url, timeout=0.3)) as store:
        for call in (
            partial(store.get_many, [KEY]),
            partial(store.drop, [KEY], [TAG], message=b"m"),
            partial(store.lease, KEY, TOKEN, ttl=30, seen=None),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await call()
            assert caught.value.__cause__ is not None
            assert "s3cret" not in everything_said_by(caught.value)
        async with store.listen(heard=print, gap=print, alive=print):
            await asyncio.sleep(0.02)
        assert "s3cret" not in repr(store) + repr(vars(store)) + caplog.text


@pytest.mark.asyncio
async def test_a_wrong_password_is_named_but_not_shown():
    with valkey("--requirepass", "s3cret-right") as server:
        right = RedisStore(f"redis://:s3cret-right@127.0.0.1:{server.port}/0")
        wrong = RedisStore(f"redis://:s3cret-wrong@127.0.0.1:{server.port}/0")
        none = RedisStore(server.url)
        assert await right.get_many([KEY]) == [None]
        for store in (wrong, none):
            with pytest.raises(StoreUnavailable, match="Authentication") as caught:
                await store.get_many([KEY])
            assert "s3cret" not in everything_said_by(caught.value)
            await store.aclose()
        await right.aclose()


@pytest.mark.asyncio
async def test_waiters_of_one_failed_batch_get_errors_of_their_own(server):
    store = RedisStore("redis://127.0.0.1:1/0")
    errors = await asyncio.gather(*(store.get_many([KEY]) for _ in range(5)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 5
    await store.aclose()
