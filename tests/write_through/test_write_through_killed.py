"""Processes that are killed while they write through, over a real server and real databases.

The instant that matters is the one after the source has committed and before the fence falls: from
then on the dead process can tell nobody, and what was cached must not be served for long."""

import asyncio

import pytest
from fleet_process import process

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

IDS = [1, 2, 3]
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


async def cached_again(reader, id):
    """Read until the row is served without a query; return what was read on the way, in order."""
    seen = []
    async with asyncio.timeout(60):
        while True:
            answer = await reader.ask("get", id=id)
            seen.append(answer["name"])
            if not answer["loaded"]:
                return seen
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("order", "near"), [("die_putting", True), ("die_removing", False)])
async def test_a_writer_killed_after_its_save_and_before_its_release_leaves_nothing_stale(
    database, options, order, near
):
    near = {"near": near, "max_staleness": 0.5}
    async with process(**options) as victim, process(**options, **near) as reader:
        await reader.ask("ready")
        for id in IDS:
            assert set(await cached_again(reader, id)) == {"old"}
        name = {"name": "new"} if order == "die_putting" else {}
        dying = asyncio.create_task(victim.ask(order, ids=IDS[:2], **name))
        assert await victim.told.get() == {"saved": 2}
        await victim.kill()
        held = await database.names()
        assert held == ({1: "new", 2: "new", 3: "old"} if name else {3: "old"})
        for id in IDS[:2]:
            # Served from the database at once, and stored again when the dead process's fence is over.
            assert set(await cached_again(reader, id)) == {held.get(id)}
        # A row beside them has their tag: its entry went with the fence, and is loaded and stored again.
        assert set(await cached_again(reader, 3)) == {"old"}
        with pytest.raises(RuntimeError, match="the process ended"):
            await dying


@on_postgresql
@pytest.mark.scale
async def test_writers_killed_at_any_instant_leave_nothing_stale(database, options):
    async with process(**options) as reader:
        for attempt in range(3):
            async with process(**options) as victim:
                dying = asyncio.create_task(victim.ask("put_for_ever", ids=IDS))
                reading = asyncio.create_task(reader.ask("get", id=1))
                for _ in range(3 + attempt):
                    await victim.told.get()
                await asyncio.sleep(0.001 * attempt)
                await victim.kill()
                await reading
                with pytest.raises(RuntimeError, match="the process ended"):
                    await dying
            # PostgreSQL may still be at what the dead process sent last: then it is not over.
            async with asyncio.timeout(30):
                while len(set((held := await database.names()).values())) > 1:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(options["claim"])
            for id in IDS:
                assert (await cached_again(reader, id))[-1] == held[id] == (await database.names())[id]


@on_postgresql
async def test_a_writer_takes_over_from_one_that_was_killed(database, options):
    async with process(**options) as victim, process(**options) as other:
        dying = asyncio.create_task(victim.ask("die_putting", ids=[1], name="new"))
        await victim.told.get()
        await victim.kill()
        await other.ask("put", id=1, name="newer")  # under the fence of the dead
        assert set(await cached_again(other, 1)) == {"newer"}
        with pytest.raises(RuntimeError, match="the process ended"):
            await dying
