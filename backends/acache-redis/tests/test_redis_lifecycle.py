"""One store through event loops, processes and clients that come and go."""

import asyncio
import subprocess
import sys
from contextlib import aclosing
from textwrap import dedent

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import ConnectionPool, Redis
from valkey_server import environment

from acache import Cache
from acache.protocols import Item
from acache_redis import RedisStore

pytestmark = pytest.mark.real

KEY = "shop:{k}"


def run(program, *arguments):
    """Run a program of its own, all warnings errors; return what it printed."""
    command = [sys.executable, "-W", "error", "-c", dedent(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_one_store_serves_one_loop_after_the_other_without_being_closed(server):
    program = """
        import asyncio, gc, sys
        from acache.protocols import Item
        from acache_redis import RedisStore

        store = RedisStore(sys.argv[1])

        async def main(number):
            await store.set_many([Item(key="shop:{k}", data=b"%d" % number, ttl=60)])
            await store.drop(["shop:{x}"], [], message=None)
            async with store.listen(heard=print, gap=lambda: None, alive=lambda _: None):
                return await asyncio.gather(*(store.get_many(["shop:{k}"]) for _ in range(3)))

        for number in range(3):
            print(asyncio.run(main(number)))
            gc.collect()
        """
    assert run(program, server.url).split("\n")[:3] == [f"[[b'{n}'], [b'{n}'], [b'{n}']]" for n in range(3)]


def test_a_loop_that_ends_in_the_middle_of_a_read_leaves_nothing(server):
    program = """
        import asyncio, gc, sys
        from acache_redis import RedisStore

        store = RedisStore(sys.argv[1])

        async def main(steps):
            await store.get_many(["shop:{k}"])
            asyncio.create_task(store.get_many(["shop:{k}"]))
            asyncio.create_task(store.drop(["shop:{k}"], ["shop:{t}"], message=b"m"))
            for _ in range(steps):
                await asyncio.sleep(0)

        for steps in range(5):
            asyncio.run(main(steps))
            gc.collect()
        """
    assert run(program, server.url) == ""


@pytest.mark.asyncio
async def test_a_feed_that_is_cancelled_while_it_closes_is_closed_all_the_same(server):
    store, ready = RedisStore(server.url), asyncio.Event()

    async def listen():
        async with store.listen(heard=print, gap=ready.set, alive=lambda _: None):
            await asyncio.Event().wait()

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(10):
        await ready.wait()
    [feed] = [task for task in asyncio.all_tasks() if task.get_name() == "acache-redis feed"]
    feed.cancel()  # as a loop that ends cancels all its tasks, ...
    listening.cancel()  # ... and this one then cancels the other, which is closing its connection
    await asyncio.wait([feed, listening])  # redis-py warns of what was left open


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop()", "loop"])
def test_a_forked_child_opens_connections_of_its_own(server, loop):
    program = """
        import asyncio, gc, os, sys
        from acache.protocols import Item
        from acache_redis import RedisStore

        store = RedisStore(sys.argv[1])

        async def ask(key, data):
            await store.set_many([Item(key=key, data=data, ttl=60)])
            for _ in range(100):
                assert await store.get_many([key]) == [data]

        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask("shop:{parent}", b"1"))
        pid = os.fork()
        if pid == 0:
            eval(sys.argv[2]).run_until_complete(ask("shop:{child}", b"2"))
            gc.collect()
            print("child", flush=True)
            os._exit(0)
        if sys.argv[2] == "loop":  # not to be done: what the child did to the selector, it did to both
            os._exit(os.waitpid(pid, 0)[1])
        loop.run_until_complete(ask("shop:{parent}", b"3"))
        assert os.waitpid(pid, 0)[1] == 0
        loop.run_until_complete(ask("shop:{parent}", b"4"))
        loop.run_until_complete(store.aclose())
        loop.close()
        print("parent")
        """
    with BlockingRedis.from_url(server.url) as redis:
        before = redis.info("stats")["total_connections_received"]
        assert run(program, server.url, loop) == ("child\n" if loop == "loop" else "child\nparent\n")
        assert redis.info("stats")["total_connections_received"] - before == 2 + 2


@pytest.mark.asyncio
async def test_a_cache_waits_as_long_as_the_stores_own_timeout(server):
    told = []
    async with Cache(f"{server.url}?timeout=20") as cache, Redis.from_url(server.url) as redis:
        cache.subscribe(told.append)
        await cache.get("k")
        await redis.client_pause(2_500)
        assert await cache.get("k") is None
    assert told == [], "a slow answer is no failure: without the timeout it would be one after 1.5 s"


@pytest.mark.asyncio
async def test_a_lent_client_is_neither_used_up_nor_closed(server):
    pool = ConnectionPool.from_url(server.url, max_connections=1, decode_responses=True)
    async with Redis(connection_pool=pool) as lent:
        await lent.set("text", "ä")
        store = RedisStore(lent)
        await asyncio.gather(*(store.get_many([f"shop:{{{number}}}"]) for number in range(200)))
        await store.set_many([Item(key=KEY, data=b"\xff", ttl=60)])
        assert await store.get_many([KEY]) == [b"\xff"]
        await store.aclose()
        assert await lent.get("text") == "ä"
    await pool.aclose()


@pytest.mark.asyncio
async def test_a_unix_socket_serves_as_well(server):
    async with aclosing(RedisStore(f"unix://{server.socket}?db=3")) as store:
        await store.set_many([Item(key=KEY, data=b"3", ttl=60)])
        assert await store.get_many([KEY]) == [b"3"]
    async with aclosing(RedisStore(server.url)) as store:
        assert await store.get_many([KEY]) != [b"3"], "another database"


@pytest.mark.asyncio
async def test_a_database_hears_only_its_own_messages(server):
    heard, ready, said = [], asyncio.Event(), asyncio.Event()
    one, other = RedisStore(server.url), RedisStore(f"unix://{server.socket}?db=3")

    def hear(message):
        heard.append(message)
        said.set()

    async with (
        aclosing(one),
        aclosing(other),
        one.listen(heard=hear, gap=ready.set, alive=lambda _: None),
        asyncio.timeout(5),
    ):
        await ready.wait()
        await other.drop([KEY], [], message=b"other")
        await one.drop([KEY], [], message=b"one")
        await said.wait()
    assert heard == [b"one"]


@pytest.mark.every_loop
@pytest.mark.asyncio
async def test_reads_of_one_turn_travel_together_on_every_kind_of_loop(server):
    async with aclosing(RedisStore(server.url)) as store, Redis.from_url(server.url) as redis:
        await store.get_many([KEY])
        await redis.config_resetstat()
        await asyncio.gather(*(store.get_many([f"shop:{{{number}}}"]) for number in range(20)))
        stats = await redis.info("commandstats")
        assert stats["cmdstat_mget"]["calls"] == 1


@pytest.mark.every_loop
@pytest.mark.asyncio
async def test_an_idle_store_has_no_task(server):
    before = asyncio.all_tasks()
    async with aclosing(RedisStore(server.url)) as store:
        await store.set_many([Item(key=KEY, data=b"1", ttl=60)])
        await store.get_many([KEY])
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
