"""A database, a fleet of caches over one server, and what must hold: the world of the scenarios.

Rows are versions that only grow. The *floor* of a key is the version below which no read may answer
that begins after an invalidation returned: at once in the invalidator's own process, after
`MAX_STALENESS` in the others, whose near copies and running flights may lag so long. What is
pending (P6) binds its own process at once, the others from when it has landed.

A key such as "k:view" is cached apart from "k" and loaded from the same row, "k"."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from acache import Cache, Policy, loading
from acache.events import Event, InvalidationLanded, InvalidationPending
from acache.testing import Sim
from acache.testing.network import Network
from acache.testing.remote import LeasingRemote, MemoryRemote, PlainRemote, PromptRemote
from acache.testing.server import MemoryServer

MAX_STALENESS = 2.0  # seconds
CLAIM = 10.0  # seconds for which a lease or fence stands unless it is renewed
LONG = Policy(ttl=600, max_load_time=None)

STORES = {"feed": MemoryRemote, "prompt": PromptRemote, "leases": LeasingRemote, "plain": PlainRemote}
LISTENING = {"feed", "prompt"}


class Oops(Exception):
    """The failure of a block or of a source."""


class Database:
    """Rows that are versions; reading and committing suspend like a real one."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.rows: dict[str, int] = {}
        self.failing = False
        self.pace: tuple[float, ...] = (0, 0, 0.01, 0.03)  # seconds, one of them per load

    async def read(self, row: str) -> int:
        """Return the version of *row* as of one instant between two suspensions."""
        for _ in range(self.sim.random.randrange(3)):
            await asyncio.sleep(0)
        if self.failing:
            raise Oops
        version = self.rows.get(row, 0)
        await asyncio.sleep(self.sim.random.choice(self.pace))
        return version

    async def commit(self, key: str) -> int:
        """Write a new version of the key's row and return it."""
        await asyncio.sleep(0)
        row = row_of(key)
        version = self.rows[row] = self.rows.get(row, 0) + 1
        await asyncio.sleep(0)
        return version


def row_of(key: str) -> str:
    """Return the row that *key* is loaded from."""
    return key.partition(":")[0]


class World:
    """The database, the server, the nodes, and the history of invalidations."""

    def __init__(self, sim: Sim, *, remote: bool = True) -> None:
        self.sim = sim
        self.database = Database(sim)
        self.server = MemoryServer(rng=sim.random) if remote else None
        self.history: list[tuple[float, str, int]] = []
        self.nodes: dict[str, Node] = {}
        self.running: Counter[str] = Counter()  # loads of each key, now, in the whole fleet
        self.most: Counter[str] = Counter()
        self.loads: Counter[str] = Counter()

    async def node(self, name: str, **options) -> "Node":
        """Start a process with a cache; see `Node`."""
        process = self.sim.process(name)

        async def make() -> Node:
            node = Node(self, process, **options)
            node.cache._engine.process.enter()  # listen from the start
            return node

        node = self.nodes[name] = await process.run(make())
        return node

    async def nodes_named(self, names: str, **options) -> "list[Node]":
        """Start several; each letter is a name."""
        return [await self.node(name, **options) for name in names]

    def lagging_floor(self, key: str) -> int:
        """Return the floor of *key* for a process that may lag."""
        late = self.sim.loop.time() - MAX_STALENESS
        row = row_of(key)
        return max((version for at, other, version in self.history if other == row and at < late), default=0)

    async def settle(self, *keys: str, patience: float = 3.0, **options) -> None:
        """End it: after every fence, lease and lag is over each process reads what the database holds."""
        await self.sim.join()
        await asyncio.sleep(patience)
        for node in self.living():
            for key in keys:
                value = await node.run(node.read(key, **options))
                actual = self.database.rows.get(row_of(key), 0)
                self.sim.check(
                    value == actual, f"{node.name} keeps version {value} of {key!r}, it is {actual}"
                )
        await self.close()

    async def close(self) -> None:
        """Wait for all that was started, then close every cache."""
        await self.sim.join()
        for node in self.living():
            await node.run(node.cache.aclose())

    def living(self) -> "list[Node]":
        """Return the nodes whose process was not killed."""
        return [node for node in self.nodes.values() if not node.process.killed]

    async def pause(self, longest: float = 0.03) -> None:
        """Wait: often not at all, sometimes up to *longest* seconds."""
        await asyncio.sleep(self.sim.random.choice((0, 0, longest / 3, longest)))

    def mix(self, change: "Change", *, nodes: "Iterable[Node] | None" = None, **options) -> None:
        """Start in each process two readers of "k" and one who changes it and reads it at once."""

        async def changes(node: Node) -> None:
            for _ in range(2):
                await self.pause()
                await change(node)
                await node.read("k", **options)

        for node in self.nodes.values() if nodes is None else nodes:
            node.spawn(changes(node))
            node.spawn(node.reads("k", 3, **options))
            node.spawn(node.reads("k", 3, **options))


class Node:
    """One process with its cache. *kind* is a key of STORES, or "local"."""

    def __init__(
        self,
        world: World,
        process,
        *,
        near: bool = True,
        kind: str = "feed",
        policy: Policy = LONG,
        **options,
    ) -> None:
        self.world = world
        self.process = process
        self.name = process.name
        self.policy = policy
        self.network = Network(rng=world.sim.random, on_fault=world.sim.fault)
        self.events: Counter[str] = Counter()
        self.floor: dict[str, int] = {}
        self.owing = False  # an invalidation of this process has not landed
        self.debts: list[tuple[str, int]] = []  # rows and versions
        rng = world.sim.random
        if world.server is None or kind == "local":
            parts = {"store": "memory://"}
        else:
            pings = {"ping_every": 1.0} if kind in LISTENING else {}
            remote = STORES[kind](world.server, network=self.network, **pings)
            parts = {"store": remote, "near": True if near and kind in LISTENING else None}
        settings = {"max_staleness": MAX_STALENESS, "rng": rng, "ids": lambda: rng.randbytes(16), **parts}
        self.cache = Cache(clock=process.clock, **{**settings, **options})
        self.cache.subscribe(self._observe)

    def _observe(self, event: Event) -> None:
        self.events[type(event).__name__] += 1
        if isinstance(event, InvalidationPending):
            self.owing = True
        elif isinstance(event, InvalidationLanded):
            self.owing = False
            now = self.world.sim.loop.time()
            self.world.history += [(now, row, version) for row, version in self.debts]
            self.debts.clear()

    def spawn(self, work: Awaitable[object]) -> asyncio.Task:
        """Run *work* in this process."""
        return self.process.spawn(work)

    async def run(self, work: Awaitable[object]) -> object:
        """Run *work* in this process and wait for it."""
        return await self.process.run(work)

    # --- reading ---

    def floor_of(self, key: str) -> int:
        """Return the version below which a read that begins now must not answer."""
        return max(self.floor.get(row_of(key), 0), self.world.lagging_floor(key))

    async def read(
        self, key: str, *, tags: Iterable[str] = (), late: Iterable[str] = (), policy: Policy | None = None
    ) -> int:
        """Read *key* and check that the answer is not older than it may be; *late* tags only the load knows."""
        floor = self.floor_of(key)
        value = await self.cache.get_or_load(
            key, lambda: self.load(key, late), tags=tags, policy=policy or self.policy, type=int
        )
        self.judge(key, value, floor)
        return value

    async def peek(self, key: str) -> int | None:
        """Read *key* without loading."""
        floor = self.floor_of(key)
        value = await self.cache.get(key, type=int)
        if value is not None:
            self.judge(key, value, floor)
        return value

    async def read_many(self, *keys: str) -> dict[str, int]:
        """Read several with one batch loader."""
        floors = {key: self.floor_of(key) for key in keys}

        async def load_many(missing: list[str]) -> dict[str, int]:
            values = [await self.load(key) for key in missing]
            return dict(zip(missing, values, strict=True))

        found = await self.cache.get_or_load_many(keys, load_many, policy=self.policy, type=int)
        for key, value in found.items():
            self.judge(key, value, floors[key])
        return found

    def judge(self, key: str, value: int, floor: int) -> None:
        """Check one answer."""
        complaint = f"{self.name} read version {value} of {key!r}, {floor} was invalidated for"
        self.world.sim.check(value >= floor, complaint)

    async def reads(self, key: str, times: int, *, longest: float = 0.03, **options) -> None:
        """Read *key* now and then."""
        for _ in range(times):
            await self.read(key, **options)
            await self.world.pause(longest)

    async def load(self, key: str, late: Iterable[str] = ()) -> int:
        """Load *key*, counting how many loads of it run in the whole fleet."""
        world = self.world
        world.loads[key] += 1
        world.running[key] += 1
        world.most[key] = max(world.most[key], world.running[key])
        try:
            version = await world.database.read(row_of(key))
            loading().tags.update(late)
            return version
        finally:
            world.running[key] -= 1

    # --- changing: the database first, then the cache ---

    async def invalidate(self, key: str, *, tag: str | None = None) -> None:
        """Commit a new version, then invalidate the key or its tag."""
        version = await self.world.database.commit(key)
        await (self.cache.invalidate(key) if tag is None else self.cache.invalidate(tags=[tag]))
        self.raise_floor(key, version)

    async def clear(self, key: str) -> None:
        """Commit a new version, then drop the namespace."""
        version = await self.world.database.commit(key)
        await self.cache.clear()
        self.raise_floor(key, version)

    async def set(self, key: str, **options) -> None:
        """Commit a new version and set it."""
        version = await self.world.database.commit(key)
        await self.cache.set(key, version, policy=self.policy, type=int, **options)
        self.raise_floor(key, version)

    async def write(
        self,
        key: str,
        *,
        tags: Iterable[str] = (),
        commit: bool = True,
        fail: bool = False,
        length: float = 0.01,
    ) -> None:
        """Write *key* inside a fence; *fail* after the database has committed."""
        version = 0
        try:
            async with self.cache.writing(key, tags=tags) as writer:
                await self.world.pause(length)
                version = await self.world.database.commit(key)
                if commit:
                    writer.commit(key, version, policy=self.policy)
                await self.world.pause(length)
                if fail:
                    raise Oops
        except Oops:
            pass
        self.raise_floor(key, version)

    def raise_floor(self, key: str, version: int) -> None:
        """Note that *version* of the key's row was invalidated for by this process, now."""
        row = row_of(key)
        self.floor[row] = max(self.floor.get(row, 0), version)
        if self.owing:
            self.debts.append((row, version))
        else:
            self.world.history.append((self.world.sim.loop.time(), row, version))


async def all_wait(node: Node, key: str, count: int) -> list[asyncio.Task]:
    """Start *count* readers of *key* in the node's process; return their tasks once all wait for one load."""
    tasks = [node.spawn(node.read(key)) for _ in range(count)]
    flights = node.cache._engine.process.flights
    while not any(task.done() for task in tasks):
        flight = flights.get(key)
        if flight is not None and flight.waiting == count:
            break
        await asyncio.sleep(0.001)
    return tasks


Change = Callable[[Node], Awaitable[None]]

WAYS: dict[str, Change] = {
    "key": lambda node: node.invalidate("k"),
    "tag": lambda node: node.invalidate("k", tag="t"),
    "clear": lambda node: node.clear("k"),
    "writing": lambda node: node.write("k"),
    "writing_with_tag": lambda node: node.write("k", tags=["t"]),
    "writing_without_commit": lambda node: node.write("k", commit=False),
    "writing_that_fails": lambda node: node.write("k", fail=True),
}
"""The ways to change what is cached under "k", whose entries carry "t" where the way needs it."""


def tags_of(way: str) -> tuple[str, ...]:
    """Return the tags that a reader of "k" declares where it is changed this way."""
    return ("t",) if "tag" in way else ()
