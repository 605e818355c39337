"""P1 where verbs for one and for many, whole namespaces and several caches meet on the same keys."""

import asyncio

from scenario_registry import scenario
from scenario_world import CLAIM, MAX_STALENESS, WAYS, World, tags_of


async def several(node, world, *, tags=(), late=()):
    """Read "k" and its neighbours once by each verb that reads."""
    for verb in world.sim.random.sample(("one", "many", "peek_many", "refresh"), 3):
        floors = {key: node.floor_of(key) for key in ("k", "l")}
        found = {}
        if verb == "one":
            await node.read("k", tags=tags, late=late)
        elif verb == "many":
            found = await load_many(node, ("k", "l"), tags)
        elif verb == "peek_many":
            found = await node.cache.get_many(["k", "l"], type=int)
        else:
            found = await load_many(node, ("l", "k"), tags)
        for key, value in found.items():
            node.judge(key, value, floors[key])
        await world.pause()


async def load_many(node, keys, tags):
    async def load(missing):
        return {key: await node.load(key) for key in missing}

    return await node.cache.get_or_load_many(keys, load, policy=node.policy, tags=tags, type=int)


def verbs(way):
    """Return a program: readers of one and of many, and one change of either key."""

    async def program(sim):
        world = World(sim)
        nodes = await world.nodes_named("ab", near=sim.random.random() < 0.6)
        tags = tags_of(way)
        for node in nodes:
            node.spawn(several(node, world, tags=tags))
            node.spawn(several(node, world, tags=tags))

        async def changes(node):
            await world.pause()
            await WAYS[way](node)
            await node.read("k", tags=tags)

        nodes[0].spawn(changes(nodes[0]))
        nodes[1].spawn(changes(nodes[1]))
        await world.settle("k", "l", tags=tags)

    return program


for way in WAYS:
    scenario("P1", "batch", seeds=8, name=f"one_and_many_changed_by_{way}")(verbs(way))


@scenario("P1", "V7")
async def clear_against_late_tags(sim):
    """A namespace is dropped while loads learn their tags: nothing from before stands afterwards."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.6)
    a.network.delays = {"stamp": sim.random.choice((0, 0.01)), "versions": sim.random.choice((0, 0.01))}
    world.mix(WAYS["clear"], nodes=[a], late=("t",))
    world.mix(WAYS[sim.random.choice(("tag", "writing_with_tag"))], nodes=[b], late=("t",))
    await world.settle("k", late=("t",))


@scenario("P1", "V7 evicted")
async def versions_evicted_under_near_copies(sim):
    """The server forgets versions of tags and of the namespace while copies are near: what is dropped by such
    a tag goes all the same, near and remotely."""
    world = World(sim)
    nodes = await world.nodes_named("ab")
    for node in nodes:
        await node.run(node.read("k", tags=["t"]))
    world.mix(WAYS[sim.random.choice(("tag", "clear", "writing_with_tag"))], tags=["t"])
    for _ in range(3):
        sim.sometime(lambda: world.server.evict(tags=["default:{t}"]), within=100)
        sim.sometime(lambda: world.server.evict(tags=["default"], stamps=["default"]), within=100)
    await world.settle("k", tags=["t"])


@scenario("P1", "V10", seeds=25)
async def two_caches_of_one_process(sim):
    """Two caches with one namespace in one process are two processes to each other."""
    world = World(sim)
    a = await world.node("a", near=sim.random.random() < 0.7)
    twin = await world.node("b", near=sim.random.random() < 0.7)
    twin.process = a.process
    way = sim.random.choice(list(WAYS))
    world.mix(WAYS[way], tags=tags_of(way))
    await world.settle("k", tags=tags_of(way))


@scenario("P1", "V13", seeds=25)
async def pauses_in_the_middle_of_any_change(sim):
    """A process sleeps in the middle of `set`, `clear`, an invalidation or a fence, past everything it held."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.7)
    way = sim.random.choice(list(WAYS))
    tags = tags_of(way)
    for node in (a, b):
        await node.run(node.read("k", tags=tags))
        node.spawn(node.reads("k", 4, tags=tags))
    a.spawn(WAYS[way](a))
    sim.sometime(a.process.pause, within=30)
    await asyncio.sleep(sim.random.choice((0.3, MAX_STALENESS + 0.5, CLAIM + 1)))
    b.spawn(WAYS[sim.random.choice(("tag", "writing_with_tag") if tags else ("key", "writing", "clear"))](b))
    b.spawn(b.reads("k", 3, tags=tags))
    sim.sometime(a.process.resume, within=30)
    await asyncio.sleep(1)
    a.process.resume()
    await world.settle("k", tags=tags)
