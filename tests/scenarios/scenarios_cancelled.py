"""P1 and P3 where a caller goes in the middle of something: at any of its awaits, and nobody is worse off."""

import asyncio

from scenario_registry import scenario
from scenario_world import CLAIM, MAX_STALENESS, Policy, World, tags_of

from acache import loading
from acache._policy import over

MARGIN = 3.0  # seconds
INLINE = Policy(ttl=0.1, beta=0, stale_while_revalidate=600, max_load_time=None, refresh="caller")


@scenario("P1", "V17", seeds=30)
async def a_refresh_whose_commit_is_interrupted(sim):
    """A refresh brings a value with another tag; its caller goes, or that tag is dropped, while the commit is
    under way. The store may have taken it: so the older copy must not stay near, where nobody drops it by
    that tag."""
    world = World(sim)
    a, b = await world.nodes_named("ab", policy=INLINE)
    changed = False

    async def load():
        version = await world.database.read("k")
        loading().tags.update(["t"] if version else [])
        return version

    async def read(node, refresh="caller"):
        floor = node.floor_of("k")
        policy = over(Policy(refresh=refresh), INLINE)
        node.judge("k", await node.cache.get_or_load("k", load, policy=policy, type=int), floor)

    await asyncio.sleep(0.5)  # near is trusted from then on
    await a.run(read(a))
    await asyncio.sleep(0.15)
    world.database.rows["k"] = 1  # not told to anybody: the refresh finds it
    world.database.pace = (0,)
    a.network.delays = {"commit": 0.01}
    requests = a.cache._engine.authority._remote.store.requests
    sent, before = requests["commit"], world.server.get("default:{k}")
    task = a.spawn(read(a))
    while requests["commit"] == sent:
        await asyncio.sleep(0.001)
    if sim.random.random() < 0.5:
        await asyncio.sleep(sim.random.choice((0, 0.01)))
        sim.sometime(task.cancel, within=6)
    else:
        changed = True
        await asyncio.sleep(0.01)
        sim.sometime(lambda: b.spawn(b.invalidate("k", tag="t")), within=10)
    await sim.join()
    await asyncio.sleep(0.2)
    if not changed:
        taken = world.server.get("default:{k}") != before
        await b.run(b.invalidate("k", tag="t" if taken else None))
    await asyncio.sleep(MAX_STALENESS + 0.1)
    await a.run(read(a, refresh="background"))
    await world.close()


@scenario("P1", "V11", seeds=30)
async def every_change_cancelled_anywhere(sim):
    """`set`, `set_many`, `clear`, `invalidate` and `writing`, cancelled at any await, again and again: what had
    begun is carried through, and what had not has changed nothing."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.7)
    way = sim.random.choice(("set", "set_many", "clear", "key", "tag", "writing"))
    tags = ("t",) if way in ("tag", "set") and sim.random.random() < 0.7 else tags_of(way)
    committed = world.database.commit

    async def commit(key):
        version = await committed(key)
        for _ in range(2):  # from here on the database has changed
            sim.sometime(asyncio.current_task().cancel, within=40)
        return version

    world.database.commit = commit

    async def set_many():
        version = await commit("k")
        values = {"k": version, "k:view": version, "other": 1}
        await a.cache.set_many(values, policy=a.policy, type=int)
        a.raise_floor("k", version)

    changes = {
        "set": lambda: a.set("k", tags=tags),
        "set_many": set_many,
        "clear": lambda: a.clear("k"),
        "key": lambda: a.invalidate("k"),
        "tag": lambda: a.invalidate("k", tag="t"),
        "writing": lambda: a.write("k"),
    }
    for node in (a, b):
        await node.run(node.read("k", tags=tags))
        node.spawn(node.reads("k", 3, tags=tags))
    a.spawn(changes[way]())
    await world.settle("k", tags=tags, patience=CLAIM + MARGIN)


@scenario("P3", seeds=30)
async def readers_who_are_cancelled_while_they_look(sim):
    """The reader who asks for others of its tick is cancelled: they get their answers, and nothing is loaded
    twice for it."""
    world = World(sim)
    world.database.pace = (0, 0.01)
    a, b = await world.nodes_named("ab", near=False)
    for key in ("k", "l", "m"):
        await b.run(b.read(key))
    loads = dict(world.loads)
    readers = [a.spawn(a.read(key)) for key in ("k", "l", "m") for _ in range(3)]
    readers.append(a.spawn(a.read_many("k", "l", "m")))
    readers.append(a.spawn(a.peek("l")))
    for reader in sim.random.sample(readers, 5):
        sim.sometime(reader.cancel, within=20)
    await sim.join()
    done = [reader for reader in readers if not reader.cancelled()]
    sim.check(
        all(reader.exception() is None for reader in done), "a reader failed for another's cancellation"
    )
    sim.check(dict(world.loads) == loads, f"what is stored was loaded: {world.loads} after {loads}")
    await world.close()
