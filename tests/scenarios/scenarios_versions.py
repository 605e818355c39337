"""P1 and P2 with versions of tags that processes hold near, beside an entry that only the server has."""

import asyncio

from scenario_registry import scenario
from scenario_world import MAX_STALENESS, WAYS, World

TAGS = {"tags": ("t",)}


async def _know(*nodes):
    """Let each process read "k", so that it holds the version of its tag."""
    await asyncio.sleep(0.1)  # until the feed is trusted
    for node in nodes:
        for _ in range(2):
            await node.run(node.read("k", **TAGS))


@scenario("P1", "held_versions")
async def held_versions_and_drops_of_the_tag(sim):
    """A message drops what is held; and what was asked for before it came is not held after it."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=False)
    await _know(a, b)
    for node in (a, b):
        node.network.delays = {"peek": sim.random.choice((0, 0.01, 0.05))}
    world.mix(WAYS[sim.random.choice(("tag", "writing_with_tag"))], nodes=[a], **TAGS)
    b.spawn(b.reads("k", 6, **TAGS))
    await world.settle("k", **TAGS)


@scenario("P1", "held_versions")
async def held_versions_while_the_feed_is_slow(sim):
    """Messages come later than `max_staleness`: what is held is worth nothing."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=False)
    await _know(a, b)
    b.network.message_delay = 30.0
    await asyncio.sleep(sim.random.choice((0, 0.5, 1.5)))
    a.spawn(a.invalidate("k", tag="t"))
    b.spawn(b.reads("k", 8, longest=1.5, **TAGS))
    await world.settle("k", patience=MAX_STALENESS + 0.5, **TAGS)


@scenario("P2", "held_versions")
async def held_versions_of_a_tag_that_was_evicted(sim):
    """The server forgot a version that processes hold: one load, and they agree again, newcomers too."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=False)
    await _know(*nodes)
    nodes.append(await world.node("c", near=False))
    before = world.loads["k"]
    world.server.evict(tags=["default:{t}"], keys=sim.random.choice(([], ["default:{k}"])))
    sim.random.shuffle(nodes)
    for node in nodes * 3:
        await node.run(node.read("k", **TAGS))
        await world.pause()
    sim.check(world.loads["k"] <= before + 1, "processes take each other's entries for outdated")
    await world.close()
