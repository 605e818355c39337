"""P2 and P3: one load in the fleet, and cancellations that touch nobody else."""

import asyncio

from scenario_registry import scenario
from scenario_world import CLAIM, Policy, World, all_wait


def check_one_load(world):
    """Check that no key ever had two loads at once."""
    world.sim.check(max(world.most.values(), default=0) <= 1, f"loads at once: {dict(world.most)}")


@scenario("P2")
async def one_load_in_the_fleet(sim):
    """Three processes miss at once, again and again; loads take up to three times the lease."""
    world = World(sim)
    world.database.pace = (0, 0.01, 0.4, 3 * CLAIM)
    nodes = await world.nodes_named("abc", near=sim.random.random() < 0.5)
    for node in nodes:
        node.spawn(node.reads("k", 2, longest=0.5))
        node.spawn(node.reads("k", 2, longest=0.5))
    await sim.join()
    check_one_load(world)
    sim.check(world.loads["k"] == 1, f"{world.loads['k']} loads of what nobody invalidated")
    await world.close()


EARLY = Policy(ttl=1.0, beta=8.0, stale_while_revalidate=600, max_load_time=None)
TURNED = Policy(ttl=1.0, beta=8.0, stale_while_revalidate=600, max_load_time=None, refresh="caller")


@scenario("P2", "joined_refresh")
async def one_refresh_in_the_fleet(sim):
    """Early and stale refreshes of three processes, in the background or inline."""
    world = World(sim)
    world.database.pace = (0.01, 0.4, CLAIM + 2)
    nodes = await world.nodes_named(
        "abc", near=sim.random.random() < 0.5, policy=sim.random.choice((EARLY, TURNED))
    )
    for node in nodes:
        node.spawn(node.reads("k", 6, longest=1.0))
        node.spawn(node.reads("k", 4, longest=1.0))
    await sim.join()
    check_one_load(world)
    await asyncio.sleep(CLAIM + 3)
    check_one_load(world)
    await world.close()


@scenario("P2")
async def one_load_of_a_batch(sim):
    """Batches of several processes overlap: each id is loaded once at a time."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=False)

    async def batches(node):
        for _ in range(3):
            await node.read_many(*sim.random.sample(["k", "l", "m", "n"], 3))
            await world.pause()

    for node in nodes:
        node.spawn(batches(node))
        node.spawn(batches(node))
        node.spawn(node.reads("k", 2))
    await sim.join()
    check_one_load(world)
    sim.check(max(world.loads.values()) == 1, f"loads of what nobody invalidated: {dict(world.loads)}")
    await world.close()


@scenario("P2")
async def forced_refreshes(sim):
    """`refresh` loads whatever is stored; others read meanwhile, and there are never two loads at once."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    functions = []
    for node in nodes:

        @node.cache.cached("k", ttl=600, max_load_time=None)
        async def read(node=node) -> int:
            return await node.load("k")

        functions.append(read)
        await node.run(read())

    async def refresh(read):
        version = await world.database.commit("k")
        value = await read.refresh()
        sim.check(value >= version, f"a refresh returned version {value}, {version} was written before")

    async def reads(read):
        for _ in range(3):
            await read()
            await world.pause()

    nodes[0].spawn(refresh(functions[0]))
    for node, read in zip(nodes, functions, strict=True):
        node.spawn(reads(read))
    await sim.join()
    check_one_load(world)
    sim.check(world.loads["k"] == 2, f"{world.loads['k']} loads for a miss and a refresh")
    await world.close()


@scenario("P3", seeds=30)
async def callers_who_are_cancelled(sim):
    """Some of many callers are cancelled, in every process; the others get the value of one load."""
    world = World(sim)
    world.database.pace = (0, 0.01, 0.4, CLAIM + 5)
    nodes = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    await asyncio.sleep(0.5)  # nobody joins a load that began before the feed was there
    staying = []
    for node in nodes:
        stays, *doomed = sim.random.sample(await all_wait(node, "k", 3), 3)
        staying.append(stays)
        for task in doomed:
            sim.sometime(task.cancel, within=50)
    for task in staying:
        sim.check(await task == 0, "a caller who stayed got no value")
    sim.check(world.loads["k"] == 1, f"{world.loads['k']} loads: a cancellation restarted one")
    await world.close()


@scenario("P3", seeds=30)
async def all_callers_of_a_process_are_cancelled(sim):
    """Its load ends and its lease with it: who waits elsewhere does not wait for that to expire."""
    world = World(sim)
    world.database.pace = (0, 0.01, 0.4)
    a, b = await world.nodes_named("ab", near=False)
    for task in [a.spawn(a.read("k")) for _ in range(2)]:
        sim.sometime(task.cancel, within=40)
    began = sim.loop.time()
    b.spawn(b.reads("k", 2, longest=0))
    await sim.join()
    lasted = sim.loop.time() - began
    sim.check(lasted < 2.0, f"the lease of a cancelled load stood in the way for {lasted:g} s")
    check_one_load(world)
    await world.close()


@scenario("P3", "batch")
async def callers_of_a_batch_who_are_cancelled(sim):
    """Batch loads lose some of their callers; the others get everything they asked for."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=False)
    keys = ["k", "l", "m"]
    for node in nodes:
        for _ in range(2):
            doomed = node.spawn(node.read_many(*sim.random.sample(keys, 2)))
            sim.sometime(doomed.cancel, within=60)

        async def stays(node=node):
            found = await node.read_many(*keys)
            sim.check(found.keys() == set(keys), f"a caller who stayed got {sorted(found)}")

        node.spawn(stays())
    await sim.join()
    check_one_load(world)
    await world.close()


@scenario("P3", "V11")
async def a_lease_whose_answer_is_lost(sim):
    """The request was granted and nobody knows: the key is not blocked for the length of a lease."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    a, b = await world.nodes_named("ab", near=False)
    a.network.lands_late = 1.0
    if sim.random.random() < 0.5:
        a.network.fail_next("lease", how="lost")
    else:
        task = a.spawn(a.read("k"))
        sim.sometime(task.cancel, within=25)
    began = sim.loop.time()
    a.spawn(a.read("k"))
    b.spawn(b.reads("k", 3, longest=0.01))
    await sim.join()
    lasted = sim.loop.time() - began
    sim.check(lasted < 3.5, f"a lease that nobody held stood in the way for {lasted:g} s")
    await world.close()


@scenario("P2", "void_load")
async def void_loads_give_way(sim):
    """A load that became void releases its lease at once; its successor does not wait for its end."""
    world = World(sim)
    world.database.pace = (3 * CLAIM,)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    await asyncio.sleep(0.5)  # a feed that is not there yet tells of no drop
    tags = sim.random.choice(((), ("t",)))
    a.spawn(a.read("k", tags=tags))
    while not world.running["k"]:
        await asyncio.sleep(0.001)
    changer = sim.random.choice((a, b))
    await changer.run(changer.invalidate("k", tag=tags[0] if tags else None))
    world.database.pace = (0,)
    began = sim.loop.time()
    await changer.run(changer.read("k", tags=tags))
    lasted = sim.loop.time() - began
    sim.check(lasted < 1.0, f"the lease of a void load stood in the way for {lasted:g} s")
    await world.settle("k", tags=tags)
