"""P5 and P6: the store is away, slow, or lies; reads go on, and no invalidation is lost."""

import asyncio

from scenario_registry import scenario
from scenario_world import MAX_STALENESS, Policy, World

from acache.errors import InvalidationFailed

NET = 1.5  # seconds after which a request to a store without a timeout of its own is given up
DOWN = 6.0  # seconds until after an outage everything has landed and nothing lags


def fail_sometimes(node, share=0.1):
    """Let each request of the node fail with this chance, in one of three ways."""
    kind = node.world.sim.random.choice(("refused", "cut", "lost"))
    setattr(node.network, kind, share)


def outage(node, sim, within=80):
    """Cut the node off for a while, sometime."""

    async def back():
        await asyncio.sleep(sim.random.choice((0.01, 0.3, 2.5)))
        node.network.down = False

    def cut():
        node.network.down = True
        sim.spawn(back())

    sim.sometime(cut, within=within)


@scenario("P6", "V12 V15", seeds=30)
async def outages(sim):
    """Processes lose the server for a while, each for itself."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=sim.random.random() < 0.6)
    ways = sim.random.choice(({}, {"tags": ("t",)}, {"late": ("t",)}))
    tag = "t" if ways else None
    for node in nodes:
        node.spawn(node.reads("k", 5, **ways))
        node.spawn(node.reads("k", 4, **ways))
        node.spawn(node.invalidate("k", tag=tag))
        outage(node, sim)
    nodes[0].spawn(nodes[0].write("k", tags=ways.get("tags", ways.get("late", ()))))
    await world.settle("k", patience=DOWN, **ways)


@scenario("P5")
async def reads_without_a_task(sim):
    """A store that hands its answers over by itself, and fails sometimes."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.3, kind="prompt")
    ways = sim.random.choice(({}, {"tags": ("t",)}, {"late": ("t",)}))
    for node in (a, b):
        fail_sometimes(node, 0.1)
        for _ in range(3):
            reading = node.spawn(node.reads("k", 3, **ways))
        sim.sometime(reading.cancel, within=40)
    a.spawn(a.invalidate("k", tag="t" if ways else None))
    b.spawn(b.write("k", tags=("t",) if ways else ()))
    await sim.join()
    for node in (a, b):
        node.network.refused = node.network.cut = node.network.lost = 0
    await world.settle("k", patience=DOWN, **ways)


@scenario("P6", seeds=30)
async def requests_that_fail(sim):
    """Single requests are refused, cut short, or lose their answer."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=sim.random.random() < 0.6)
    ways = sim.random.choice(({}, {"tags": ("t",)}, {"late": ("t",)}))
    tag = "t" if ways else None
    for node in nodes:
        fail_sometimes(node, 0.2)
        node.spawn(node.reads("k", 5, **ways))
        node.spawn(node.invalidate("k", tag=tag))
        node.spawn(node.write("k", tags=("t",) if ways else ()))
    await sim.join()
    for node in nodes:
        node.network.refused = node.network.cut = node.network.lost = 0.0
    await asyncio.sleep(DOWN + 5)
    await world.settle("k", patience=0, **ways)


@scenario("P6", "V15 V12", seeds=30)
async def a_pending_invalidation_that_lands(sim):
    """Reads of the invalidator's process while its invalidation is pending and when it lands."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    ways = sim.random.choice(({}, {"tags": ("t",)}, {"late": ("t",)}))
    await b.run(b.read("k", **ways))
    a.network.fail_next("drop", how=sim.random.choice(("refused", "lost")))
    a.network.delays = {"peek": sim.random.choice((0, 0.02, 0.05))}

    async def life():
        await a.invalidate("k", tag="t" if ways else None)
        for _ in range(9):
            a.spawn(a.peek("k") if sim.random.random() < 0.4 else a.read("k", **ways))
            await asyncio.sleep(sim.random.choice((0, 0.02, 0.1, 0.4, 0.5)))

    a.spawn(life())
    b.spawn(b.reads("k", 2, **ways))
    await world.settle("k", patience=DOWN, **ways)


@scenario("P6", "V12")
async def looks_while_a_retry_lands(sim):
    """A look that is answered before the retry lands is processed after it."""
    world = World(sim)
    world.database.pace = (0,)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    await b.run(b.read("k", late=("t",)))
    a.network.fail_next("drop")
    await a.run(a.invalidate("k", tag="t"))
    a.network.delays = {"peek": 0.03}
    await asyncio.sleep(1.3)
    for _ in range(20):
        a.spawn(a.peek("k") if sim.random.random() < 0.5 else a.read("k", late=("t",)))
        await asyncio.sleep(0.02)
    await world.settle("k", patience=DOWN, late=("t",))


@scenario("P6", "pending", seeds=30)
async def invalidated_again_while_the_first_lands(sim):
    """A second invalidation of a key becomes pending while the first one's retry is under way."""
    world = World(sim)
    world.database.pace = (0,)
    a, b = await world.nodes_named("ab", near=False)
    a.network.fail_next("drop")
    ways = sim.random.choice(({}, {"tags": ("t",)}))
    change = sim.random.choice((lambda: a.invalidate("k", tag="t" if ways else None), lambda: a.clear("k")))
    await b.run(b.read("k", **ways))
    await a.run(change())
    await asyncio.sleep(0.9)  # the breaker's probe will be the retry
    a.network.delays = {"drop": 0.2}

    async def again():
        await asyncio.sleep(sim.random.uniform(0.8, 1.1))
        await change()

    a.spawn(again())
    b.spawn(b.reads("k", 20, longest=0.2, **ways))
    await world.settle("k", patience=DOWN, **ways)


@scenario("P6", "collapse")
async def too_many_to_remember(sim):
    """Past its bound the pending list becomes one pending `clear`."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    for node in (a, b):
        await node.run(node.read("k"))
    a.network.down = True

    async def flood():
        await a.invalidate("k")
        await a.cache.invalidate(*(f"other:{number}" for number in range(10_001)))
        sim.check(len(a.cache._engine.authority.pending) <= 1, "the pending list grows without bound")
        await a.cache.invalidate("one more", tags=["and its tag"])
        sim.check(len(a.cache._engine.authority.pending._keys) == 0, "the collapsed list grows again")
        await a.reads("k", 2)

    a.spawn(flood())
    b.spawn(b.reads("k", 2))
    sim.sometime(lambda: setattr(a.network, "down", False), within=80)
    await asyncio.sleep(1)
    a.network.down = False
    await world.settle("k", patience=DOWN)


@scenario("P6", "raise")
async def lost_invalidations_that_raise(sim):
    """With `on_lost_invalidation="raise"` the caller is told, and it lands all the same."""
    world = World(sim)
    a, b = await world.nodes_named("ab", on_lost_invalidation="raise")
    await b.run(b.read("k"))
    told = []

    async def changes():
        for change in (a.invalidate, a.write):
            try:
                await change("k")
            except InvalidationFailed as error:
                told.append(error)
                sim.check(error.written, "the caller's write stood")
                a.raise_floor("k", world.database.rows["k"])
            await a.read("k")

    a.network.down = True
    a.spawn(changes())
    b.spawn(b.reads("k", 3))
    await a.process.join()
    sim.check(len(told) == 2, f"{len(told)} of two lost invalidations were told")
    a.network.down = False
    await world.settle("k", patience=DOWN)


@scenario("P5", seeds=30)
async def no_read_fails(sim):
    """Whatever the store does - refuse, hang, lose, crawl, restart - every read brings a value."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    nodes = await world.nodes_named(
        "ab", near=sim.random.random() < 0.5, kind=sim.random.choice(("feed", "leases", "plain"))
    )
    for node in nodes:
        fail_sometimes(node, sim.random.choice((0.05, 0.3, 1.0)))
        node.network.spike, node.network.spike_delay = 0.1, sim.random.choice((0.2, 5.0))
        node.network.lands_late = 0.5
        outage(node, sim)

    async def reads(node):
        for _ in range(5):
            began = sim.loop.time()
            await node.cache.get_or_load("k", lambda: node.load("k"), policy=node.policy, type=int)
            lasted = sim.loop.time() - began
            sim.check(lasted < 10 + 2 * NET, f"a read took {lasted:g} s")
            await world.pause()

    for node in nodes:
        node.spawn(reads(node))
        node.spawn(reads(node))
    sim.sometime(world.server.restart, within=100)
    await sim.join()
    for node in nodes:
        node.network.spike = node.network.refused = node.network.cut = node.network.lost = 0.0
    await world.close()


@scenario("P5")
async def a_server_that_hangs(sim):
    """It costs a read its timeout once; then the breaker answers at once, one probe a second apart."""
    world = World(sim)
    world.database.pace = (0,)
    a = await world.node("a", near=sim.random.random() < 0.5)
    a.network.delay = 3600.0

    async def timed():
        began = sim.loop.time()
        await a.read(sim.random.choice(("k", "l", "m")))
        return sim.loop.time() - began

    lasted = await asyncio.gather(*(a.spawn(timed()) for _ in range(5)))
    sim.check(max(lasted) <= NET + 0.01, f"a read waited {max(lasted):g} s for a server that hangs")
    lasted = [await a.run(timed()) for _ in range(5)]
    sim.check(max(lasted) <= 0.01, f"a read waited {max(lasted):g} s although the breaker was open")
    a.network.delay = 0.0
    await asyncio.sleep(DOWN)
    await a.run(a.read("k"))
    loads = world.loads["k"]
    await a.run(a.read("k"))
    sim.check(world.loads["k"] == loads, "the store is back, and is not used")
    await world.close()


FALLBACK = Policy(ttl=600, fallback_ttl=3.0, max_load_time=None)


@scenario("P5", "void_flight")
async def fallbacks(sim):
    """While the store is away loaded values are kept near for `fallback_ttl`, but not what was invalidated."""
    world = World(sim)
    world.database.pace = (0, 0.01, 0.3)
    a = await world.node("a", near=sim.random.random() < 0.5, policy=FALLBACK)
    ways = sim.random.choice(({}, {"tags": ("t",)}, {"late": ("t",)}))
    a.network.down = True
    await a.run(a.cache.get("x"))
    a.spawn(a.reads("k", 6, longest=0.5, **ways))
    a.spawn(a.reads("k", 6, longest=0.5, **ways))
    a.spawn(a.invalidate("k", tag="t" if ways else None))
    a.spawn(a.write("k", tags=["t"]))
    await sim.join()
    loads = world.loads["k"]
    for _ in range(3):
        await a.run(a.read("k", **ways))
    sim.check(world.loads["k"] <= loads + 1, "nothing was kept while the store is away")
    a.network.down = False
    await world.settle("k", patience=DOWN, **ways)


@scenario("P5", "fallback")
async def fallbacks_lag_by_their_time(sim):
    """What another process invalidates meanwhile is served for `fallback_ttl` at most, from when it was loaded."""
    world = World(sim)
    world.database.pace = (0, 1.0)
    a, b = await world.nodes_named("ab", policy=FALLBACK)
    a.network.down = True

    async def reads():
        for _ in range(12):
            began = sim.loop.time()
            value = await a.cache.get_or_load("k", lambda: a.load("k"), policy=FALLBACK, type=int)
            late = began - max(FALLBACK.fallback_ttl, MAX_STALENESS)
            floor = max((version for at, _, version in world.history if at < late), default=0)
            a.judge("k", value, floor)
            await world.pause(1.0)

    a.spawn(reads())
    b.spawn(b.invalidate("k"))
    b.spawn(b.invalidate("k"))
    await world.close()


@scenario("P6")
async def a_lease_that_could_not_be_given_back(sim):
    """The store is away when a load ends: once it is back nobody waits for that lease to expire."""
    world = World(sim)
    world.database.pace = (0.2,)
    kind = sim.random.choice(("feed", "leases", "plain"))
    a, b = await world.nodes_named("ab", kind=kind, near=False)
    a.spawn(a.read("k"))
    outage(a, sim, within=40)
    await sim.join()
    await asyncio.sleep(DOWN)
    for node in (a, b):
        began = sim.loop.time()
        await node.run(node.read("k"))
        lasted = sim.loop.time() - began
        sim.check(lasted < 1.0, f"{node.name} waited {lasted:g} s for a lease that nobody needs")
    await world.close()
