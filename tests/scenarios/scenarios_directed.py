"""P1, directed: programs that go straight for one interleaving, where a broad one finds it rarely."""

import asyncio

from scenario_registry import scenario
from scenario_world import LONG, Oops, Policy, World


IMPATIENT = LONG.over(Policy(timeout=60))  # looks inside a flight, so that it may give up waiting


@scenario("P1", "V7")
async def joiners_of_a_look_at_late_tags(sim):
    """A look that began before a tag was dropped here must not serve who came after."""
    world = World(sim)
    world.database.pace = (0,)
    a = await world.node("a", near=False, policy=sim.random.choice((LONG, IMPATIENT)))
    await a.run(a.read("k", late=("t",)))
    for _ in range(3):
        a.spawn(a.reads("k", 5, late=("t",), longest=0))
    a.spawn(a.invalidate("k", tag="t"))
    await world.settle("k", late=("t",), patience=0)


@scenario("P1", "V16 V10")
async def an_inline_value_and_a_drop_close_behind(sim):
    """A store message wakes a waiting flight; before it runs the next message drops that value."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    a, b = await world.nodes_named("ab")

    async def load_then_drop():
        await a.read("k")
        await a.invalidate("k")

    a.spawn(load_then_drop())
    b.spawn(b.read("k"))
    await world.settle("k")


STALE = Policy(ttl=0.1, beta=0, stale_while_revalidate=600, max_load_time=None)
GRACE = Policy(ttl=0.1, beta=0, stale_if_error=600, max_load_time=None)


@scenario("P1", "joined_refresh")
async def refreshes_of_what_was_just_dropped(sim):
    """A hit on a stale entry starts its refresh after the entry was dropped here; others join that."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    policy = sim.random.choice((STALE, GRACE, STALE.over(GRACE)))
    if sim.random.random() < 0.3:
        policy = policy.over(Policy(timeout=60))
    a = await world.node("a", near=sim.random.random() < 0.3, policy=policy)
    b = await world.node("b", policy=policy)
    await a.run(a.read("k"))
    await asyncio.sleep(0.2)

    async def reads(node):
        for _ in range(3):
            try:
                await node.read("k")
            except Oops:
                pass

    def fail():
        world.database.failing = True

    sim.sometime(fail, within=60)
    a.spawn(reads(a))
    a.spawn(reads(a))
    a.spawn(a.invalidate("k"))
    b.spawn(reads(b))
    await world.close()


@scenario("P1", "V16")
async def an_inline_value_after_an_own_drop(sim):
    """The message of an older store comes after this process's own invalidation, to a flight that waits for it."""
    world = World(sim)
    world.database.pace = (0.02,)
    a, b = await world.nodes_named("ab")
    b.network.message_delay = 0.05
    a.spawn(a.read("k"))
    b.spawn(b.reads("k", 2, longest=0.01))
    await asyncio.sleep(sim.random.choice((0.01, 0.02, 0.03)))

    async def change():
        await b.invalidate("k")
        await b.reads("k", 6, longest=0.03)

    b.spawn(change())
    await world.settle("k")
