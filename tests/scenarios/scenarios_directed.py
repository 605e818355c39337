"""P1, directed: programs that go straight for one interleaving, where a broad one finds it rarely."""

import asyncio

from scenario_registry import scenario
from scenario_world import LONG, MAX_STALENESS, Oops, Policy, World

from acache import loading
from acache._policy import over

IMPATIENT = over(LONG, Policy(timeout=60))  # looks inside a flight, so that it may give up waiting


@scenario("P1", "V7")
async def joiners_of_a_look_at_late_tags(sim):
    """A look that began before a tag was dropped here must not serve who came after."""
    world = World(sim)
    world.database.pace = (0,)
    a = await world.node("a", near=False, policy=IMPATIENT)
    await a.run(a.read("k", late=("t",)))
    for _ in range(4):
        a.spawn(a.reads("k", 4, late=("t",), longest=0))

    async def changes():
        for _ in range(3):
            await a.invalidate("k", tag="t")
            await a.read("k", late=("t",))

    a.spawn(changes())
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
    policy = sim.random.choice((STALE, GRACE, over(STALE, GRACE)))
    if sim.random.random() < 0.3:
        policy = over(policy, Policy(timeout=60))
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
    """The message of an older store comes after this process's own invalidation, to a flight that waits."""
    world = World(sim)
    world.database.pace = (0.02,)
    a, b = await world.nodes_named("ab")
    b.network.message_delay = 0.05
    a.spawn(a.reads("k", 8, longest=0.01))
    b.spawn(b.reads("k", 2, longest=0.01))
    await asyncio.sleep(sim.random.choice((0.01, 0.02, 0.03)))

    async def change():
        await b.invalidate("k")
        await world.pause(0.02)
        await b.reads("k", 4)

    b.spawn(change())
    await world.settle("k")


@scenario("P1", "V10 void_after_commit")
async def a_store_and_a_drop_close_behind(sim):
    """The answer to a commit is under way when the key is dropped elsewhere: nothing of it is put near."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    a.network.delays = {"commit": 0.01}
    a.spawn(a.read("k"))
    while not world.server.keys():
        await asyncio.sleep(0.001)
    b.spawn(b.invalidate("k"))
    a.spawn(a.reads("k", 3))
    await world.settle("k")


@scenario("P1", "V7")
async def a_stamp_that_is_evicted_during_a_load(sim):
    """An invalidation replaces the stamp, the server forgets it: it must not come back as the load has seen it."""
    world = World(sim)
    world.database.pace = (0, 0.03)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)

    async def changes():
        for _ in range(2):
            await world.pause()
            await b.invalidate("k", tag="t")
            world.server.evict(stamps=["default"])
            await b.read("k", late=("t",))

    b.spawn(changes())
    a.spawn(a.reads("k", 4, late=("t",)))
    await world.settle("k", late=("t",))


@scenario("P1", "early_message")
async def a_drop_that_takes_its_time(sim):
    """Who hears of a drop reads again at once: the entry must be gone by then."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    await b.run(b.read("k"))
    a.network.delays = {"drop": 0.01}
    a.spawn(a.invalidate("k"))
    b.spawn(b.reads("k", 8, longest=0.01))
    await world.settle("k")


AGEING = Policy(ttl=0.1, beta=0, stale_while_revalidate=600, max_load_time=None)


@scenario("P1", "V17")
async def a_refresh_that_is_not_put_near(sim):
    """A refresh brings a value with another tag and may not put it near: the older copy must go all the same,
    because nobody will drop it by that tag."""
    world = World(sim)
    a, b = await world.nodes_named("ab", policy=AGEING)

    async def load():
        version = await world.database.read("k")
        loading().tags.update(["t"] if version else [])
        return version

    async def read(node):
        floor = node.floor_of("k")
        node.judge(
            "k", await node.cache.get_or_load("k", load, policy=AGEING, refresh="background", type=int), floor
        )

    await a.run(read(a))
    await asyncio.sleep(0.15)
    world.database.rows["k"] = 1  # not told to anybody: the refresh finds it
    world.database.pace = (0.3,)

    async def reads():
        for _ in range(20):
            await read(a)
            await asyncio.sleep(0.02)

    a.spawn(reads())
    sim.sometime(world.server.hang_up, within=25)
    await sim.join()
    await asyncio.sleep(0.5)
    await b.run(b.invalidate("k", tag="t"))
    await asyncio.sleep(MAX_STALENESS + 0.1)
    await a.run(read(a))
    await world.close()


@scenario("P1", "V7")
async def joiners_of_a_judgement_of_anothers_value(sim):
    """A flight waited for another's load and asks by which versions its value is judged; a tag that only that
    value names is dropped here meanwhile. Who comes after that must not be served the value."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=False)
    await asyncio.sleep(0.5)
    world.database.pace = (0.05,)
    a.network.delays = {"peek": 0.03}
    b.spawn(b.read("k", late=("t",)))
    await asyncio.sleep(0.02)
    a.spawn(a.reads("k", 2, late=("t",), longest=0))
    await asyncio.sleep(sim.random.uniform(0.05, 0.12))

    async def change():
        await a.invalidate("k", tag="t")
        await a.reads("k", 3, late=("t",), longest=0)

    a.spawn(change())
    await world.settle("k", late=("t",))
