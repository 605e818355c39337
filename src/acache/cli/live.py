"""The dashboard over a shop that is busy: a real SQLite file, readers, a writer, last-seen times behind.

Knows nothing of the command line."""

import asyncio
import random
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import uvicorn

from acache import Cache, WriteBehind
from acache.cli.demo.database import Database, Summary, open_database, summary
from acache.cli.demo.traffic import Population, Traffic
from acache.dashboard import asgi_app
from acache_sqlite import SQLiteJournal, SQLiteTable

TTL: Final = 2.0  # seconds; short, so that there is something to see
READERS: Final = 200
PAUSE: Final = 0.5  # seconds between two reads of a reader, on average


class Shop:
    """Three cached functions worth, and not worth, their cache; and a table that is written behind."""

    def __init__(self, database: Database, cache: Cache, seen: WriteBehind[int, dict[str, Any]]) -> None:
        """Cache what *database* says, and write *seen* behind."""
        self._database = database
        self._cache = cache
        self._seen = seen
        self._closing = asyncio.Event()
        self._orders = cache.cached("orders:{user}", ttl=TTL, tags=["user:{user}"])(self.orders_of)
        self._double = cache.cached("double:{user}", ttl=TTL)(self.double_of)

    async def orders_of(self, user: int) -> Summary:
        """Ask the database: milliseconds of work."""
        async with self._database.connection() as connection:
            return await summary(connection, user)

    async def double_of(self, user: int) -> int:
        """Compute what nobody should cache."""
        return 2 * user

    def close(self) -> None:
        """Let readers and the writer end once they are done with what they do."""
        self._closing.set()

    async def _goes_on(self, rng: random.Random, pause: float) -> bool:
        """Wait for *pause* seconds on average; say whether the shop is still open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(rng.expovariate(1 / pause)):
                await self._closing.wait()
        return not self._closing.is_set()

    async def read(self, population: Population, rng: random.Random) -> None:
        """Read, with pauses, until the shop closes."""
        while await self._goes_on(rng, PAUSE):
            user = population.draw(rng)
            await self._orders(user)
            await self._double(user)
            await self._seen.put(user, {"id": user, "reads": rng.randrange(1_000)})

    async def write(self, population: Population, rng: random.Random) -> None:
        """Change a user now and then, and invalidate what was made of it."""
        while await self._goes_on(rng, 1.0):
            user = population.draw(rng)
            await self._database.place_order(user, cents=rng.randint(100, 90_000))
            await self._cache.invalidate(tags=[f"user:{user}"])


@asynccontextmanager
async def open_shop(directory: Path, *, seed: int) -> AsyncGenerator[Any]:
    """Yield the dashboard's ASGI app over a shop whose traffic runs until the end of the block."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(directory, seed=seed))
        table = await stack.enter_async_context(_seen_table(directory / "seen.db"))
        cache = await stack.enter_async_context(
            Cache("memory://?max_entries=60", namespace="shop", rng=random.Random(seed))
        )
        seen = await stack.enter_async_context(
            WriteBehind(
                cache,
                table,
                key="seen:{}",
                ttl=60,
                journal=SQLiteJournal(directory / "journal"),
                max_delay=1.0,
            )
        )
        shop = Shop(database, cache, seen)
        traffic = Traffic(seed=seed, readers=READERS, seconds=0, ttl=TTL, writes_per_second=1)
        population = Population(traffic)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for number in range(READERS):
            group.create_task(shop.read(population, random.Random(f"{seed}/reader/{number}")))
        group.create_task(shop.write(population, random.Random(f"{seed}/writer")))
        try:
            yield asgi_app(cache, write_behind={"last seen": seen})
        finally:
            shop.close()


@asynccontextmanager
async def _seen_table(path: Path) -> AsyncGenerator[SQLiteTable[int, dict[str, Any]]]:
    import aiosqlite

    async with aiosqlite.connect(path) as connection:
        await connection.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY, reads INTEGER NOT NULL)")
        await connection.commit()
    async with SQLiteTable[int, dict[str, Any]](str(path), "seen", key="id") as table:
        yield table


async def serve(
    directory: Path, *, seed: int, host: str, port: int, seconds: float | None, ready: Callable[[str], object]
) -> None:
    """Serve the dashboard until interrupted or for *seconds*; *ready* is told its URL.

    Raises OSError if it cannot listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        await _serve(listener, directory, seed=seed, host=host, seconds=seconds, ready=ready)


class _Server(uvicorn.Server):
    """A server that leaves signals alone: the shop closes after it, in order, not by being cancelled."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield

    def stop(self) -> None:
        """End the serving."""
        self.should_exit = True


async def _serve(
    listener: socket.socket,
    directory: Path,
    *,
    seed: int,
    host: str,
    seconds: float | None,
    ready: Callable[[str], object],
) -> None:
    async with open_shop(directory, seed=seed) as app:
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, lifespan="off")
        server = _Server(config)
        if sys.platform != "win32":  # where Ctrl-C cancels
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, server.stop)
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{listener.getsockname()[1]}/")
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.wait([serving], timeout=seconds)
        server.stop()
        await serving
