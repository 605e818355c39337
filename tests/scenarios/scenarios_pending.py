"""P1 and P6 where an outage meets a writer or a load under way: what did not land is remembered there too."""

import asyncio

from scenario_registry import scenario
from scenario_world import CLAIM, WAYS, World, tags_of

DOWN = 6.0  # seconds until after an outage everything has landed and nothing lags


@scenario("P6", "pending_inside")
async def an_invalidation_pending_inside_a_fence(sim):
    """In one process a block is under way and another task's invalidation does not reach the server: the
    block's older value must not be served there, whether or not the block can store it."""
    world = World(sim)
    a = await world.node("a", near=sim.random.random() < 0.7)
    tags = sim.random.choice(((), ("t",)))
    written = asyncio.Event()

    async def write():
        async with a.cache.writing("k", tags=tags) as writer:
            writer.commit("k", await world.database.commit("k"), policy=a.policy)
            written.set()
            await asyncio.sleep(
                sim.random.uniform(0.9, 1.7)
            )  # the breaker lets the exit through before the retry

    async def change():
        await written.wait()
        for _ in range(2):
            a.network.fail_next("drop", how=sim.random.choice(("refused", "lost")))
        await (
            a.clear("k") if sim.random.random() < 0.3 else a.invalidate("k", tag=tags[0] if tags else None)
        )
        await a.reads("k", 30, tags=tags, longest=0.2)

    a.spawn(write())
    a.spawn(change())
    await world.settle("k", tags=tags, patience=DOWN)


@scenario("P6", "pending_inside", seeds=30)
async def outages_around_writers(sim):
    """The server is away at some moment of a block, its exit or a change beside it, in either process."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    nodes = await world.nodes_named("ab", near=sim.random.random() < 0.7)
    tags = sim.random.choice(((), ("t",)))

    def toggle(node):
        node.network.down = not node.network.down

    for node in nodes:
        node.spawn(node.write("k", tags=tags, fail=sim.random.random() < 0.2))
        node.spawn(node.invalidate("k", tag=tags[0] if tags else None))
        node.spawn(node.reads("k", 6, tags=tags))
        for _ in range(2):
            sim.sometime(lambda node=node: toggle(node), within=70)
    await sim.join()
    await asyncio.sleep(1)
    for node in nodes:
        node.network.down = False
    await world.settle("k", tags=tags, patience=CLAIM + DOWN)


@scenario("P6", "pending_inside")
async def answers_lost_at_every_verb(sim):
    """One request of each process loses its answer, or is cut, whatever verb that is."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=sim.random.random() < 0.7)
    way = sim.random.choice(list(WAYS))
    verbs = ("peek", "versions", "stamp", "lease", "commit", "drop", "fence", "settle", "release")
    for node in nodes:
        for _ in range(2):
            node.network.fail_next(
                sim.random.choice(verbs), how=sim.random.choice(("lost", "cut", "refused"))
            )
    world.mix(WAYS[way], tags=tags_of(way))
    await world.settle("k", tags=tags_of(way), patience=CLAIM + DOWN)
