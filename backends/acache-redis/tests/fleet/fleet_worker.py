"""One process of a fleet: obeys lines of JSON on stdin, answers each with one line on stdout.

Run with a JSON object of options. Orders run concurrently; an answer carries the number of its order."""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack

from fleet_register import Register

import acache._fleet
import acache._fleet_writes
from acache import Cache, Policy
from acache_redis import RedisStore


class Worker:
    """A cache, the shared register, and what can be done with them."""

    def __init__(self, url, *, register=None, keys=1, near=False, claim=None, namespace="fleet", **options):
        if claim is not None:
            acache._fleet.LEASE = acache._fleet_writes.FENCE = claim
        self.register = None if register is None else Register(register, keys)
        # A machine that is busy with all these processes is no outage.
        store = RedisStore(url, timeout=20, **({"ping_every": 0.1} if near else {}))
        self.cache = Cache(store, near=near or None, namespace=namespace, **options)
        self.cache.subscribe(self.note)
        self.near = near
        self.max_staleness = options.get("max_staleness", 5.0)
        self.policy = Policy(ttl=300, beta=0, max_load_time=None)
        self.events = Counter()
        self.reasons = Counter()
        self.loads = 0
        self.gates = {}
        self.stopping = False
        self.random = random.Random()

    def note(self, event):
        """Count what the cache tells."""
        self.events[type(event).__name__] += 1
        if hasattr(event, "reason"):
            self.reasons[event.reason] += 1

    # --- single steps ---

    async def ready(self, timeout=10):
        """Wait until near is trusted, if there is one."""
        near = self.cache._engine.process.near
        async with asyncio.timeout(timeout):
            while self.near and near.trusted_until < 0:
                await asyncio.sleep(0.01)

    async def stampede(self, key, readers, seconds):
        """Read a key with many readers at once; return how many values came and how often it was loaded."""
        loads = 0

        async def load():
            nonlocal loads
            loads += 1
            await asyncio.sleep(seconds)
            return 7

        began = time.monotonic()
        values = await asyncio.gather(
            *(self.cache.get_or_load(key, load, ttl=300, type=int) for _ in range(readers))
        )
        return {"loads": loads, "sevens": values.count(7), "seconds": time.monotonic() - began}

    async def read(self, key, gate=None):
        """Read the version of *key*; a load that *gate* names waits until it is opened."""

        async def load():
            self.loads += 1
            version = self.register.version(key)
            if gate is not None:
                self.gates[gate] = asyncio.Event()
                await self.gates[gate].wait()
            return version

        loads = self.loads
        value = await self.cache.get_or_load(f"k{key}", load, policy=self.policy, type=int)
        return {"value": value, "loaded": self.loads - loads}

    async def gated(self, gate):
        """Wait until a load stands at its gate."""
        while gate not in self.gates:
            await asyncio.sleep(0.005)

    async def open(self, gate):
        """Let a load go on."""
        self.gates[gate].set()

    async def die_writing(self, key):
        """Commit inside a fence and then wait to be killed."""
        async with self.cache.writing(f"k{key}"):
            self.tell({"version": self.register.commit(key)})
            await asyncio.Event().wait()

    async def told(self):
        """Return what the cache has told so far."""
        stats = self.cache.stats()
        return {
            "events": self.events,
            "reasons": self.reasons,
            "hits": stats.hits,
            "misses": stats.misses,
            "loads": stats.loads,
        }

    # --- under load ---

    async def readers(self, count, slow):
        """Read random keys until `stop`; return how many answers were stale, and the longest lag.

        Lagging is what came late from the server. A near copy, a held version of a tag, and a flight that
        was joined before the message of its invalidation was heard may lag by `max_staleness`."""
        found = {"reads": 0, "loads": 0, "stale": 0, "lagging": 0, "lag": 0.0}
        self.stopping = False
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._reader(found, slow))
        return found

    async def _reader(self, found, slow):
        register = self.register
        while not self.stopping:
            key = self.random.randrange(register.keys)

            async def load(key=key):
                found["loads"] += 1
                version = register.version(key)
                await asyncio.sleep(self.random.choice((0, slow)))
                return version

            joins = self.cache._engine.process.flights.get(f"k{key}") is not None
            started, floor = time.monotonic(), register.floor(key)
            value = await self.cache.get_or_load(
                f"k{key}", load, policy=self.policy, tags=[f"t{key}"], type=int
            )
            found["reads"] += 1
            if value < floor:
                lag = register.lag(key, value, started)
                found["lagging"] += not joins
                found["lag"] = max(found["lag"], lag)
                found["stale"] += lag > self.max_staleness
            if self.random.random() < 0.2:
                await asyncio.sleep(0.001)

    async def stop(self):
        """End the readers."""
        self.stopping = True

    async def change(self, keys, rounds, ways):
        """Commit and invalidate some keys, so many times each; this process is the only writer of them."""
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(self._changes(key, rounds, ways))

    async def _changes(self, key, rounds, ways):
        register, cache, tags = self.register, self.cache, [f"t{key}"]
        for _ in range(rounds):
            way = self.random.choice(ways)
            if way in {"writing", "commit"}:
                async with cache.writing(f"k{key}", tags=tags) as writer:
                    version = register.commit(key)
                    if way == "commit":
                        writer.commit(f"k{key}", version, policy=self.policy)
                    await asyncio.sleep(self.random.choice((0, 0.001)))
            else:
                version = register.commit(key)
                if way == "key":
                    await cache.invalidate(f"k{key}")
                elif way == "tag":
                    await cache.invalidate(tags=tags)
                elif way == "set":
                    await cache.set(f"k{key}", version, tags=tags, policy=self.policy, type=int)
                else:
                    await cache.clear()
            register.raise_floor(key, version)
            await asyncio.sleep(self.random.random() * 0.004)

    # --- talking ---

    def tell(self, fact):
        """Write one line."""
        print(json.dumps(fact), flush=True)

    async def obey(self, order):
        """Carry out one order and answer."""
        number = order.pop("order")
        answer = await getattr(self, order.pop("do"))(**order)
        self.tell({"order": number, "answer": answer})


async def main(kind=Worker):
    """Obey until stdin ends; then close the cache."""
    options = json.loads(sys.argv[1])
    stdin = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    worker = kind(**options)
    async with AsyncExitStack() as stack:
        stack.callback(transport.close)
        await stack.enter_async_context(worker.cache)
        orders = await stack.enter_async_context(asyncio.TaskGroup())
        worker.tell({"pid": os.getpid()})
        while line := await stdin.readline():
            orders.create_task(worker.obey(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main())
