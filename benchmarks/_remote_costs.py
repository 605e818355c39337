"""What remote operations cost beside hits: misses, sets, the server's share, bytes, layers, uvloop."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from time import perf_counter, process_time
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis

from acache import Cache
from acache._envelope import Sealer
from acache._packing import Packer
from acache.clock import SYSTEM_CLOCK
from acache.codecs import MsgpackCodec
from acache_redis import RedisStore
from benchmarks import _measure as measure
from benchmarks._readers import KEYS, user
from benchmarks._table import Row

SUITE = "redis"
READERS = 100
Users = dict[str, int | str]
Work = Callable[[int], Awaitable[object]]


async def run(url: str, rounds: int) -> list[Row]:
    """Return all rows."""
    rows = await operations(url, rounds)
    for readers in (1, READERS):
        rows += await layers(url, rounds, readers)
    return rows + await sizes(url)


# --- misses and sets, and what they cost the server -------------------------------------------------


class Together:
    """A number of concurrent callers of one operation, each time of other keys; notes CPU beside wall."""

    def __init__(self, work: Work, redis: Redis, *, callers: int, each: int, numbers: "count[int]") -> None:
        """Let so many *callers* do *work* so many times *each*."""
        self._work, self._redis, self._numbers = work, redis, numbers
        self._callers, self._each = callers, each
        self.cpu: list[float] = []
        self.server: list[float] = []

    async def __call__(self) -> float:
        """Return the wall's seconds of one operation."""
        total = self._callers * self._each
        spent, began, cpu = await self._server_seconds(), perf_counter(), process_time()
        await asyncio.gather(*(self._caller() for _ in range(self._callers)))
        seconds = perf_counter() - began
        self.cpu.append((process_time() - cpu) / total)
        self.server.append((await self._server_seconds() - spent) / total)
        return seconds / total

    async def _caller(self) -> None:
        for _ in range(self._each):
            await self._work(next(self._numbers))

    async def _server_seconds(self) -> float:
        found = await self._redis.info("cpu")
        return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


@asynccontextmanager
async def _everybody(url: str) -> AsyncIterator[tuple[dict[str, Work], Redis]]:
    """Yield what is measured, by name: a miss and a set by each, a hit and a bare GET beside."""
    import aiocache
    from cashews import Cache as Cashews

    place = urlsplit(url)
    pool = ConnectionPool.from_url(url, max_connections=2 * READERS)
    bare, cashews = Redis(connection_pool=pool), Cashews()
    cashews.setup(url, max_connections=2 * READERS)
    other = aiocache.RedisCache(endpoint=place.hostname, port=place.port, pool_max_size=2 * READERS)

    async def load(user_id: int) -> Users:
        return user(user_id)

    async with Cache(RedisStore(url), namespace="costs") as cache:
        read = cache.cached("held:{user_id}", ttl=300)(load)
        theirs = aiocache.cached(
            ttl=300,
            cache=aiocache.RedisCache,
            endpoint=place.hostname,
            port=place.port,
            pool_max_size=2 * READERS,
            key_builder=lambda _, user_id: f"missed:{user_id}",
        )
        await bare.set("bare", repr(user(1)))
        await read(1)
        yield (
            {
                "GET by the bare client": lambda _: bare.get("bare"),
                "hit, acache": lambda number: read(number % KEYS),
                "miss, acache": cache.cached("miss:{user_id}", ttl=300)(load),
                "miss, aiocache": theirs(load),
                "miss, cashews": cashews(ttl="5m", key="miss:{user_id}")(load),
                "set, bare client": lambda n: bare.set(f"set:{n}", repr(user(n)), ex=300),
                "set, acache": lambda n: cache.set(f"set:{n}", user(n), ttl=300),
                "set, aiocache": lambda n: other.set(f"other:{n}", user(n), ttl=300),
                "set, cashews": lambda n: cashews.set(f"cashews:{n}", user(n), expire=300),
                "invalidate a key, acache": lambda n: cache.invalidate(f"set:{n}"),
            },
            bare,
        )
        await theirs.cache.close()
    await other.close()
    await cashews.close()
    await bare.aclose()
    await pool.aclose()


async def operations(url: str, rounds: int) -> list[Row]:
    """Measure each operation with a hundred concurrent callers."""
    rows = []
    async with _everybody(url) as (works, redis):
        numbers = count(10_000)
        runs = {
            name: Together(work, redis, callers=READERS, each=5, numbers=numbers)
            for name, work in works.items()
        }
        for each in runs.values():
            await each()
            each.cpu.clear()
            each.server.clear()
        for _ in range(2):
            await runs["hit, acache"]()
        times = await measure.interleaved(runs, rounds)
    for name, wall in times.items():
        rows.append(measure.row(SUITE, f"{READERS} callers: {name}", wall, "µs"))
        cpu = runs[name].cpu[-rounds:]
        rows.append(measure.row(SUITE, f"{READERS} callers: {name}, CPU of the client", cpu, "µs"))
        server = statistics.fmean(runs[name].server[-rounds:]) * 1e6
        rows.append(Row(suite=SUITE, name=f"server CPU: {name}", value=server, unit="µs"))
    return rows


# --- layers -----------------------------------------------------------------------------------------


async def layers(url: str, rounds: int, readers: int) -> list[Row]:
    """Say where the client's processor time of a hit goes, with so many *readers* at a time."""
    async with Cache(RedisStore(url), namespace="layers") as cache:

        @cache.cached("user:{user_id}", ttl=300)
        async def read(user_id: int) -> Users:
            return user(user_id)

        for number in range(readers):
            await read(number)
        keys = [f"layers:{{user:{number}}}" for number in range(readers)]
        store = RedisStore(url)
        found = await store.get_many(keys)
        packer = Packer(MsgpackCodec(), Sealer("layers", max_bytes=2**24), SYSTEM_CLOCK)
        pairs = [(f"user:{number}", data) for number, data in enumerate(found) if data is not None]
        assert len(pairs) == readers
        stored = [packer.open(key, data) for key, data in pairs]
        turns = 2_000 // readers

        async def together(work: Work) -> None:
            for _ in range(turns):
                await (work(0) if readers == 1 else asyncio.gather(*map(work, range(readers))))

        async def nothing(_: int) -> None:
            await asyncio.sleep(0)

        async def whole() -> None:
            await together(read)

        async def tasks() -> None:
            await together(nothing)

        async def fetched() -> None:
            for _ in range(turns):
                await store.get_many(keys)

        async def opened() -> None:
            for _ in range(turns):
                for key, data in pairs:
                    packer.open(key, data)

        async def decoded() -> None:
            for _ in range(turns):
                for each in stored:
                    packer.value(each, Users)

        works = {"whole": whole, "tasks": tasks, "fetched": fetched, "opened": opened, "decoded": decoded}
        runs = {name: measure.Busy(work, turns * readers) for name, work in works.items()}
        times = await measure.interleaved(runs, rounds)
        await store.aclose()
    cost = {name: measure.median(each) * 1e6 for name, each in times.items()}
    among = "" if readers > 1 else ", one reader"
    rest = cost["whole"] - sum(each for name, each in cost.items() if name != "whole")
    named = {
        "the readers' own tasks": cost["tasks"],
        "key, coalescing, batching, judging": rest,
        "client, protocol, socket (one MGET)": cost["fetched"],
        "envelope: checksum, times, stamps": cost["opened"],
        "codec: MessagePack of ten fields": cost["decoded"],
        "all of it": cost["whole"],
    }
    return [
        Row(suite=SUITE, name=f"layer of a hit{among}: {name}", value=value, unit="µs")
        for name, value in named.items()
    ]


# --- bytes ------------------------------------------------------------------------------------------


async def sizes(url: str) -> list[Row]:
    """Say how many bytes an entry and a message take beside what they carry."""
    payload = len(MsgpackCodec().encode(user(42)))
    rows = [Row(suite=SUITE, name="bytes: a row of ten fields, MessagePack", value=payload, unit="B")]
    async with (
        Redis.from_url(url) as redis,
        redis.pubsub() as feed,
        Cache(RedisStore(url), namespace="sizes") as cache,
    ):
        for name, tags in (("no tag", ()), ("two tags", ("user:42", "users"))):
            await cache.set("user:42", user(42), ttl=300, tags=tags)
            size = await redis.strlen("acache:e:sizes:{user:42}")
            rows.append(
                Row(suite=SUITE, name=f"bytes: envelope around it, {name}", value=size - payload, unit="B")
            )
        await feed.psubscribe("*")
        await feed.get_message(timeout=1)

        async def load() -> Users:
            return user(43)

        for name, work in (
            ("a dropped key", lambda: cache.invalidate("user:42")),
            ("a dropped tag", lambda: cache.invalidate(tags=["users"])),
            ("a loaded value, inline", lambda: cache.get_or_load("user:43", load, ttl=300)),
        ):
            await work()
            while (message := await feed.get_message(timeout=1)) is None or message["type"] != "pmessage":
                pass
            rows.append(
                Row(suite=SUITE, name=f"bytes: message of {name}", value=len(message["data"]), unit="B")
            )
    return rows
