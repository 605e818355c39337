"""SimLoop: virtual time, ordinary tasks, shuffled steps, callbacks in order, no outside world."""

import asyncio
import contextvars
import math
import sys
import threading

import anyio
import pytest

from acache.testing import Deadlock, Livelock, SimLoop
from acache.testing._lane import CURRENT_LANE
from acache.testing._outside import OutsideWorld
from acache.testing._schedule import Plan, run_schedule
from acache.testing.clock import MONOTONIC_START

SCHEDULERS = ["random", "pct", "fifo"]


def run(main, seed=0, **options):
    """Run a coroutine function on a SimLoop of its own, as an application would."""
    with asyncio.Runner(loop_factory=lambda: SimLoop(seed, **options)) as runner:
        return runner.run(main())


def orders(main, seeds=range(40), **options):
    """Return the distinct results over many seeds."""
    return {tuple(run(main, seed, **options)) for seed in seeds}


# --- the interpreter ------------------------------------------------------------------------------------


def test_the_interpreter_queues_task_steps_in_the_form_that_the_loop_recognises():
    # The canary: everything rests on this, on Handle.cancelled/_run and on BaseEventLoop calling _run_once.
    async def main():
        gate = asyncio.get_running_loop().create_future()

        async def waiter():
            await gate

        task = asyncio.create_task(waiter())
        asyncio.get_running_loop().call_soon(task.get_name)  # a method of a task, but no step
        await asyncio.sleep(0)
        gate.set_result(None)
        await task
        return asyncio.get_running_loop()

    loop = run(main)
    assert [text.partition("-")[0] for _, text in loop.trace[:3]] == ["main/main", "main/waiter", "main/main"]
    assert loop.task_steps == len([text for _, text in loop.trace if "main/" in text])
    assert loop.turns > loop.task_steps


def test_private_names_that_the_loop_relies_on_exist():
    loop = SimLoop()
    assert loop._stopping is False
    assert loop._thread_id is None
    assert asyncio.Handle(print, (), loop)._callback is print
    assert callable(asyncio.Handle._run)
    assert callable(asyncio.BaseEventLoop._run_once)

    async def nothing():
        pass

    loop.run_until_complete(nothing())
    loop.close()


# --- time -----------------------------------------------------------------------------------------------


def test_time_jumps_to_the_next_timer_and_costs_nothing():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(86_400.0)
        return before, loop.time()

    assert run(main) == (MONOTONIC_START, MONOTONIC_START + 86_400.0)


def test_time_stands_still_while_anything_can_run():
    async def main():
        loop = asyncio.get_running_loop()
        ticks = []
        loop.call_later(0.001, ticks.append, "late")
        for _ in range(50):
            await asyncio.sleep(0)
        return ticks, loop.time()

    assert run(main) == ([], MONOTONIC_START)


def test_timers_go_off_in_order_and_equal_ones_as_they_were_set():
    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        for name, delay in [("c", 2), ("a", 1), ("b", 1), ("now", 0)]:
            loop.call_later(delay, fired.append, name)
        loop.call_later(1, fired.append, "cancelled").cancel()
        await asyncio.sleep(3)
        return fired

    assert orders(main) == {("now", "a", "b", "c")}


def test_timers_within_the_clock_resolution_go_off_together():
    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        for delay in (1.0, 1.0 + 5e-7, 1.0 + 2e-6):
            loop.call_later(delay, lambda: fired.append(loop.time()))
        await asyncio.sleep(2)
        return [when == fired[0] for when in fired]

    assert run(main) == [True, True, False]


@pytest.mark.parametrize("far", [1e6, 1e9, 1e12])
def test_timers_make_progress_at_large_virtual_times(far):
    async def main():
        await asyncio.sleep(far)
        for _ in range(20):
            await asyncio.sleep(1e-7)
        async with asyncio.timeout(5):
            await asyncio.sleep(1e-3)
        return True

    assert run(main)


def test_sleeping_for_ever_waits_for_a_cancellation():
    async def main():
        with anyio.move_on_after(5):
            await anyio.sleep_forever()
        return asyncio.get_running_loop().time()

    assert run(main) == MONOTONIC_START + 5
    with pytest.raises(Deadlock):
        run(lambda: asyncio.sleep(math.inf))


# --- order ----------------------------------------------------------------------------------------------


async def three_tasks():
    seen = []

    async def one(name):
        seen.append(name)

    await asyncio.gather(*(one(name) for name in "abc"))
    return seen


def test_random_reaches_every_order_of_three_tasks():
    assert len(orders(three_tasks)) == 6


def test_pct_reaches_every_order_of_three_tasks():
    assert len(orders(three_tasks, range(80), scheduler="pct")) == 6


def test_fifo_is_the_order_of_an_ordinary_loop():
    assert orders(three_tasks, scheduler="fifo") == {("a", "b", "c")}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_plain_callbacks_are_never_shuffled(scheduler):
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        for number in range(5):
            loop.call_soon(seen.append, number)
            asyncio.create_task(asyncio.sleep(0)).add_done_callback(lambda _: None)
        await asyncio.sleep(1)
        return seen

    assert orders(main, scheduler=scheduler) == {(0, 1, 2, 3, 4)}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_step_never_overtakes_a_callback_that_was_queued_before_it(scheduler):
    async def main():
        seen = []

        async def later():
            seen.append("step")

        asyncio.get_running_loop().call_soon(seen.append, "callback")
        await asyncio.create_task(later())
        return seen

    assert orders(main, scheduler=scheduler) == {("callback", "step")}


def test_a_callback_may_come_before_or_after_a_step_that_was_queued_before_it():
    # Both happen in a real loop. "Unregister in a done callback" hides without the second.
    async def main():
        seen = []

        async def earlier():
            seen.append("step")

        task = asyncio.create_task(earlier())
        asyncio.get_running_loop().call_soon(seen.append, "callback")
        await task
        await asyncio.sleep(1)
        return seen

    both = {("callback", "step"), ("step", "callback")}
    assert orders(main) == both
    assert orders(main, scheduler="pct") == both


def test_the_order_in_which_a_set_of_tasks_is_cancelled_changes_nothing():
    # asyncio.TaskGroup cancels a set, whose order is that of addresses.
    async def main(reverse):
        seen = []

        async def child(name):
            try:
                await asyncio.sleep(10)
            finally:
                seen.append(name)

        tasks = [asyncio.create_task(child(name)) for name in "abcdef"]
        await asyncio.sleep(1)
        for task in reversed(tasks) if reverse else tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return seen

    for seed in range(20):
        assert run(lambda: main(reverse=False), seed) == run(lambda: main(reverse=True), seed)


# --- what works, what is refused ------------------------------------------------------------------------


async def primitives():
    """Use a good part of asyncio and anyio; return what happened."""
    out = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.sleep(2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 1)
    out.append(await asyncio.wait_for(asyncio.sleep(0.5, "in time"), 1))
    queue, lock, slots = asyncio.Queue(2), asyncio.Lock(), asyncio.Semaphore(2)

    async def produce():
        for number in range(5):
            async with lock, slots:
                await queue.put(number)

    async def consume():
        return [await queue.get() for _ in range(5)]

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        consumer = group.create_task(consume())
    out.append(consumer.result())
    out.append(await asyncio.shield(asyncio.sleep(1, "shielded")))
    with anyio.move_on_after(1) as scope:
        await anyio.sleep(2)
    out.append(scope.cancelled_caught)
    send, receive = anyio.create_memory_object_stream(1)
    async with send, receive, anyio.create_task_group() as group:
        group.start_soon(send.send, "hello")
        out.append(await receive.receive())
        group.start_soon(anyio.sleep_forever)
        group.cancel_scope.cancel()
    with anyio.CancelScope(shield=True):
        await anyio.lowlevel.checkpoint()
    return out


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_asyncio_and_anyio_work_on_it(scheduler):
    for seed in range(20):
        assert run(primitives, seed, scheduler=scheduler) == [
            "in time",
            [0, 1, 2, 3, 4],
            "shielded",
            True,
            "hello",
        ]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_tasks_that_start_eagerly_work_on_it(scheduler):
    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.get_running_loop().create_task(asyncio.sleep(0), context=contextvars.Context())
        return await primitives()

    assert run(main, scheduler=scheduler)[1] == [0, 1, 2, 3, 4]


def test_a_callback_that_queues_itself_for_ever_lets_timers_go_off():
    async def main():
        loop = asyncio.get_running_loop()
        spinning, spins, between = True, 0, []

        def spin():
            nonlocal spins
            spins += 1
            if spinning:
                loop.call_soon(spin)

        spin()
        loop.call_later(1, lambda: between.append(spins))
        loop.call_later(2, lambda: between.append(spins))
        await asyncio.sleep(5)
        spinning = False
        return loop.time(), between[1] - between[0] > 50

    for scheduler in SCHEDULERS:
        assert run(main, scheduler=scheduler) == (MONOTONIC_START + 5, True)


def test_under_pct_a_polling_task_does_not_starve_the_one_it_waits_for():
    async def main():
        done = []

        async def work():
            for _ in range(3):
                await asyncio.sleep(0)
            done.append(True)

        task = asyncio.create_task(work())
        while not done:
            await asyncio.sleep(0)
        await task
        return done

    for seed in range(30):
        assert run(main, seed, scheduler="pct", max_steps=2_000)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: asyncio.to_thread(print),
        lambda: asyncio.get_running_loop().run_in_executor(None, print),
        lambda: asyncio.open_connection("127.0.0.1", 1),
        lambda: asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.get_running_loop().sock_recv(None, 1),
    ],
)
def test_the_outside_world_is_refused(reach):
    async def main():
        await reach()

    with pytest.raises(OutsideWorld, match="a SimLoop has none: hand the code a fake"):
        run(main)


def test_a_call_from_another_thread_stops_the_loop():
    async def main():
        loop = asyncio.get_running_loop()

        def call():
            with pytest.raises(OutsideWorld):
                loop.call_soon_threadsafe(print)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        await asyncio.sleep(0)

    loop = SimLoop()
    task = loop.create_task(main())
    with pytest.raises(OutsideWorld, match="another thread"):
        loop.run_until_complete(task)
    loop._interruption = None
    loop.run_until_complete(task)
    loop.close()


# --- stuck ----------------------------------------------------------------------------------------------


def test_a_deadlock_says_who_waits_where():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"main/main-1 waits at test_simloop\.py:\d+ in main"):
        run(main)


def test_a_livelock_says_who_was_busy():
    ended = []

    async def main():
        try:
            while True:
                await asyncio.sleep(0)
        finally:
            ended.append("by the runner")

    with pytest.raises(Livelock, match=r"not done after 500 turns .*main/main-1"):
        run(main, max_steps=500)
    assert ended == ["by the runner"]


# --- whose turn it is -----------------------------------------------------------------------------------


def test_a_task_with_an_empty_context_belongs_to_the_process_that_made_it():
    lanes = []

    async def scenario(sim):
        answer = sim.loop.create_future()

        async def inner():
            lanes.append(sim.current.name)
            answer.add_done_callback(lambda _: lanes.append(sim.current.name))
            await answer
            lanes.append(sim.current.name)

        async def outer():
            await asyncio.create_task(inner(), context=contextvars.Context())

        running = sim.spawn(sim.process("a").run(outer()))
        await asyncio.sleep(1)
        answer.set_result(None)
        await running

    plan = Plan(scheduler="random", depth=3, steps=0, max_steps=1_000, timeout=10, detail=False)
    assert run_schedule(scenario, 0, plan).kind is None
    assert lanes == ["a", "a", "a"]


def test_between_turns_the_first_process_is_the_current_one():
    loop = SimLoop()
    other = contextvars.copy_context()
    other.run(CURRENT_LANE.set, loop.add_lane("a"))
    seen = []

    def stop():
        seen.append(loop.current_lane.name)
        loop.stop()

    loop.call_soon(stop, context=other)
    loop.run_forever()
    assert (seen, loop.current_lane.name) == (["a"], "main")
    loop.close()
