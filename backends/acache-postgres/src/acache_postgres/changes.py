"""Hear of every change to some tables, whoever makes it, and invalidate what it made old.

Decides nothing: which names a change stands for is in `_watched`, what notifies in `_triggers`."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, Self

from acache.errors import CacheClosed, CacheError, ConfigurationError
from acache_postgres._connection import borrowed, checked_url
from acache_postgres._driver import Pool, connect, is_pool
from acache_postgres._errors import FOREIGN, translated
from acache_postgres._installed import Found, find, install, missing
from acache_postgres._settling import GRACE
from acache_postgres._watched import Names, Naming, watched

log = logging.getLogger("acache_postgres")

MOST_PENDING = 1_000
"""Messages that wait to be read; more of them become everything."""
SLOWEST_RETRY = 5.0
"""Seconds between two attempts to listen again, at most: so long a change may go unseen meanwhile."""


class Invalidating(Naming, Protocol):
    """What is asked of a cache: `acache.Cache` has it."""

    async def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Drop keys and tags."""
        ...

    async def clear(self) -> None:
        """Drop everything."""
        ...


class PostgresChanges:
    """Triggers that notify, and a connection that listens.

        changes = PostgresChanges(
            url, cache,
            tables={"users": "user:{id}", "sales.orders": ["order:{id}", "orders:{user_id}"]},
            tags={"users": ["users", "user:{id}"]},
        )
        async with changes: ...

    Templates are those of the cache; their fields are columns. A changed row stands for its names
    before and after the change. A tag without a field, such as "users", stands for the whole table:
    put it on everything that is made of the table.

    *Everything* is invalidated whenever a change may have gone unseen: when it begins to listen, when
    its connection is lost, with each attempt to restore it, at most 5 seconds apart, and once it is
    restored. Everything is the tags without a field, if each table has one, else the whole cache.
    So it is, for one table, after a TRUNCATE and after a statement that changed over 10,000 rows.

    *url_or_pool*: a URL, or a pool that is lent, of which one connection is held; it must lead to
    PostgreSQL itself, not to a pooler that hands out connections by the transaction. *cache*: what is
    invalidated. *tables*: by table, the template or templates of the keys that a row stands for.
    *tags*: by table, those of the tags. *timeout*: seconds for each exchange with the server.
    *check_interval*: seconds between two looks at the connection and the triggers; a table that was
    made anew, or a partition that was added, gets its triggers then. *rng*: where pauses before
    reconnecting come from, for tests."""

    def __init__(
        self,
        url_or_pool: str | Pool,
        cache: Invalidating,
        tables: Mapping[str, str | Iterable[str]] | None = None,
        *,
        tags: Mapping[str, str | Iterable[str]] | None = None,
        timeout: float = 5.0,
        check_interval: float = 2.0,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare; nothing is connected. Raises `ConfigurationError`."""
        if not isinstance(url_or_pool, str) and not is_pool(url_or_pool):
            raise ConfigurationError(
                "url_or_pool= must be a postgresql:// URL or a pool of asyncpg, "
                f"not {type(url_or_pool).__name__}"
            )
        try:
            self._database = checked_url(url_or_pool) if isinstance(url_or_pool, str) else url_or_pool
        finally:
            del url_or_pool  # it may hold a password, and reporters of errors show variables
        self._cache = cache
        self._watched = watched(tables or {}, tags or {})
        for each in self._watched:
            each.check(cache)
        self._timeout = timeout
        self._check_interval = check_interval
        self._rng = rng if rng is not None else random.Random()  # noqa: S311 - spreads retries
        self._found: dict[str, Found] = {}  # by channel
        self._wanted = True  # whether triggers that are missing are to be installed
        self._messages: dict[tuple[str, str], None] = {}  # heard and not read: channel and payload, in order
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = False

    @property
    def listening(self) -> bool:
        """Whether changes are heard of now."""
        return self._listening

    # --- triggers -----------------------------------------------------------------------------------

    async def install(self) -> None:
        """Create the function and the triggers of each table where they are missing.

        Needs TRIGGER on the table and CREATE on its schema. Locks a table that lacks them against
        writers for a moment. Raises `ConfigurationError` (no such table or column, a view, no
        permission), `SourceUnavailable`."""
        self._wanted = True
        async with self._connected() as connection, asyncio.timeout(self._timeout):
            await install(connection, await find(connection, self._watched))

    async def uninstall(self) -> None:
        """Drop what `install` created; nothing is heard of afterwards. Errors as there."""
        self._wanted = False
        async with self._connected() as connection, asyncio.timeout(self._timeout):
            for found in await find(connection, self._watched):
                await connection.execute(found.triggers.drop())

    # --- life ---------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Install triggers that are missing, listen, and invalidate everything once.

        Raises `ConfigurationError`, `SourceUnavailable`; a connection that is lost later is restored."""
        if self._tasks:
            raise ConfigurationError("PostgresChanges is listening already")
        loop = asyncio.get_running_loop()
        self._wake, self._wanted = asyncio.Event(), True
        started: asyncio.Future[None] = loop.create_future()
        self._tasks = [loop.create_task(self._listen(started)), loop.create_task(self._apply())]
        try:
            await started
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, after what was heard has been invalidated."""
        await self._end()
        await self._read_messages()

    async def _end(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- listening ----------------------------------------------------------------------------------

    async def _listen(self, started: asyncio.Future[None]) -> None:
        """Listen, and again whenever that ended; *started* has how the first attempt went."""
        failures = 0
        while True:
            try:
                async with self._connected() as connection:
                    async with asyncio.timeout(self._timeout):
                        lost = await self._subscribe(connection)
                    await self._invalidate(self._everything())
                    self._listening, failures = True, 0
                    if not started.done():
                        started.set_result(None)
                    else:
                        log.info("listening to PostgreSQL again")
                    await self._watch(connection, lost)
            except CacheError as error:
                if not started.done():
                    started.set_exception(error)
                    return
                log.warning("not listening to PostgreSQL, everything is invalidated: %s", error)
            finally:
                self._listening = False
            await self._invalidate(self._everything())
            await asyncio.sleep(min(SLOWEST_RETRY, 0.05 * 2**failures) * (0.5 + self._rng.random() / 2))
            failures += 1

    async def _subscribe(self, connection: Any) -> asyncio.Event:
        """Listen on *connection*; return what is set when it is lost."""
        tables = await find(connection, self._watched)
        if self._wanted:
            await install(connection, tables)
        self._found = {found.triggers.channel: found for found in tables}
        lost = asyncio.Event()

        def ended(_: object) -> None:
            lost.set()

        connection.add_termination_listener(ended)
        for channel in self._found:
            await connection.add_listener(channel, self._heard)
        return lost

    async def _watch(self, connection: Any, lost: asyncio.Event) -> None:
        """Return when the connection is lost, or triggers are missing that should be there."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), self._check_interval)
            if lost.is_set():
                return
            async with asyncio.timeout(self._timeout):
                for found in self._found.values():
                    if await missing(connection, found) and self._wanted:
                        return

    def _heard(self, connection: Any, pid: int, channel: str, message: str) -> None:
        """Keep a message, which asyncpg calls with, until it is read: many arrive at once."""
        del connection, pid
        if len(self._messages) < MOST_PENDING:
            self._messages[channel, message] = None
        self._wake.set()

    # --- invalidating -------------------------------------------------------------------------------

    async def _apply(self) -> None:
        """Invalidate what was heard."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._read_messages()

    async def _read_messages(self) -> None:
        if len(self._messages) >= MOST_PENDING:
            self._messages.clear()
            await self._invalidate(self._everything())
        while self._messages:
            # One at a time: a message may hold a hundred rows, and others use the loop too.
            channel, message = next(iter(self._messages))
            del self._messages[channel, message]
            found = self._found[channel]
            await self._invalidate(found.watched.names(message, self._cache, found.types))
            await asyncio.sleep(0)

    def _everything(self) -> Names:
        names = Names()
        for each in self._watched:
            names.add(each.whole())
        return names

    async def _invalidate(self, names: Names) -> None:
        try:
            if names.everything:
                await self._cache.clear()
            else:
                await self._cache.invalidate(*names.keys, tags=names.tags)
        except CacheClosed:
            log.debug("the cache is closed: there is nothing to invalidate")
        except CacheError:
            # What could not be reached stays pending in the cache, which retries by itself.
            log.exception("an invalidation was not confirmed")

    # --- connections --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Any]:
        """Open a connection, or take one of the lent pool, for the block; translate what fails."""
        try:
            if not isinstance(self._database, str):
                async with borrowed(self._database, timeout=self._timeout) as connection:
                    try:
                        yield connection
                    finally:
                        with suppress(*FOREIGN):
                            await connection.reset(timeout=GRACE)  # hears no more
                return
            connection = await connect(self._database, timeout=self._timeout)
            try:
                yield connection
            finally:
                with suppress(*FOREIGN):
                    await connection.close(timeout=GRACE)
        except FOREIGN as error:
            raise translated(error, what="PostgresChanges") from error
