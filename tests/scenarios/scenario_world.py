"""A database, a fleet of caches over one server, and what must hold: the world of the scenarios.

Rows are versions that only grow. A *floor* per key is the version below which no read may answer
that began after an invalidation returned: at once in the invalidator's own process, after
`max_staleness` in the others, whose near copies and running flights may lag so long."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from acache import Cache, Policy
from acache.testing import Sim
from acache.testing.network import Network
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer

MAX_STALENESS = 2.0
SLOWEST = 0.4  # seconds that a load of these scenarios may take


@dataclass
class Database:
    """Rows that are versions; reading and committing suspend like a real one."""

    sim: Sim
    rows: dict[str, int] = field(default_factory=dict)

    async def read(self, key: str) -> int:
        """Return the version of *key* as of one instant between two suspensions."""
        for _ in range(self.sim.random.randrange(3)):
            await asyncio.sleep(0)
        version = self.rows.get(key, 0)
        await asyncio.sleep(self.sim.random.choice((0, 0, 0, 0.01, SLOWEST)))
        return version

    async def commit(self, key: str) -> int:
        """Write a new version and return it."""
        await asyncio.sleep(0)
        version = self.rows[key] = self.rows.get(key, 0) + 1
        await asyncio.sleep(0)
        return version


class Node:
    """One process with its cache. Make it inside that process."""

    def __init__(self, world: "World", name: str, *, near: bool, policy: Policy | None = None, **options) -> None:
        self.world = world
        self.name = name
        sim = world.sim
        self.network = Network(rng=sim.random)
        self.clock = sim.current.clock
        if world.server is None:
            store, in_front = "memory://", None
        else:
            store = MemoryRemote(world.server, network=self.network, ping_every=1.0)
            in_front = "memory://" if near else None
        self.cache = Cache(
            store,
            near=in_front,
            clock=self.clock,
            rng=sim.random,
            ids=lambda: sim.random.randbytes(16),
            max_staleness=MAX_STALENESS,
            **options,
        )
        self.policy = policy or Policy(ttl=600, max_load_time=None)
        self.floor: dict[str, int] = {}
        self.loading = 0

    async def read(self, key: str, *, tags: tuple[str, ...] = (), check: bool = True) -> int:
        """Read *key* and check that the answer is not older than it may be."""
        world = self.world
        floor = max(self.floor.get(key, 0), world.lagging_floor(key))
        value = await self.cache.get_or_load(
            key, lambda: self.load(key), tags=tags, policy=self.policy, type=int
        )
        if check:
            world.sim.check(
                value >= floor, f"{self.name} read version {value} of {key!r}, {floor} was invalidated for"
            )
        return value

    async def load(self, key: str) -> int:
        """Load *key*, counting how many loads of it run in the whole fleet."""
        world = self.world
        world.loads += 1
        world.running[key] = world.running.get(key, 0) + 1
        world.most = max(world.most, world.running[key])
        try:
            return await world.database.read(key)
        finally:
            world.running[key] -= 1

    async def invalidate(self, key: str, *, tag: str | None = None) -> None:
        """Commit a new version, then invalidate the key or its tag."""
        version = await self.world.database.commit(key)
        if tag is None:
            await self.cache.invalidate(key)
        else:
            await self.cache.invalidate(tags=[tag])
        self.raise_floor(key, version)

    async def clear(self, key: str) -> None:
        """Commit a new version, then drop the namespace."""
        version = await self.world.database.commit(key)
        await self.cache.clear()
        self.raise_floor(key, version)

    async def write(
        self, key: str, *, tags: tuple[str, ...] = (), commit: bool = True, fail: bool = False
    ) -> None:
        """Write *key* inside a fence; *fail* after the database has committed."""
        version = 0
        try:
            async with self.cache.writing(key, tags=tags) as writer:
                version = await self.world.database.commit(key)
                if commit:
                    writer.commit(key, version, policy=self.policy)
                await asyncio.sleep(self.world.sim.random.choice((0, 0.01)))
                if fail:
                    raise Oops
        except Oops:
            pass
        self.raise_floor(key, version)

    def raise_floor(self, key: str, version: int) -> None:
        """Note that *version* of *key* was invalidated for by this process, now."""
        self.floor[key] = max(self.floor.get(key, 0), version)
        self.world.history.append((self.world.sim.loop.time(), key, version))


class Oops(Exception):
    """The block's own failure."""


class World:
    """The database, the server, the nodes, and the history of invalidations."""

    def __init__(self, sim: Sim, *, remote: bool = True) -> None:
        self.sim = sim
        self.database = Database(sim)
        self.server = MemoryServer(rng=sim.random) if remote else None
        self.history: list[tuple[float, str, int]] = []
        self.nodes: dict[str, Node] = {}
        self.processes = {}
        self.running: dict[str, int] = {}
        self.most = 0
        self.loads = 0

    async def node(self, name: str, *, near: bool = True, **options) -> Node:
        """Start a process with a cache."""
        process = self.sim.process(name)
        self.processes[name] = process

        async def make() -> Node:
            return Node(self, name, near=near, **options)

        node = self.nodes[name] = await process.run(make())
        return node

    def spawn(self, node: Node, work: Awaitable[object]):
        """Run *work* in the node's process."""
        return self.processes[node.name].spawn(work)

    def lagging_floor(self, key: str) -> int:
        """Return the floor of *key* for a process that may lag."""
        late = self.sim.loop.time() - MAX_STALENESS
        return max((version for at, other, version in self.history if other == key and at < late), default=0)

    async def settle(self, *keys: str, tags: tuple[str, ...] = (), patience: float = 3.0) -> None:
        """End it: after every fence, lease and lag is over, each process reads what the database holds."""
        await self.sim.join()
        await asyncio.sleep(patience)
        for name, node in self.nodes.items():
            if self.processes[name].killed:
                continue
            for key in keys:
                value = await self.processes[name].run(node.read(key, tags=tags))
                actual = self.database.rows.get(key, 0)
                self.sim.check(value == actual, f"{name} keeps version {value} of {key!r}, it is {actual}")
        for name, node in self.nodes.items():
            if not self.processes[name].killed:
                await self.processes[name].run(node.cache.aclose())


def several(make: Callable[[], Awaitable[object]], count: int) -> list[Awaitable[object]]:
    """Return *count* pieces of work."""
    return [make() for _ in range(count)]
