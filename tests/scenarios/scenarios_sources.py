"""P1 through WriteThrough: writers and readers of one source, crashes, failures after the commit."""

from scenario_registry import scenario
from scenario_world import CLAIM, World

from acache import WriteThrough
from acache.errors import SourceUnavailable
from acache.protocols import Saved

MARGIN = 3.0  # seconds after which no claim of a dead process can count, nor what it left near


class Rows:
    """The world's database as one node's source. It numbers the writes itself, as a trigger would.

    So that a writer knows which version its own write became, what it puts is a negative number of its
    own: a cache that kept what was put, and not the row, would be stale."""

    def __init__(self, node, *, fails=0.0):
        self.node = node
        self.fails = fails  # chance that a write that was committed looks as if it had failed
        self.versions = {}  # by what was put, of this process's writes

    async def load(self, ids):
        return {id: await self.node.load(id) for id in ids}

    async def save(self, items, *, versions=None):
        rows = {id: await self.node.world.database.commit(id) for id in sorted(items)}
        self.versions |= {items[id]: version for id, version in rows.items()}
        self._fail()
        return Saved(rows=rows)

    async def remove(self, ids, *, versions=None):
        for id in ids:
            await self.node.world.database.commit(id)
        self._fail()
        return Saved()

    def _fail(self):
        if self.node.world.sim.random.random() < self.fails:
            raise SourceUnavailable("no answer, although it was committed")


class Store:
    """One node's rows behind a WriteThrough, and what its users do."""

    def __init__(self, node, *, tags=(), fails=0.0):
        self.node = node
        self.random = node.world.sim.random
        self.source = Rows(node, fails=fails)
        self.rows = WriteThrough(node.cache, self.source, key="{}", tags=tags, type=int, policy=node.policy)
        self.put = 0

    async def read(self, *ids):
        """Read, and check that no answer is older than it may be."""
        floors = {id: self.node.floor_of(id) for id in ids}
        if len(ids) == 1:
            found = {ids[0]: await self.rows.get(ids[0])}
        else:
            found = await self.rows.get_many(ids)
        for id, value in found.items():
            self.node.judge(id, value, floors[id])

    async def write(self, *ids):
        """Put, update or remove, whichever; nobody reads what was before from then on."""
        items = {id: self._number() for id in ids}
        before = {id: self.node.world.database.rows.get(id, 0) for id in ids}
        way = self.random.choice(("put", "put", "update", "remove"))
        try:
            if way == "put":
                await self.rows.put_many(items)
            elif way == "remove":
                await self.rows.remove(*ids)
            else:
                for id, number in items.items():
                    await self.rows.update(id, lambda _, number=number: number)
        except SourceUnavailable:
            pass
        for id, number in items.items():
            # What a removal became is not told: at least the next version.
            if way == "remove" or number in self.source.versions:
                self.node.raise_floor(id, self.source.versions.get(number, before[id] + 1))

    async def reads(self, *ids, times=3):
        for _ in range(times):
            await self.read(*ids)
            await self.node.world.pause()

    async def writes(self, *ids, times=2):
        for _ in range(times):
            await self.node.world.pause()
            await self.write(*ids)
            await self.read(*ids)

    def _number(self):
        self.put += 1
        return -self.put


def stores(world, tags, **options):
    return [Store(node, tags=tags, **options) for node in world.nodes.values()]


@scenario("P1", "V1 V3 V14")
async def two_writers_through(sim):
    """Two processes write a row through and read it, one and together with another; some writes fail late."""
    world = World(sim)
    kind = sim.random.choice(("feed", "feed", "leases", "plain"))
    await world.nodes_named("a" if kind == "plain" else "ab", near=sim.random.random() < 0.5, kind=kind)
    tags = sim.random.choice(((), ("t",), ("t", "{}")))
    for store in stores(world, tags, fails=0.3):
        for _ in range(2):
            store.node.spawn(store.writes("k"))
            store.node.spawn(store.reads("k"))
        store.node.spawn(store.writes("j", "k", times=1))
        store.node.spawn(store.reads("j", "k"))
    await world.settle("k", "j", patience=2.5)


@scenario("P1", "V1 V4", seeds=60)
async def writers_through_that_are_killed(sim):
    """A process dies soon after its save was committed; others write and read the row meanwhile."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    dying, living = stores(world, sim.random.choice(((), ("t",))))
    committed = world.database.commit

    async def commit(row):
        mine = sim.current is a.process
        version = await committed(row)
        if mine:
            sim.sometime(a.process.kill, within=12)
        return version

    world.database.commit = commit
    await b.run(living.read("k"))
    a.spawn(dying.writes("k"))
    if sim.random.random() < 0.5:
        b.spawn(living.writes("k"))
    b.spawn(living.reads("k", times=4))
    await world.settle("k", patience=CLAIM + MARGIN)


@scenario("P1", "first_pass void_flight")
async def alone_written_through(sim):
    """Within one process, without a store behind it."""
    world = World(sim, remote=False)
    await world.nodes_named("a")
    tags = sim.random.choice(((), ("t",), ("t", "{}")))
    [store] = stores(world, tags, fails=0.2)
    for _ in range(3):
        store.node.spawn(store.writes("k"))
        store.node.spawn(store.reads("k"))
        store.node.spawn(store.reads("k", "j"))
    store.node.spawn(store.writes("j", "k"))
    await world.settle("k", "j")
