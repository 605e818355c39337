"""P1, no stale set: under every interleaving that the seeds find."""

import asyncio

import pytest
from scenario_world import World

from acache.testing import Sim, explore

SEEDS = range(60)
NEARS = [pytest.param(True, id="near"), pytest.param(False, id="no near")]


async def reads(node, key, times, **options):
    for _ in range(times):
        await node.read(key, **options)
        await asyncio.sleep(node.world.sim.random.choice((0, 0, 0.01, 0.1)))


@pytest.mark.parametrize("scheduler", ["random", "pct"])
@pytest.mark.parametrize("near", NEARS)
@pytest.mark.parametrize("way", ["key", "tag", "clear", "writing", "writing without commit", "writing that fails"])
def test_readers_never_see_what_was_loaded_before_an_invalidation(way, near, scheduler):
    async def scenario(sim: Sim) -> None:
        world = World(sim)
        a = await world.node("a", near=near)
        b = await world.node("b", near=near)
        tags = ("t",) if way == "tag" else ()

        async def change(node):
            if way == "key":
                await node.invalidate("k")
            elif way == "tag":
                await node.invalidate("k", tag="t")
            elif way == "clear":
                await node.clear("k")
            else:
                await node.write("k", commit=way == "writing", fail=way == "writing that fails")

        for node in (a, b):
            world.spawn(node, reads(node, "k", 4, tags=tags))
            world.spawn(node, reads(node, "k", 3, tags=tags))
        world.spawn(a, change(a))
        world.spawn(b, change(b))
        await world.settle("k", tags=tags)

    explore(scenario, seeds=SEEDS, scheduler=scheduler)
