"""P1 between real processes: readers and writers of one server, and a register that knows the truth."""

import asyncio
import os

import pytest
from fleet_process import everywhere, fleet, process

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

WAYS = ["key", "set", "writing", "commit"]
PROCESSES, KEYS = 4, 8
ROUNDS = int(os.environ.get("FLEET_ROUNDS", "50"))  # of each key; `nox -s fleet` asks for thousands in all


async def invalidated(workers, keys, rounds, ways):
    """Read in all processes while each changes its own keys; return what the readers found."""
    patience = 60 + rounds  # seconds, for a machine that has much else to do
    reading = [
        asyncio.create_task(worker.ask("readers", timeout=2 * patience, count=6, slow=0.003))
        for worker in workers
    ]
    mine = len(workers)
    await asyncio.gather(
        *(
            worker.ask(
                "change", timeout=patience, keys=list(range(number, keys, mine)), rounds=rounds, ways=ways
            )
            for number, worker in enumerate(workers)
        )
    )
    await asyncio.gather(*(worker.ask("stop") for worker in workers))
    found = await asyncio.gather(*reading)
    total = {name: sum(each[name] for each in found) for name in ("reads", "loads", "stale", "lagging")}
    total["lag"] = max(each["lag"] for each in found)
    print(total)
    return total


@everywhere
@pytest.mark.parametrize(
    ("near", "ways"),
    [
        pytest.param(False, WAYS, id="no near"),
        pytest.param(False, ["tag", "set"], id="versions of tags"),
        pytest.param(True, [*WAYS, "tag"], id="near"),
    ],
)
async def test_p1_no_read_is_stale_after_an_invalidation_in_another_process_returned(
    server, register, near, ways
):
    versions = register(KEYS)
    space = f"{near}.{len(ways)}"
    options = {"register": versions.path, "keys": KEYS, "near": near, "namespace": space}
    async with fleet(PROCESSES, server.url, max_staleness=1.0, **options) as workers:
        await asyncio.gather(*(worker.ask("ready") for worker in workers))
        found = await invalidated(workers, KEYS, ROUNDS, ways)
        assert sum(map(versions.version, range(KEYS))) == KEYS * ROUNDS
        assert found["stale"] == 0
        assert near or "tag" in ways or found["lagging"] == 0, "nothing that may lag was read"
        assert found["loads"] > KEYS * ROUNDS / 4, "loads were running meanwhile"
        assert found["reads"] > 2 * found["loads"], "and most reads were hits or waited with others"


async def test_p1_a_namespace_that_is_cleared_leaves_nothing_behind(server, register):
    versions = register(4)
    async with fleet(2, server.url, register=versions.path, keys=4, namespace="cleared") as workers:
        found = await invalidated(workers, 4, 60, ["clear", "commit"])
        assert found["stale"] == found["lagging"] == 0


async def test_p1_near_copies_of_a_process_that_was_paused_are_not_trusted_when_it_wakes(server, register):
    versions = register(1)
    options = {"register": versions.path, "near": True, "max_staleness": 0.5, "namespace": "paused"}
    async with process(server.url, **options) as sleeper, process(server.url, **options) as writer:
        await sleeper.ask("ready")
        await sleeper.ask("read", key=0)
        assert await sleeper.ask("read", key=0) == {"value": 0, "loaded": 0}
        reading = asyncio.create_task(sleeper.ask("readers", count=6, slow=0.003))
        for _ in range(3):
            sleeper.pause()
            await writer.ask("change", keys=[0], rounds=20, ways=["key"])
            await asyncio.sleep(0.8)
            sleeper.resume()
            await asyncio.sleep(0.1)
        await sleeper.ask("stop")
        found = await reading
        print(found)
        assert found["stale"] == 0


@everywhere
async def test_a_writer_that_is_killed_inside_its_block_leaves_nothing_stale(server, register):
    versions = register(1)
    options = {"register": versions.path, "claim": 1.0, "namespace": "killed"}
    async with process(server.url, **options) as victim, process(server.url, **options) as reader:
        assert await reader.ask("read", key=0) == {"value": 0, "loaded": 1}
        assert await reader.ask("read", key=0) == {"value": 0, "loaded": 0}
        dying = asyncio.create_task(victim.ask("die_writing", key=0))
        new = (await victim.told.get())["version"]
        await victim.kill()
        while (answer := await reader.ask("read", key=0))["loaded"]:
            assert answer["value"] == new, "served, but not stored while the fence stands"
        assert answer == {"value": new, "loaded": 0}
        with pytest.raises(RuntimeError, match="the process ended"):
            await dying
