"""Caches under load while primaries die, and what became of their reads and invalidations."""

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from valkey_cluster import ask, facts, until

from acache import Cache, Policy
from acache_redis import RedisStore

TIMEOUT = 1.0  # seconds, of the stores
BUSY, KEYS = 60, 120  # keys that are changed all the time, and all keys
CACHES, READERS, WRITERS = 3, 4, 2
UNREPLICATED = 0.08  # seconds between the last changes that a primary makes and its death
POLICY = Policy(ttl=300, beta=0)


@dataclass
class Outcome:
    """What some fail-overs cost."""

    failovers: int = 0
    reads: int = 0
    loads: int = 0
    failed_reads: int = 0
    invalidations: int = 0
    told_again: int = 0  # invalidations that a new primary was told again
    stale_after_heal: int = 0  # of so many reads per fail-over: every key in every cache
    lagging: int = 0  # reads that a finished invalidation should have prevented, while a primary was away
    slowest_read: float = 0.0
    slowest_invalidation: float = 0.0
    errors: Counter = field(default_factory=Counter)


class Load:
    """Readers and writers over a source that knows the truth."""

    def __init__(self, caches, patience):
        self.caches = caches
        self.patience = patience  # seconds that a primary has for its last changes, at most
        self.versions = [0] * KEYS  # what the source holds
        self.floors = [0] * KEYS  # what has been invalidated for
        self.outcome = Outcome()
        self.random = random.Random(7)
        self.stopped = False
        self.writing = asyncio.Event()
        self.writing.set()
        self.writes = 0  # under way
        self.tasks = None  # the group that they run in

    async def read(self, cache, key):
        """Return the version that *cache* serves."""

        async def load():
            self.outcome.loads += 1
            version = self.versions[key]
            await asyncio.sleep(0.002)
            return version

        tags = [f"t{key % 7}"] if key < BUSY else []
        return await cache.get_or_load(f"k{key}", load, policy=POLICY, tags=tags, type=int)

    async def reader(self, cache):
        outcome = self.outcome
        while not self.stopped:
            key = self.random.randrange(KEYS)
            floor, began = self.floors[key], time.monotonic()
            try:
                outcome.lagging += await self.read(cache, key) < floor
            except Exception as error:
                outcome.failed_reads += 1
                outcome.errors[type(error).__name__] += 1
            outcome.reads += 1
            outcome.slowest_read = max(outcome.slowest_read, time.monotonic() - began)
            await asyncio.sleep(0.002)

    async def writer(self, cache, keys):
        """Change keys that nobody else changes."""
        while not self.stopped:
            await self.writing.wait()
            key = self.random.choice(keys)
            await self.change(cache, key, tags=[f"t{key % 7}"] if self.random.random() < 0.2 else [])
            await asyncio.sleep(0.004)

    async def change(self, cache, key, tags=()):
        """Change a key in the source and invalidate it, or *tags*."""
        outcome = self.outcome
        self.writes += 1
        self.versions[key] += 1
        version, began = self.versions[key], time.monotonic()
        await (cache.invalidate(tags=tags) if tags else cache.invalidate(f"k{key}"))
        self.floors[key] = version
        outcome.invalidations += 1
        outcome.slowest_invalidation = max(outcome.slowest_invalidation, time.monotonic() - began)
        self.writes -= 1

    async def last_changes(self):
        """Change the keys that are never changed otherwise: nothing later makes good for it."""
        last = [
            self.tasks.create_task(self.change(self.caches[key % CACHES], key)) for key in range(BUSY, KEYS)
        ]
        await asyncio.wait(last, timeout=self.patience)

    async def heal(self):
        """Stop writing and wait until every invalidation has landed and every cache reads remotely again.

        From all servers: a process that has not met a new primary has told it nothing yet."""
        self.writing.clear()
        async with asyncio.timeout(60):
            while self.writes or any(len(c._engine.authority.pending) for c in self.caches):
                await asyncio.sleep(0.05)
            for cache in self.caches:
                while cache._engine.authority._remote.breaker.open:
                    await cache.get("probe")
                    await asyncio.sleep(0.1)
                for key in range(KEYS):
                    await self.read(cache, key)

    async def count_stale(self):
        """Read every key in every cache; add those that are older than what was invalidated for."""
        for cache in self.caches:
            for key in range(KEYS):
                self.outcome.stale_after_heal += await self.read(cache, key) < self.floors[key]
        self.writing.set()


class ToldAgain(logging.Handler):
    """Counts what new primaries are told."""

    def __init__(self, outcome):
        super().__init__()
        self.outcome = outcome

    def emit(self, record):
        if "again" in record.msg:
            self.outcome.told_again += record.args[-1]


@asynccontextmanager
async def loaded(url, *, window, wait_replicas):
    """Run caches under load until the end; yield the load."""
    log = logging.getLogger("acache_redis")
    async with AsyncExitStack() as stack:
        caches = []
        for _ in range(CACHES):
            store = RedisStore(url, timeout=TIMEOUT, ping_every=0.2)
            options = {"failover_window": window, "wait_replicas": wait_replicas, "namespace": "failover"}
            caches.append(await stack.enter_async_context(Cache(store, **options)))
        # Who waits for a replica has to be still waiting when the primary dies.
        load = Load(caches, patience=TIMEOUT / 4 if wait_replicas else 20)
        handler = ToldAgain(load.outcome)
        log.addHandler(handler)
        stack.callback(log.removeHandler, handler)
        tasks = load.tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for number, cache in enumerate(caches):
            mine = list(range(number, BUSY, CACHES))
            for _ in range(READERS):
                tasks.create_task(load.reader(cache))
            for writer in range(WRITERS):
                tasks.create_task(load.writer(cache, mine[writer::WRITERS]))
        try:
            yield load
        finally:
            load.stopped = True
            load.writing.set()


async def kill_primary_of_cluster(servers, number, last):
    """Kill a primary whose replica has not heard the last of it; return once all is well again."""
    primaries = await asyncio.to_thread(servers.primaries)
    primary = primaries[number % len(primaries)]
    [replica] = await asyncio.to_thread(servers.replicas_of, primary)
    await _die(primary, replica, last)
    await asyncio.to_thread(until, lambda: facts(replica, "INFO", "replication")["role"] == "master")
    await asyncio.to_thread(primary.start)
    await asyncio.to_thread(servers.settle)


async def kill_watched_primary(servers, _, last):
    """The same where sentinels watch."""
    primary = await asyncio.to_thread(servers.primary)
    [replica] = [server for server in servers if server is not primary]
    await _die(primary, replica, last)
    await asyncio.to_thread(until, lambda: facts(replica, "INFO", "replication")["role"] == "master")
    await asyncio.to_thread(primary.start)
    await asyncio.to_thread(ask, primary, "REPLICAOF", "127.0.0.1", replica.port)
    await asyncio.to_thread(servers.settle)


async def _die(primary, replica, last):
    """Kill *primary*; what it did at last its replica never hears of."""
    replica.pause()  # or it would come back at once
    await asyncio.to_thread(ask, primary, "CLIENT", "KILL", "TYPE", "replica")
    await last()
    await asyncio.sleep(UNREPLICATED)
    primary.kill()
    replica.resume()


async def survive(servers, kill, failovers, *, window=30.0, wait_replicas=0, progress=lambda outcome: None):
    """Return what so many fail-overs cost under load."""
    async with loaded(servers.url, window=window, wait_replicas=wait_replicas) as load:
        for number in range(failovers):
            await asyncio.sleep(1)
            await kill(servers, number, load.last_changes)
            load.outcome.failovers += 1
            await load.heal()
            await load.count_stale()
            progress(load.outcome)
    return load.outcome
