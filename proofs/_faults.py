"""Every public operation under every fault of the network: it ends in time, answers right, and heals."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from acache import Cache, MemoryJournal, ReadThrough, WriteBehind, WriteThrough
from acache.errors import CacheError, SourceUnavailable
from acache.testing.proxy import Proxy
from acache_postgres import PostgresTable
from acache_redis import RedisStore

TIMEOUT = 0.3  # seconds that a round trip, or a statement, may take
MARGIN = 2.0  # seconds on top, for a machine that is busy with all the other cells
HEALS = 20.0  # seconds within which everything works again
GRACE = 1.0  # seconds in which PostgreSQL's adapter ends a statement that it gave up
AT_ONCE = 24  # cells

Act = Callable[[Proxy], None]


def _set(**settings: object) -> Act:
    def act(proxy: Proxy) -> None:
        for name, value in settings.items():
            setattr(proxy, name, value)

    return act


# What is done to the proxy before the operation begins, and what while it is under way.
FAULTS: Mapping[str, tuple[Act, Act | None]] = {
    "latency": (_set(latency=0.02), None),
    "latency past the timeout": (_set(latency=1.0), None),
    "jitter": (_set(jitter=0.1), None),
    "bandwidth": (_set(bandwidth=2_000.0), None),
    "partial frames": (_set(fragment=3), None),
    "blackhole": (_set(blackhole=True), None),
    "refuse": (_set(), None),
    "reset": (_set(latency=0.02), lambda proxy: proxy.reset()),
    "cut": (_set(latency=0.02), lambda proxy: proxy.cut()),
    "cuts by chance": (_set(cuts=0.3), None),
    "corruption": (_set(corruption=0.3), None),
}


@dataclass(slots=True)
class Cells:
    """What came of all cells."""

    run: int = 0
    slowest: float = 0.0
    slowest_healing: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


async def load() -> int:
    """Load what everybody should read."""
    return 7


async def load_many(keys: list[str]) -> dict[str, int]:
    """Load several of it."""
    return dict.fromkeys(keys, 7)


# --- a cache over Valkey ----------------------------------------------------------------------------


async def _writing(cache: Cache) -> object:
    async with cache.writing("k", tags=["t"]) as writer:
        writer.commit("k", 7, ttl=60)
    return 7


async def _cached(cache: Cache) -> object:
    function = cache.cached("function", ttl=60, tags=["t"])(load)
    return await function()


async def _cached_many(cache: Cache) -> object:
    function = cache.cached_many("item:{}", ttl=60)(load_many)
    return (await function(["1", "2"]))["2"]


async def _refresh(cache: Cache) -> object:
    return await cache.cached("refreshed", ttl=60)(load).refresh()


async def _explain(cache: Cache) -> object:
    return str(await cache.explain("k")) and None


# Each returns 7, or None where there is nothing to compare.
OPERATIONS: Mapping[str, Callable[[Cache], Awaitable[object]]] = {
    "get": lambda cache: cache.get("k", type=int),
    "get_many": lambda cache: _value(cache.get_many(["k", "other"], type=int)),
    "get_or_load": lambda cache: cache.get_or_load("k", load, ttl=60, type=int, tags=["t"]),
    "get_or_load of what is missing": lambda cache: cache.get_or_load("new", load, ttl=60, type=int),
    "get_or_load_many": lambda cache: _value(
        cache.get_or_load_many(["k", "new"], load_many, ttl=60, type=int)
    ),
    "a cached function": _cached,
    "a cached batch": _cached_many,
    "refresh": _refresh,
    "set": lambda cache: cache.set("k", 7, ttl=60, tags=["t"]),
    "set_many": lambda cache: cache.set_many({"k": 7, "l": 7}, ttl=60),
    "invalidate": lambda cache: cache.invalidate("k"),
    "invalidate a tag": lambda cache: cache.invalidate(tags=["t"]),
    "clear": lambda cache: cache.clear(),
    "writing": _writing,
    "explain": _explain,
    "aclose": lambda cache: cache.aclose(),
}


async def _value(found: Awaitable[Mapping[str, object]]) -> object:
    return (await found).get("k")


async def cache_cell(port: int, operation: str, fault: str, number: int, cells: Cells) -> None:
    """Run one operation of a cache of its own under one fault."""
    name = f"{operation} under {fault}"
    async with Proxy("127.0.0.1", port, seed=number) as proxy:
        store = RedisStore(f"redis://127.0.0.1:{proxy.port}/0", timeout=TIMEOUT, ping_every=0.2)
        options = {"namespace": f"cell{number}", "signing_keys": [bytes(range(32))]}
        cache = Cache(store, near=number % 2 == 0 or None, **options)
        async with cache, Cache(f"redis://127.0.0.1:{port}/0", **options) as witness:
            await cache.set("k", 7, ttl=60, tags=["t"])
            async with _under(proxy, fault):
                # Each of its parts may wait for one answer: the change, its fence, its release.
                found = await _timed(name, OPERATIONS[operation](cache), 3 * TIMEOUT + MARGIN, cells)
            if found not in {None, 7}:
                cells.problems.append(f"{name}: {found!r} instead of 7")
            if operation == "aclose":
                await cache.__aenter__()
            await _heals(name, lambda: _agree(cache, witness), cells)
        cells.struck += proxy.struck


async def _agree(cache: Cache, witness: Cache) -> bool:
    """Say whether what *cache* stores and invalidates reaches *witness*, which uses no proxy."""
    if cache.health().pending_invalidations:
        return False
    await cache.set("heal", 1, ttl=60)
    if await witness.get("heal", type=int) != 1:
        return False
    await cache.invalidate("heal")
    return await witness.get("heal", type=int) is None and cache.health().remote == "up"


# --- sources over PostgreSQL ------------------------------------------------------------------------

ROW = {"id": 1, "value": 7}


async def _behind(table: PostgresTable) -> object:
    async with Cache() as cache:
        rows = WriteBehind(cache, table, key="r:{}", ttl=60, journal=MemoryJournal(), max_delay=0.01)
        await rows.put(2, {"id": 2, "value": 7})  # acknowledged whatever the database does
        found = await rows.get(2)
        await rows.aclose(timeout=TIMEOUT)
    return found["value"]


async def _through(table: PostgresTable, act: str) -> object:
    async with Cache() as cache:
        if act == "put":
            await WriteThrough(cache, table, key="r:{}", ttl=60).put(1, dict(ROW))
            return None
        found = await ReadThrough(cache, table, key="r:{}", ttl=60).get(1)
    return found["value"]


SOURCES: Mapping[str, Callable[[PostgresTable], Awaitable[object]]] = {
    "load": lambda table: table.load([1]),
    "save": lambda table: table.save({1: dict(ROW)}),
    "remove": lambda table: table.remove([9]),
    "ReadThrough.get": lambda table: _through(table, "get"),
    "WriteThrough.put": lambda table: _through(table, "put"),
    "WriteBehind.put": _behind,
    "aclose": lambda table: table.aclose(),
}


async def source_cell(url: str, port: int, operation: str, fault: str, number: int, cells: Cells) -> None:
    """Run one operation of a source of its own under one fault."""
    name = f"PostgreSQL: {operation} under {fault}"
    async with Proxy("127.0.0.1", port, seed=number) as proxy:
        through = url.replace(f":{port}/", f":{proxy.port}/")
        table: PostgresTable[int, dict[str, object]] = PostgresTable(
            through, "rows", timeout=TIMEOUT, pool_size=2
        )
        try:
            await _heals(name, lambda: _loads(table), cells)  # on a busy machine connecting takes a while
            async with _under(proxy, fault):
                # A damaged statement is one that the server refuses: still an error of ours.
                allowed = (CacheError if fault == "corruption" else SourceUnavailable,)
                work = SOURCES[operation](table)
                found = await _timed(name, work, 2 * (TIMEOUT + GRACE) + MARGIN, cells, allowed=allowed)
            if operation == "aclose":
                await table.__aenter__()
            # PostgreSQL's protocol has no checksum of its own: damage is TCP's to find.
            if fault != "corruption" and isinstance(found, int) and found != 7:
                cells.problems.append(f"{name}: {found!r} instead of 7")
            await _heals(name, lambda: _loads(table), cells)
        finally:
            await table.aclose()
        cells.struck += proxy.struck


async def _loads(table: PostgresTable) -> bool:
    try:
        return (await table.load([1]))[1]["id"] == 1
    except SourceUnavailable:
        return False


# --- both -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _under(proxy: Proxy, fault: str) -> AsyncIterator[None]:
    """Let *fault* strike while the block runs; then the weather is fine."""
    before, during = FAULTS[fault]
    before(proxy)
    if fault == "refuse":
        await proxy.refuse()
        proxy.reset()
    strike = None
    if during is not None:
        strike = asyncio.get_running_loop().call_later(0.01, during, proxy)
    try:
        yield
    finally:
        if strike is not None:
            strike.cancel()
        proxy.calm()
        await proxy.accept()


async def _timed(
    name: str,
    work: Awaitable[object],
    bound: float,
    cells: Cells,
    *,
    allowed: tuple[type[Exception], ...] = (),
) -> object:
    started = time.monotonic()
    found: object = None
    try:
        async with asyncio.timeout(3 * bound):
            found = await work
    except allowed:
        pass
    except Exception as error:
        cells.problems.append(f"{name}: {type(error).__name__}: {error}")
    took = time.monotonic() - started
    cells.run += 1
    cells.slowest = max(cells.slowest, took)
    if took > bound:
        cells.problems.append(f"{name}: took {took:.2f} s, at most {bound:.2f}")
    return found


async def _heals(name: str, works: Callable[[], Awaitable[bool]], cells: Cells) -> None:
    started = time.monotonic()
    try:
        async with asyncio.timeout(HEALS):
            while not await works():
                await asyncio.sleep(0.05)
    except TimeoutError:
        cells.problems.append(f"{name}: did not heal within {HEALS:g} s")
    except Exception as error:
        cells.problems.append(f"{name}: healing: {type(error).__name__}: {error}")
    cells.slowest_healing = max(cells.slowest_healing, time.monotonic() - started)


async def cache_cells(port: int, *, every: int = 1) -> Cells:
    """Run every operation of a cache under every fault, or one cell in so many."""
    pairs = [(operation, fault) for operation in OPERATIONS for fault in FAULTS]
    cells = Cells()
    await _gather(
        [
            cache_cell(port, operation, fault, number, cells)
            for number, (operation, fault) in enumerate(pairs)
            if number % every == 0
        ]
    )
    return cells


async def source_cells(url: str, port: int, *, every: int = 1) -> Cells:
    """Run every operation of a source under every fault, or one cell in so many."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS rows (id integer PRIMARY KEY, value integer)")
    await connection.execute("INSERT INTO rows VALUES (1, 7) ON CONFLICT DO NOTHING")
    await connection.close()
    pairs = [(operation, fault) for operation in SOURCES for fault in FAULTS]
    cells = Cells()
    await _gather(
        [
            source_cell(url, port, operation, fault, number, cells)
            for number, (operation, fault) in enumerate(pairs)
            if number % every == 0
        ],
        at_once=12,  # pools of two, and a server of sixty connections
    )
    return cells


async def _gather(work: list[Awaitable[None]], *, at_once: int = AT_ONCE) -> None:
    slots = asyncio.Semaphore(at_once)

    async def one(cell: Awaitable[None]) -> None:
        async with slots:
            await cell

    await asyncio.gather(*map(one, work))
