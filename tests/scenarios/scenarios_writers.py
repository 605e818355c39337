"""P1 around fences: several writers, crashes, exceptions, cancellations, pauses past the fence."""

import asyncio

from scenario_registry import scenario
from scenario_world import CLAIM, World


@scenario("P1", "V1 V3 V14")
async def two_fences(sim):
    """Writers of one key and tag, some of whom fail; what remains is the database's value or nothing."""
    world = World(sim)
    await world.nodes_named("ab", near=sim.random.random() < 0.5)
    tags = sim.random.choice(((), ("t",)))
    world.mix(lambda node: node.write("k", tags=tags, fail=sim.random.random() < 0.3), tags=tags)
    await world.settle("k", tags=tags, patience=2.5)


@scenario("P1", "V1")
async def a_writer_whose_release_fails(sim):
    """Requests of one writer are lost; its standing fence must not let an older value in."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=False)
    for verb in ("release", "drop", "commit", "settle"):
        if sim.random.random() < 0.4:
            a.network.fail_next(verb, how=sim.random.choice(("refused", "lost", "cut")))
    tags = sim.random.choice(((), ("t",)))
    a.spawn(a.write("k", tags=tags))
    b.spawn(b.write("k", tags=tags))
    b.spawn(b.write("k", tags=tags, commit=False))
    b.spawn(b.reads("k", 3, tags=tags))
    await world.settle("k", tags=tags, patience=CLAIM + 2)


@scenario("P1", "V3 V4")
async def two_keys_under_one_tag(sim):
    """Writers of one row under different keys: only the tag tells them of each other."""
    world = World(sim)
    nodes = await world.nodes_named("ab", near=sim.random.random() < 0.5)

    async def writes(node, key):
        for _ in range(2):
            await world.pause()
            await node.write(key, tags=["t"], fail=sim.random.random() < 0.2)
            await node.read(key, tags=["t"])

    for node in nodes:
        node.spawn(writes(node, f"k:{node.name}"))
        for other in nodes:
            node.spawn(node.reads(f"k:{other.name}", 3, tags=["t"]))
    await world.settle("k:a", "k:b", tags=["t"])


@scenario("P1", "V1 V2 V4", seeds=30)
async def writers_that_are_killed(sim):
    """A process dies in its block, soon after the database committed; others change and read the same
    meanwhile. When the dead fence has expired nothing stale is left."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    tags = sim.random.choice(((), ("t",)))
    key = sim.random.choice(("k", "k:view")) if tags else "k"
    committed = world.database.commit

    async def commit(key):
        mine = sim.current is a.process
        version = await committed(key)
        if mine:
            sim.sometime(a.process.kill, within=12)
        return version

    world.database.commit = commit

    async def changes():
        for _ in range(2):
            await sim.random.choice((b.invalidate, b.write))("k")
            await b.read(key, tags=tags)

    await b.run(b.read(key, tags=tags))
    a.spawn(a.write("k", tags=tags, length=0.03))
    if not tags:
        b.spawn(changes())
    b.spawn(b.reads(key, 4, tags=tags))
    await world.settle(key, tags=tags, patience=CLAIM + MARGIN)


MARGIN = 3.0  # seconds after which no claim of a dead process can count, nor what it left near


@scenario("P1", "V13 refused_exit")
async def a_writer_that_is_paused_past_its_fence(sim):
    """A process sleeps inside its block; its fence ends, others load and write, then it goes on."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.7)

    async def life():
        async with a.cache.writing("k") as writer:
            sim.sometime(a.process.pause, within=12)
            await world.pause()
            version = await world.database.commit("k")
            writer.commit("k", version, policy=a.policy)
            await world.pause()
        a.raise_floor("k", version)
        await a.reads("k", 3, longest=0)

    a.spawn(life())
    a.spawn(a.reads("k", 4, longest=0.01))
    await asyncio.sleep(CLAIM + 0.5)
    if sim.random.random() < 0.5:
        b.spawn(b.write("k"))
    b.spawn(b.reads("k", 2, longest=0))
    sim.sometime(a.process.resume, within=60)
    await asyncio.sleep(1)
    a.process.resume()
    await world.settle("k")


@scenario("P1", "V11 V14", seeds=25)
async def changes_that_are_cancelled(sim):
    """A request is cancelled inside a change: once it is begun it is carried through."""
    world = World(sim)
    a, b = await world.nodes_named("ab")
    tags = sim.random.choice(((), ("t",)))
    change = sim.random.choice(
        (
            lambda: a.invalidate("k", tag=tags[0] if tags else None),
            lambda: a.write("k", tags=tags),
            lambda: a.write("k", tags=tags, commit=False),
        )
    )
    await b.run(b.read("k", tags=tags))
    for node in (a, b):
        node.spawn(node.reads("k", 2, tags=tags))
    committed = world.database.commit

    async def commit(key):
        version = await committed(key)
        task = asyncio.current_task()
        sim.sometime(task.cancel, within=40)  # from here on the database has changed
        return version

    world.database.commit = commit
    a.spawn(change())
    await world.settle("k", tags=tags, patience=CLAIM + MARGIN)


@scenario("P1", "V2")
async def a_set_inside_anothers_fence(sim):
    """A writer wrote first; another one sets a later value meanwhile: the first must not bring its own back."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    written = asyncio.Event()

    async def write():
        async with a.cache.writing("k") as writer:
            writer.commit("k", await world.database.commit("k"), policy=a.policy)
            written.set()
            await world.pause(0.01)

    async def change():
        await written.wait()
        await sim.random.choice((b.set, b.invalidate))("k")
        await b.read("k")

    a.spawn(write())
    b.spawn(change())
    b.spawn(b.reads("k", 2))
    await world.settle("k")


@scenario("P1", "V2 V3")
async def an_invalidation_inside_anothers_fence(sim):
    """The tag of a fenced key is invalidated for a later version: the commit must not survive it."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    written = asyncio.Event()
    way = sim.random.choice(("tag", "other tag", "clear", "writing"))

    async def write():
        async with a.cache.writing("k", tags=["t", "u"]) as writer:
            writer.commit("k", await world.database.commit("k"), policy=a.policy)
            written.set()
            await world.pause(0.01)

    async def change():
        await written.wait()
        if way == "clear":
            await b.clear("k")
        elif way == "writing":
            await b.write("k", tags=["t", "u"], commit=sim.random.random() < 0.5)
        else:
            await b.invalidate("k", tag="t" if way == "tag" else "u")
        await b.read("k", tags=("t", "u"))

    a.spawn(write())
    b.spawn(change())
    b.spawn(b.reads("k", 2, tags=("t", "u")))
    await world.settle("k", tags=("t", "u"))


@scenario("P1", "V6")
async def a_load_inside_the_fence(sim):
    """A load that began inside a block reads the old row slowly; who comes after the block must not join it."""
    world = World(sim)
    world.database.pace = (0, 0.01, 5.0)
    a, b = await world.nodes_named("ab", near=sim.random.random() < 0.5)
    for node in (a, b):
        node.spawn(node.reads("k", 3, longest=0.01))
    a.spawn(a.write("k", commit=sim.random.random() < 0.5, length=0.05))
    for later in (0.2, 2.2, 1.0):
        await asyncio.sleep(later)
        for node in (a, b):
            node.spawn(node.read("k"))
    await world.settle("k")


@scenario("P1", "V4", seeds=10)
async def a_long_block_whose_process_dies(sim):
    """The fence is renewed while the block runs: what is loaded in it is not stored, and it may crash at its end."""
    world = World(sim)
    a, b = await world.nodes_named("ab", near=False)
    tags = sim.random.choice(((), ("t",)))

    async def write():
        async with a.cache.writing("k", tags=tags):
            await asyncio.sleep(CLAIM + 2)
            await world.database.commit("k")
            a.process.kill()
            await asyncio.sleep(0)

    a.spawn(write())
    b.spawn(b.reads("k", 10, longest=3, tags=tags))
    await world.settle("k", tags=tags, patience=CLAIM + 1)
