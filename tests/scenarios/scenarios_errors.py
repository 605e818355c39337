"""P4: everybody who waits for a load that fails sees its error, and nobody who comes later does."""

import asyncio

from scenario_registry import scenario
from scenario_world import Oops, Policy, World

FAILING = Policy(ttl=600, stale_while_revalidate=600, max_load_time=None)


async def outcome_of(node, key, load, **options):
    """Return the value that a read brings, or the error that it raises."""
    try:
        return await node.cache.get_or_load(key, load, type=int, **options)
    except Oops as error:
        return error


def errors_in(outcomes):
    """Return the errors among *outcomes*."""
    return [outcome for outcome in outcomes if isinstance(outcome, Oops)]


@scenario("P4", "errors")
async def waiters_of_a_load_that_fails(sim):
    """Each load fails or not; who shared it shares that, cancelled or not; the next call loads again."""
    world = World(sim, remote=sim.random.random() < 0.6)
    node = await world.node("a")
    loads: list[object] = []  # what each brought, in the order in which they began

    async def load():
        number = len(loads)
        loads.append(None)
        await world.pause()
        loads[number] = error = Oops(number) if sim.random.random() < 0.6 else None
        if error is not None:
            raise error
        return number

    async def reads(times):
        for _ in range(times):
            begun = len(loads)
            running = [number for number, brought in enumerate(loads) if brought is None]
            outcome = await outcome_of(node, "k", load, policy=FAILING)
            if isinstance(outcome, Oops):
                [number] = outcome.args
                fresh = number >= begun or number in running
                sim.check(fresh, f"a call got the error of load {number}, which was over before it")
            await world.pause()

    readers = [node.spawn(reads(3)) for _ in range(4)]
    for reader in readers[:2]:
        sim.sometime(reader.cancel, within=40)
    await sim.join()
    node.spawn(reads(8))  # until one succeeds, and is kept
    await world.close()


@scenario("P4", "errors")
async def one_error_for_all(sim):
    """Callers who wait for one load that fails all get its error: there is no second load, and nothing is kept."""
    world = World(sim, remote=sim.random.random() < 0.6)
    node = await world.node("a")
    await asyncio.sleep(0.1)  # a feed that connects lets nobody join what runs
    gate, begun = asyncio.Event(), []

    async def load():
        begun.append(1)
        await gate.wait()
        await world.pause()
        raise Oops

    waiting = [node.spawn(outcome_of(node, "k", load, policy=FAILING)) for _ in range(4)]
    while not begun:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    for waiter in waiting[:2]:
        sim.sometime(waiter.cancel, within=20)
    gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    told = [outcome for outcome in outcomes if not isinstance(outcome, asyncio.CancelledError)]
    sim.check(len(errors_in(told)) == len(told) >= 2, "somebody who waited did not get the error")
    sim.check(len(begun) == 1, f"{len(begun)} loads for one group of callers")
    sim.check(await node.run(node.read("k", policy=FAILING)) == 0, "the error was kept")
    await world.close()


@scenario("P4", "errors")
async def refreshes_that_fail_quietly(sim):
    """While a value is fresh, or stale and allowed, its failing refreshes are events and nobody's error."""
    world = World(sim, remote=sim.random.random() < 0.6)
    node = await world.node("a")
    policy = Policy(ttl=5, stale_while_revalidate=600, beta=8.0, retry_after=0.01, max_load_time=None)

    async def first():
        await asyncio.sleep(0.5)
        return 1

    async def refuse():
        await world.pause()
        raise Oops

    async def reads():
        for _ in range(6):
            outcome = await outcome_of(node, "k", refuse, policy=policy, refresh="background")
            sim.check(outcome == 1, f"a read of what stands got {outcome!r}")
            await asyncio.sleep(sim.random.uniform(0, 2.5))

    await node.run(node.cache.get_or_load("k", first, policy=policy, type=int))
    readers = [node.spawn(reads()) for _ in range(3)]
    sim.sometime(readers[0].cancel, within=60)
    await sim.join()
    sim.check(node.events["RefreshFailed"] or node.events["LoadFailed"], "nobody was told")
    await world.close()
