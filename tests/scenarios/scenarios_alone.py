"""P1 to P3 without a remote store, or with one that has no leases; and namespaces side by side."""

import asyncio

from scenario_registry import scenario
from scenario_world import LONG, WAYS, World, all_wait, tags_of


def alone(way):
    """Return a program: one process, no remote store."""

    async def program(sim):
        world = World(sim, remote=False)
        await world.node("a")
        world.mix(WAYS[way], tags=tags_of(way))
        await world.settle("k", tags=tags_of(way), patience=0)

    return program


for way in WAYS:
    scenario("P1", "first_pass void_flight", seeds=10, name=f"alone_changed_by_{way}")(alone(way))


@scenario("P1", "V7 V1")
async def alone_with_late_tags_and_writers(sim):
    world = World(sim, remote=False)
    await world.node("a")
    world.mix(WAYS["tag"], late=("t",))
    world.mix(lambda node: node.write("k", tags=["t"], fail=sim.random.random() < 0.3), late=("t",))
    await world.settle("k", late=("t",), patience=0)


@scenario("P2", "void_flight")
async def alone_one_load(sim):
    """Without invalidations there is one load; with them at most one that is not void."""
    world = World(sim, remote=False)
    a = await world.node("a")
    tasks = await all_wait(a, "k", 5)
    for task in tasks[:4]:
        sim.sometime(task.cancel, within=15)
    await sim.join()
    sim.check(world.loads["k"] == 1, f"{world.loads['k']} loads of what nobody invalidated")
    await world.close()


@scenario("P1", "plain", seeds=30)
async def a_store_without_leases(sim):
    """P1 holds within the process: claims live in it, versions in the store."""
    world = World(sim)
    a = await world.node("a", kind="plain")
    ways = sim.random.choice(({}, {"tags": ("t",)}, {"late": ("t",)}))
    tag = "t" if ways else None
    a.network.delays = {verb: sim.random.choice((0, 0.01)) for verb in ("set_many", "delete_many")}
    world.mix(lambda node: node.invalidate("k", tag=tag), **ways)
    world.mix(lambda node: node.write("k", tags=("t",) if ways else ()), **ways)
    await world.settle("k", patience=0, **ways)


@scenario("P1", "plain V3", seeds=30)
async def a_tag_dropped_while_a_writer_leaves(sim):
    """Without leases in the store: the writer's exit must notice the drop of its tag."""
    world = World(sim)
    a = await world.node("a", kind="plain")
    a.network.delays = {verb: sim.random.choice((0, 0.005, 0.03)) for verb in ("delete_many", "set_many")}
    written = asyncio.Event()

    async def write():
        async with a.cache.writing("k", tags=["t"]) as writer:
            writer.commit("k", await world.database.commit("k"), policy=a.policy)
            written.set()
            await world.pause(0.01)

    async def change():
        await written.wait()
        await a.invalidate("k", tag="t")

    a.spawn(write())
    a.spawn(change())
    for view in ("k:1", "k:2", "k:3"):  # they ask for the version of the tag meanwhile, each in its turn
        a.spawn(a.reads(view, 3, tags=("t",), longest=0.003))
    await world.settle("k", tags=("t",), patience=0)


@scenario("P1", "plain")
async def plain_stores_and_cancelled_loads(sim):
    """A store request that was cancelled may land late, after the drop: it must not bring anything back."""
    world = World(sim)
    world.database.pace = (0,)
    a = await world.node("a", kind="plain")
    a.network.lands_late = 1.0
    task = a.spawn(a.read("k"))
    sim.sometime(task.cancel, within=40)
    a.spawn(a.invalidate("k"))
    a.spawn(a.reads("k", 2, longest=0))
    await world.settle("k", patience=0)


@scenario("P1", "namespaces")
async def namespaces_side_by_side(sim):
    """Two caches with the same keys, and with tags named like the namespaces, on one server."""
    world = World(sim)
    shop = await world.node("a", namespace="shop")
    bank = await world.node("b", namespace="bank")
    tag = "shop"  # also the name of a namespace
    other: list[int] = []

    async def bank_loads():
        other.append(1)
        return 7

    for node in (shop, bank):
        await node.run(node.cache.get_or_load("other", bank_loads, policy=LONG, type=int))
    for node in (shop, bank):
        node.spawn(node.reads("k", 3, tags=(tag,)))
        node.spawn(node.invalidate("k", tag=tag))
        node.spawn(node.write("k", tags=[tag]))
    # Either process changes its own namespace only, so each judges by its own floor.
    world.lagging_floor = lambda key: 0
    await sim.join()
    for node in (shop, bank):
        await node.run(node.cache.get_or_load("other", bank_loads, policy=LONG, type=int))
    sim.check(len(other) == 2, "a tag that is named like a namespace dropped all of it")
    await bank.run(bank.cache.clear())
    await shop.run(shop.cache.get_or_load("other", bank_loads, policy=LONG, type=int))
    sim.check(len(other) == 2, "a clear of one namespace touched another")
    await world.close()


@scenario("P1", "disabled")
async def a_cache_that_is_disabled(sim):
    """Every read of a disabled cache loads, invalidations still reach everybody."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    for node in (a, b):
        await node.run(node.read("k"))

    async def disabled():
        with a.cache.disabled():
            loads = world.loads["k"]
            await a.read("k")
            sim.check(world.loads["k"] == loads + 1, "a disabled cache served what is stored")
            await a.invalidate("k")

    await a.run(disabled())
    b.spawn(b.reads("k", 3))
    await world.settle("k")
