"""One holder per key, first come first served, whoever gives up."""

import asyncio

import pytest

from acache._key_locks import KeyLocks


@pytest.mark.asyncio
async def test_keys_are_given_in_the_order_in_which_they_were_asked_for(turn):
    locks = KeyLocks()
    order = []

    async def work(name: int, *keys: str) -> None:
        async with locks.held(keys):
            order.append(name)
            await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(work(name, "b", "a")) for name in range(5)]
    await asyncio.gather(*tasks, work(9, "c"))
    assert [name for name in order if name != 9] == [0, 1, 2, 3, 4]
    assert locks._lines == {}


@pytest.mark.asyncio
async def test_whoever_gives_up_at_any_step_leaves_the_keys_to_the_others(turn):
    locks = KeyLocks()

    async def work() -> None:
        async with locks.held(("a", "b")):
            await asyncio.sleep(0)

    for steps in range(8):
        tasks = [asyncio.ensure_future(work()) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[steps % 3].cancel()
        await asyncio.wait(tasks)
        assert locks._lines == {}


@pytest.mark.asyncio
async def test_a_turn_that_comes_while_its_waiter_is_cancelled_is_passed_on(turn):
    locks = KeyLocks()
    await locks.acquire(["a"])
    second = asyncio.ensure_future(locks.acquire(["a"]))
    third = asyncio.ensure_future(locks.acquire(["a"]))
    await turn()
    locks.release(["a"])  # the second's turn has come,
    second.cancel()  # and it does not want it any more
    async with asyncio.timeout(30):
        await third
    locks.release(["a"])
    assert locks._lines == {}


def test_keys_that_a_loop_left_held_are_free_in_the_next():
    locks = KeyLocks()

    async def leave() -> None:
        await locks.acquire(["a"])

    asyncio.run(leave())
    asyncio.run(asyncio.wait_for(leave(), 30))
