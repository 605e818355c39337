"""P1: readers never see what was loaded before an invalidation, whichever way it came."""

from scenario_registry import scenario
from scenario_world import WAYS, Oops, Policy, World, tags_of

NEARS = {"near": True, "no_near": False}


def changed(way, near):
    """Return a program: in two processes two readers and one change."""

    async def program(sim):
        world = World(sim)
        await world.nodes_named("ab", near=near)
        world.mix(WAYS[way], tags=tags_of(way))
        await world.settle("k", tags=tags_of(way))

    return program


for way in WAYS:
    for label, near in NEARS.items():
        scenario("P1", "V2 V6 V10 V13", name=f"changed_by_{way}_{label}")(changed(way, near))


@scenario("P1", "V2 V10 kept_lease")
async def changed_by_set(sim):
    world = World(sim)

    async def evicts(node):
        for _ in range(3):
            await world.pause()
            world.server.evict(keys=["default:{k}"])
            node.cache._engine.process.near.store.clear()

    a, b = await world.nodes_named("ab")

    async def sets():
        for _ in range(3):
            await world.pause()
            await a.set("k")
            await a.read("k")

    a.spawn(sets())
    for node in (a, b):
        node.spawn(evicts(node))
        node.spawn(node.reads("k", 4))
        node.spawn(node.reads("k", 4))
    await world.settle("k")


@scenario("P1", "V7")
async def late_tags(sim):
    world = World(sim)
    for node in await world.nodes_named("ab", near=sim.random.random() < 0.5):
        node.network.delays = {"drop": sim.random.choice((0, 0.01))}
    world.mix(WAYS["tag"], late=("t",))
    await world.settle("k", late=("t",))


@scenario("P1", "V7")
async def late_tags_that_nobody_hears_of(sim):
    """Without a feed only the stamp tells a load that a tag which it adds late was dropped meanwhile."""
    world = World(sim)
    a, b = await world.nodes_named("ab", kind="leases")
    a.network.delays = {"drop": 0.01}
    world.mix(WAYS["tag"], nodes=[a], late=("t",))
    b.spawn(b.reads("k", 4, late=("t",)))
    await world.settle("k", late=("t",))


@scenario("P1", "V7")
async def late_tags_and_writers(sim):
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    world.mix(WAYS["writing_with_tag"], nodes=[a], late=("t",))
    world.mix(WAYS["tag"], nodes=[b], late=("t",))
    await world.settle("k", late=("t",))


@scenario("P1", "V7")
async def tags_that_were_evicted(sim):
    world = World(sim)
    await world.nodes_named("ab", near=sim.random.random() < 0.5)
    world.mix(WAYS["tag"], late=("t",))
    for _ in range(3):
        sim.sometime(lambda: world.server.evict(tags=["default:{t}"]), within=150)
        sim.sometime(lambda: world.server.evict(stamps=["default"]), within=150)
    sim.sometime(lambda: world.server.evict(keys=["default:{k}"], tags=["default"]), within=60)
    await world.settle("k", late=("t",))


@scenario("P1", "V12")
async def reads_without_a_loader(sim):
    world = World(sim)
    nodes = await world.nodes_named("ab")

    async def peeks(node):
        for _ in range(5):
            await node.peek("k")
            await world.pause()

    for node in nodes:
        node.spawn(peeks(node))
        node.spawn(node.reads("k", 3, late=("t",)))
    nodes[0].spawn(nodes[0].invalidate("k"))
    nodes[1].spawn(nodes[1].invalidate("k", tag="t"))
    await world.settle("k", late=("t",))


@scenario("P1", "batch")
async def batch_loads(sim):
    world = World(sim)
    nodes = await world.nodes_named("ab")

    async def batches(node):
        for _ in range(3):
            await node.read_many(*sim.random.sample(["k", "l", "m"], 2))
            await world.pause()

    for node in nodes:
        node.spawn(batches(node))
        node.spawn(batches(node))
        node.spawn(node.invalidate("k"))
        node.spawn(node.write("l"))
    await world.settle("k", "l", "m")


REFRESHED = Policy(ttl=0.3, beta=4.0, stale_while_revalidate=600, stale_if_error=600, max_load_time=None)


@scenario("P1", "V17 joined_refresh")
async def refreshes(sim):
    world = World(sim)
    nodes = await world.nodes_named("ab", policy=REFRESHED)
    for node in nodes:
        node.spawn(node.reads("k", 6, longest=0.4))
        node.spawn(node.reads("k", 6, longest=0.4))
        node.spawn(WAYS[sim.random.choice(["key", "writing"])](node))
    await world.close()


@scenario("P1", "stale_if_error")
async def refreshes_that_fail(sim):
    """What was invalidated is not brought back by a load that fails."""
    world = World(sim)
    nodes = await world.nodes_named("ab", policy=REFRESHED, near=sim.random.random() < 0.5)

    async def reads(node):
        for _ in range(6):
            try:
                await node.read("k")
            except Oops:
                pass
            await world.pause(0.4)

    def toggle():
        world.database.failing = not world.database.failing

    for node in nodes:
        node.spawn(reads(node))
        node.spawn(reads(node))
        node.spawn(node.invalidate("k"))
    for _ in range(4):
        sim.sometime(toggle, within=120)
    await world.close()


@scenario("P1", "V5")
async def slow_loads_that_others_join(sim):
    """A load in another process runs on after the invalidation; who comes later must not join it."""
    world = World(sim)
    world.database.pace = (0, 0.01, 3.0, 6.0)
    a, b = await world.nodes_named("ab")

    async def late_reads(node):
        for _ in range(4):
            await world.pause(2.5)
            node.spawn(node.read("k"))

    for node in (a, b):
        node.spawn(late_reads(node))
        node.spawn(late_reads(node))
    a.spawn(a.invalidate("k"))
    await world.settle("k")
