"""P1 as a register: every load brings another number, and the history of all reads must have an order.

Here everything strikes at once: reads and changes are cancelled, wall clocks jump, processes are paused and
killed, requests are refused, cut or lose their answer."""

import asyncio
from itertools import count

from scenario_registry import scenario
from scenario_world import LONG, MAX_STALENESS, Node, World

from acache.events import InvalidationLanded
from acache.testing import History

WAYS = ("key", "tag", "clear", "set", "writing")
JUMPS = (-3600.0, -2.0, 0.5, 30.0, 3600.0)  # seconds
PATIENCE = 12.0  # seconds until after all faults everything has landed and nothing lags


class Fleet:
    """A world, the history of what its nodes do to "k", and the numbers that loads bring."""

    def __init__(self, sim, *, remote: bool = True) -> None:
        self.sim = sim
        self.world = World(sim, remote=remote)
        self.history = History(sim.loop.time, max_lag=MAX_STALENESS if remote else 0.0)
        self.number = count(1)
        self.ways = sim.random.choice((WAYS, *((way,) for way in WAYS)))
        self.pending: dict[str, list] = {}

    async def node(self, name: str, **options) -> Node:
        node = await self.world.node(name, **options)
        waiting = self.pending[name] = []

        def landed(event) -> None:
            if isinstance(event, InvalidationLanded):
                for change in waiting:
                    self.history.land(change)
                waiting.clear()

        node.cache.subscribe(landed)
        return node

    async def load(self, node: Node) -> int:
        with self.history.loading("k", process=node.name) as load:
            for _ in range(self.sim.random.randrange(3)):
                await asyncio.sleep(0)
            load.value = next(self.number)
            await asyncio.sleep(self.sim.random.choice((0, 0, 0.01, 0.03)))
            return load.value

    async def read(self, node: Node) -> None:
        with self.history.reading("k", process=node.name) as read:
            read.value = await node.cache.get_or_load(
                "k", lambda: self.load(node), tags=["t"], policy=LONG, type=int
            )

    async def change(self, node: Node, way: str) -> None:
        with self.history.changing("k", process=node.name, lands=False) as change:
            match way:
                case "key":
                    await node.cache.invalidate("k")
                case "tag":
                    await node.cache.invalidate(tags=["t"])
                case "clear":
                    await node.cache.clear()
                case "set":
                    change.value = next(self.number)
                    await node.cache.set("k", change.value, tags=["t"], policy=LONG, type=int)
                case "writing":
                    async with node.cache.writing("k", tags=["t"]) as writer:
                        await self.world.pause(0.01)
                        change.value = next(self.number)
                        writer.commit("k", change.value, policy=LONG)
                        await self.world.pause(0.01)
                        change.from_here()
        if node.owing:
            self.pending[node.name].append(change)
        else:
            self.history.land(change)

    async def live(self, node: Node) -> None:
        for _ in range(3):
            await self.world.pause()
            await self.change(node, self.sim.random.choice(self.ways))
            await self.read(node)

    async def reads(self, node: Node, times: int = 4) -> None:
        for _ in range(times):
            await self.read(node)
            await self.world.pause()

    def start(self, node: Node, *, cancelled: int = 2) -> None:
        """Let the node live and read; some of its callers give up."""
        node.spawn(self.live(node))
        node.spawn(self.reads(node))
        node.spawn(self.reads(node))
        for work in (self.read(node), self.change(node, self.ways[0]))[:cancelled]:
            self.sim.sometime(node.spawn(work).cancel, within=120)
        clock = node.process.clock
        self.sim.sometime(lambda: clock.skew(self.sim.random.choice(JUMPS)), within=120)

    async def finish(self, patience: float) -> None:
        await self.sim.join()
        await asyncio.sleep(patience)
        for node in self.world.living():
            await node.run(self.read(node))
        await self.world.close()
        self.history.check()
        self.sim.check(self.history.reads >= 3, f"only {self.history.reads} reads were judged")


def fleet_of(kind: str, *, near: bool):
    async def program(sim):
        fleet = Fleet(sim)
        for name in "ab":
            fleet.start(await fleet.node(name, kind=kind, near=near))
        await fleet.finish(3.0)

    return program


scenario("P1", "register", name="register_near")(fleet_of("feed", near=True))
scenario("P1", "register", name="register_no_near")(fleet_of("feed", near=False))
scenario("P1", "register", name="register_without_a_feed")(fleet_of("leases", near=False))


@scenario("P1", "register")
async def register_alone(sim):
    """One process, no store."""
    fleet = Fleet(sim, remote=False)
    fleet.start(await fleet.node("a"))
    await fleet.finish(0.0)


@scenario("P1", "register plain")
async def register_over_a_plain_store(sim):
    """One process whose store has neither leases nor a feed."""
    fleet = Fleet(sim)
    fleet.start(await fleet.node("a", kind="plain"))
    await fleet.finish(0.0)


@scenario("P6", "register", seeds=60)
async def register_in_bad_weather(sim):
    """Three processes whose requests fail in every way, one paused for a while, one killed."""
    fleet = Fleet(sim)
    nodes = [await fleet.node(name, near=sim.random.random() < 0.6) for name in "abc"]
    for node in nodes:
        network = node.network
        network.refused, network.cut, network.lost = (sim.random.choice((0, 0.1)) for _ in range(3))
        network.lands_late = 0.5
        fleet.start(node)
    paused, killed = nodes[1], nodes[2]

    async def wake():
        await asyncio.sleep(sim.random.choice((0.1, 3.0, 15.0)))
        paused.process.resume()

    def pause():
        paused.process.pause()
        sim.spawn(wake())

    sim.sometime(pause, within=200)
    sim.sometime(killed.process.kill, within=200)
    await sim.join()
    for node in nodes:
        node.network.refused = node.network.cut = node.network.lost = 0.0
    await fleet.finish(PATIENCE)
