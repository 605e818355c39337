"""P1 with a feed that has gaps, is slow, or is not there, and with processes that are paused."""

import asyncio

from scenario_registry import scenario
from scenario_world import CLAIM, MAX_STALENESS, WAYS, Policy, World

from acache._policy import over


@scenario("P1", "V8")
async def gaps_in_the_feed(sim):
    """Connections break; what was said meanwhile is lost."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    for node in (a, b):
        node.network.delays = {"peek": sim.random.choice((0, 0.01, 0.05))}
    world.mix(WAYS["key"], nodes=[a])
    world.mix(WAYS["writing"], nodes=[b])
    for _ in range(3):
        sim.sometime(world.server.hang_up, within=200)
    await world.settle("k")


@scenario("P1", "V8")
async def an_answer_that_comes_after_the_gap(sim):
    """A read is answered; the drop is not heard; the connection is back; then the answer is processed."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    await a.run(a.read("k"))
    b.network.delays = {"peek": 0.3}
    b.spawn(b.read("k"))
    await asyncio.sleep(0.31)  # the answer is under way
    a.spawn(a.invalidate("k"))
    sim.sometime(world.server.hang_up, within=12)
    await world.settle("k")


@scenario("P1", "V9 V5")
async def a_feed_slower_than_the_contract(sim):
    """Messages come later than `max_staleness`, always: near is worth nothing."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    b.network.message_delay = sim.random.choice((1.5, 2.5, 4.0))
    b.spawn(b.reads("k", 8, longest=2.0))
    a.spawn(a.reads("k", 4, longest=1.0))

    async def changes():
        for _ in range(3):
            await world.pause(1.5)
            await a.invalidate("k")

    a.spawn(changes())
    await world.settle("k", patience=MAX_STALENESS + 0.5)


@scenario("P1", "V5")
async def slow_loads_while_the_feed_is_away(sim):
    """Nobody hears of the drop: running loads are joined for `max_staleness` at most."""
    world = World(sim)
    world.database.pace = (0, 0.01, 4.0, 6.0)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    b.network.message_delay = 30.0

    async def crowd(node):
        for _ in range(5):
            node.spawn(node.read("k"))
            await asyncio.sleep(sim.random.choice((0, 0.5, 1.3, 2.2)))

    for node in (a, b):
        node.spawn(crowd(node))
    a.spawn(a.invalidate("k"))
    await world.close()


STALE = Policy(ttl=0.5, beta=0, stale_while_revalidate=600, stale_if_error=600, max_load_time=None)


@scenario("P1", "V5")
async def old_values_while_the_feed_is_away(sim):
    """A stale copy that was near when trust ended is no answer to who joins its refresh."""
    world = World(sim)
    world.database.pace = (0, 0.01, 2.0)
    a, b = await world.nodes_named("ab", policy=over(STALE, Policy(soft_timeout=0.05)))
    await b.run(b.read("k"))
    await asyncio.sleep(0.6)
    b.network.message_delay = 30.0
    a.spawn(a.invalidate("k"))

    async def crowd(node):
        for _ in range(7):
            node.spawn(node.read("k"))
            await asyncio.sleep(sim.random.choice((0.1, 0.4, 0.9, 1.9)))

    b.spawn(crowd(b))
    a.spawn(a.reads("k", 2, longest=1.5))
    await world.close()


@scenario("P1")
async def a_store_without_a_feed(sim):
    """Leases alone: in other processes only running loads may lag."""
    world = World(sim)
    world.database.pace = (0, 0.01, 0.03, 3.0)
    a, b = await world.nodes_named("ab", kind="leases")
    world.mix(sim.random.choice((WAYS["tag"], WAYS["key"])), nodes=[a], late=("t",))
    world.mix(WAYS["writing_with_tag"], nodes=[b], late=("t",))
    await world.settle("k", late=("t",))


@scenario("P1", "V13 V10", seeds=25)
async def processes_that_are_paused(sim):
    """A process sleeps past leases, fences and trust; when it wakes, readers run before timers."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    for node in (a, b):
        node.spawn(node.reads("k", 5))
        node.spawn(node.reads("k", 5))
    b.spawn(b.invalidate("k"))
    b.spawn(b.write("k"))
    if sim.random.random() < 0.5:
        a.spawn(a.write("k"))
    sim.sometime(a.process.pause, within=80)
    await asyncio.sleep(sim.random.choice((0.5, MAX_STALENESS + 0.5, CLAIM + 1)))
    sim.sometime(a.process.resume, within=40)
    await asyncio.sleep(1)
    a.process.resume()
    await world.settle("k")


@scenario("P1")
async def loaders_that_are_killed(sim):
    """A process dies while it holds leases: others wait for ten seconds at most, and nothing stale is left."""
    world = World(sim)
    world.database.pace = (0, 0.01, 1.0)
    a, b = await world.nodes_named("ab")
    for node in (a, b):
        node.spawn(node.reads("k", 3))
    a.spawn(a.write("k"))
    b.spawn(b.invalidate("k"))
    sim.sometime(a.process.kill, within=80)
    await b.process.join()
    began = sim.loop.time()
    await b.run(b.read("k"))
    sim.check(sim.loop.time() - began < CLAIM + 2, "a dead holder's key was not free after its lease")
    await world.settle("k", patience=CLAIM + 1)


@scenario("P1", "restart")
async def a_server_that_forgets(sim):
    """A restart loses entries, versions, stamps and claims; what runs meanwhile stores nothing stale."""
    world = World(sim)
    world.database.pace = (0, 0.01, 0.3)
    nodes = await world.nodes_named("ab")
    ways = sim.random.choice(({"tags": ("t",)}, {"late": ("t",)}))
    for node in nodes:
        node.spawn(node.reads("k", 5, **ways))
        node.spawn(node.reads("k", 4, **ways))
        node.spawn(node.invalidate("k", tag=sim.random.choice((None, "t"))))
        node.spawn(node.write("k", tags=["t"]))
    for _ in range(2):
        sim.sometime(world.server.restart, within=120)
    await world.settle("k", **ways)


@scenario("P1", "restart")
async def a_server_that_goes_back(sim):
    """A restart rolls back to a snapshot: what was invalidated after that may be back, and is again
    invalidated away; what was invalidated before it stays gone."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    await a.run(a.read("k"))
    await a.run(a.invalidate("k"))
    snapshot = world.server.snapshot()
    await b.run(b.read("k"))
    for node in (a, b):
        node.spawn(node.reads("k", 4))
    sim.sometime(lambda: world.server.restart(snapshot), within=60)
    await sim.join()
    await a.run(a.invalidate("k"))
    await world.settle("k")
