"""explore: finds planted races by seed, replays them, and reports what a scenario leaves behind."""

import asyncio
import contextlib
import gc
import re
import subprocess
import sys
import threading
import time

import anyio
import pytest

from acache.testing import ProcessKilled, ViolationFound, ViolationMissed, explore
from acache.testing.clock import MONOTONIC_START, WALL_START

BOTH = pytest.mark.parametrize("scheduler", ["random", "pct"])


def kind_of(scenario, **options):
    """Return the kind of the first failure."""
    return explore(scenario, expect_violation=True, **options).first.kind


# --- scenarios with a planted bug -----------------------------------------------------------------------


async def racy_counter(sim):
    count = 0

    async def increment():
        nonlocal count
        seen = count
        await sim.switch()
        count = seen + 1

    sim.spawn(increment())
    sim.spawn(increment())
    await sim.join()
    sim.check(count == 2, f"lost update: {count}")


async def lock_order(sim):
    one, two = asyncio.Lock(), asyncio.Lock()

    async def take(first, second):
        async with first:
            await sim.switch()
            async with second:
                pass

    sim.spawn(take(one, two))
    await sim.switch()
    await sim.switch()
    sim.spawn(take(two, one))
    await sim.join()


async def leaked_task(sim):
    sim.leak = asyncio.create_task(asyncio.sleep(3600))


async def leaked_when_slow(sim):
    task = asyncio.create_task(asyncio.sleep(0))
    for _ in range(3):
        await sim.switch()
    del task


async def unretrieved_error(sim):
    async def fail():
        raise LookupError("nobody looks at this")

    task = asyncio.create_task(fail())
    await asyncio.sleep(1)
    del task


async def failing_callback(sim):
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(1)


async def swallowed_check(sim):
    with contextlib.suppress(AssertionError):
        sim.check(condition=False, message="stale")


async def needs_order(sim):
    # Fails only if the reader runs as a whole between the writer's two steps: one change point, depth 2.
    state = {"value": 1, "valid": True}

    async def write():
        for _ in range(5):
            await sim.switch()
        state["valid"] = False
        await sim.switch()
        state["value"], state["valid"] = 2, True

    async def read():
        for _ in range(5):
            await sim.switch()
        sim.check(state["valid"], "read between the two halves of a write")

    sim.spawn(write())
    sim.spawn(read())
    await sim.join()


# --- positive controls ----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("scenario", "kind", "limit"),
    [
        (racy_counter, "check", 20),
        (lock_order, "deadlock", 60),
        (leaked_task, "leak", 1),
        (leaked_when_slow, "leak", 60),
        (unretrieved_error, "unhandled", 1),
        (failing_callback, "unhandled", 1),
        (swallowed_check, "check", 1),
        (needs_order, "check", 100),
    ],
)
def test_a_planted_bug_is_caught_within_its_number_of_seeds(scenario, kind, limit, scheduler):
    assert kind_of(scenario, seeds=range(limit), scheduler=scheduler) == kind


def test_pct_finds_a_bug_of_depth_two_about_as_often_as_the_paper_promises():
    seeds = range(300)
    found = explore(
        needs_order, seeds=seeds, scheduler="pct", depth=2, keep_going=True, expect_violation=True
    )
    # At least 1/(n k): 4 strands (scenario, writer, reader, callbacks), fewer than 30 turns.
    assert len(found.failures) >= 300 / (4 * 30)
    with pytest.raises(ViolationMissed):
        explore(needs_order, seeds=seeds, scheduler="pct", depth=1, expect_violation=True)


def test_an_ordinary_loop_would_not_find_the_lock_order():
    assert explore(lock_order, seeds=range(3), scheduler="fifo").schedules == 3


@BOTH
def test_the_repaired_counter_passes_all_seeds(scheduler):
    async def locked_counter(sim):
        count, lock = 0, asyncio.Lock()

        async def increment():
            nonlocal count
            async with lock:
                seen = count
                await sim.switch()
                count = seen + 1

        sim.spawn(increment())
        sim.spawn(increment())
        await sim.join()
        sim.check(count == 2, "lost update")

    found = explore(locked_counter, seeds=range(150), scheduler=scheduler)
    assert (found.schedules, found.failures, found.first, found.first_failing_seed) == (150, (), None, None)


def test_an_error_is_also_found_when_its_task_is_caught_in_a_cycle():
    async def scenario(sim):
        async def fail(box):
            box.append(asyncio.current_task())
            box.append(box)
            raise LookupError("in a cycle")

        await asyncio.wait([asyncio.create_task(fail([]))])

    assert kind_of(scenario, seeds=[0]) == "unhandled"


def test_an_async_generator_left_half_way_is_no_leak():
    async def scenario(sim):
        async def numbers():
            try:
                while True:
                    yield 1
            finally:
                await sim.switch()

        async for _ in numbers():
            await sim.switch()
            break

    passes(scenario)


def test_an_error_of_a_spawned_task_that_nobody_joins_is_found():
    async def scenario(sim):
        async def fail():
            raise LookupError("unjoined")

        sim.process("a").spawn(fail())
        await asyncio.sleep(1)

    found = explore(scenario, seeds=[0], expect_violation=True)
    assert found.first.kind == "unhandled"
    assert "LookupError: unjoined" in found.first.message


def test_a_scenario_that_raises_or_is_cancelled_fails():
    async def broken(sim):
        raise LookupError("no such thing")

    async def cancelled(sim):
        asyncio.current_task().cancel()
        await sim.switch()

    async def pytest_style(sim):
        with pytest.raises(LookupError):
            pass

    assert explore(broken, expect_violation=True).first.message == "LookupError: no such thing"
    assert kind_of(cancelled) == "error"
    assert kind_of(pytest_style) == "error"


def test_a_livelock_is_found_by_its_bound():
    async def scenario(sim):
        while True:
            await sim.switch()

    assert kind_of(scenario, max_steps=300) == "livelock"


def test_code_that_never_awaits_is_stopped_by_real_time():
    async def scenario(sim):
        while True:
            pass

    found = explore(scenario, timeout=0.05, expect_violation=True)
    assert found.first.kind == "timeout"
    assert "test_explore.py" in found.first.message


def test_outside_the_main_thread_slow_schedules_are_stopped_between_turns():
    async def scenario(sim):
        while True:
            await sim.switch()

    kinds = []
    options = {"timeout": 0.05, "max_steps": 10**9}
    thread = threading.Thread(target=lambda: kinds.append(kind_of(scenario, **options)))
    thread.start()
    thread.join(10)
    assert kinds == ["timeout"]


# --- determinism ----------------------------------------------------------------------------------------


async def busy(sim):
    """Use time, data, locks, cancellation and a set of tasks."""
    lock = asyncio.Lock()

    async def worker(number):
        async with lock:
            await asyncio.sleep(sim.random.random())
        sim.note(f"worker {number} is done")

    with anyio.move_on_after(1.5):
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(worker(number))
    sim.check(condition=False, message="show the trace")


@BOTH
def test_no_seed_keeps_a_busy_scenario_from_its_end(scheduler):
    # PCT once let anyio's repeated cancellation starve the tasks that it wanted to end.
    found = explore(busy, seeds=range(100), scheduler=scheduler, keep_going=True, expect_violation=True)
    assert {failure.message for failure in found.failures} == {"show the trace"}
    assert found.turns < 100 * 400


def trace(seed, scheduler="random", scenario=busy, **options):
    found = explore(scenario, seeds=[seed], scheduler=scheduler, expect_violation=True, **options)
    return tuple(found.first.trace)


@BOTH
def test_the_same_seed_gives_the_same_trace(scheduler):
    for seed in range(20):
        first = trace(seed, scheduler)
        garbage = [[] for _ in range(1_000)]  # other addresses, other moments for the collector
        garbage.append(garbage)
        assert trace(seed, scheduler) == first


@BOTH
def test_other_seeds_give_other_traces(scheduler):
    assert len({trace(seed, scheduler) for seed in range(20)}) > 10


def test_the_same_seed_gives_the_same_trace_in_another_interpreter():
    code = (
        "import sys; sys.path.insert(0, 'tests/testing'); import test_explore as t\n"
        "print([t.trace(seed) for seed in range(3)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout == f"{[trace(seed) for seed in range(3)]}\n"


def test_drawing_data_moves_no_task():
    def scenario(draws):
        async def drawing(sim):
            for _ in range(draws):
                sim.random.random()
            for number in range(4):
                sim.spawn(asyncio.sleep(number))
            await sim.join()
            sim.check(condition=False, message="show the trace")

        return drawing

    assert trace(3, scenario=scenario(0)) == trace(3, scenario=scenario(9))


def test_the_collector_is_left_as_it_was():
    during = []

    async def scenario(sim):
        during.append(gc.isenabled())
        raise LookupError

    explore(scenario, expect_violation=True)
    assert (during, gc.isenabled()) == ([False], True)


# --- what a failure says --------------------------------------------------------------------------------


def test_a_failure_names_all_that_a_replay_needs():
    with pytest.raises(ViolationFound) as caught:
        explore(racy_counter, seeds=range(20))
    text = str(caught.value)
    seed = caught.value.failure.seed
    assert f"seed {seed}, scheduler random" in text
    assert re.search(r"CPython 3\.\d+\.\d+, acache-core \S+, anyio 4", text)
    assert f'explore(racy_counter, seeds=[{seed}], scheduler="random", detail=True)' in text
    assert f'ACACHE_SEED={seed} {sys.executable} -m pytest "' in text
    assert caught.value.exploration.schedules == seed + 1
    assert isinstance(caught.value.__cause__, AssertionError)


@BOTH
def test_the_replay_line_replays(scheduler):
    first = explore(needs_order, scheduler=scheduler, expect_violation=True).first
    again = eval(first.replay.replace("detail=True", "expect_violation=True")).first
    assert (again.message, again.trace) == (first.message, first.trace)


def test_detail_adds_the_line_where_each_task_stood():
    detailed = trace(0, detail=True)
    assert any(re.search(r"main/worker-\d at test_explore.py:\d+ in worker", text) for _, text in detailed)
    assert [text.partition(" at ")[0] for _, text in detailed] == [text for _, text in trace(0)]


def test_the_seed_in_the_environment_replaces_all_others(monkeypatch):
    monkeypatch.setenv("ACACHE_SEED", "12345")
    seeds = []

    async def scenario(sim):
        seeds.append(sim.seed)

    assert explore(scenario).schedules == 1
    assert seeds == [12345]


def test_keep_going_counts_every_failing_seed():
    found = explore(racy_counter, seeds=range(60), keep_going=True, expect_violation=True)
    assert found.schedules == 60
    assert 10 < len(found.failures) < 50
    assert [failure.error is None for failure in found.failures[:3]] == [False, True, True]
    assert found.first_failing_seed == min(failure.seed for failure in found.failures)


def test_a_planted_bug_that_goes_unnoticed_is_a_failure():
    async def fine(sim):
        await sim.switch()

    with pytest.raises(ViolationMissed, match="went well under all 7 seeds"):
        explore(fine, seeds=range(7), expect_violation=True)


@pytest.mark.asyncio
async def test_inside_a_running_loop_it_says_what_to_do():
    with pytest.raises(RuntimeError, match="from a plain function"):
        explore(racy_counter)


# --- processes ------------------------------------------------------------------------------------------


def passes(scenario, **options):
    explore(scenario, seeds=range(30), **options)
    explore(scenario, seeds=range(30), scheduler="pct", **options)


def test_a_paused_process_runs_nothing_while_time_goes_on():
    async def scenario(sim):
        ticks = []

        async def tick():
            while True:
                await asyncio.sleep(1)
                ticks.append(process.clock.monotonic())

        process = sim.process("a")
        process.spawn(tick())
        await asyncio.sleep(3.5)
        process.pause()
        before = process.clock.monotonic()
        await asyncio.sleep(10)
        sim.check(len(ticks) == 3, f"{len(ticks)} ticks")
        sim.check(process.clock.monotonic() - before == 10, "time stood still")
        process.resume()
        await asyncio.sleep(0.25)
        sim.check(len(ticks) == 4, "the timer that fell due did not go off")
        sim.check(ticks[3] - ticks[2] == 10.5, "it went off at another time")
        process.kill()

    passes(scenario)


def test_what_was_queued_for_a_paused_process_runs_on_resume():
    async def scenario(sim):
        gate = asyncio.get_running_loop().create_future()
        process = sim.process("a")
        seen = []

        async def wait():
            gate.add_done_callback(lambda _: seen.append("callback"))
            seen.append(await gate)

        process.spawn(wait())
        await asyncio.sleep(1)
        process.pause()
        gate.set_result("answer")
        await asyncio.sleep(1)
        sim.check(not seen, "ran while paused")
        process.resume()
        await process.join()
        sim.check(sorted(seen) == ["answer", "callback"], str(seen))

    passes(scenario)


def test_a_killed_process_runs_no_finally_and_no_except_block():
    async def scenario(sim):
        log = []

        async def inner():
            try:
                await asyncio.sleep(1)
            except BaseException:
                log.append("except")
                raise
            finally:
                log.append("finally")
                await asyncio.sleep(0)

        async def wait_for_nobody():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                log.append("collected")

        async def outer():
            asyncio.create_task(wait_for_nobody())
            async with asyncio.TaskGroup() as group:
                group.create_task(inner())
                with anyio.CancelScope():
                    await inner()

        process = sim.process("a")
        process.spawn(outer())
        sim.sometime(process.kill, within=8)
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(5)
        gc.collect(0)  # all of this schedule's garbage is young
        sim.check(not log, str(log))

    passes(scenario)


def test_killing_from_within_ends_the_task_at_its_next_await():
    async def scenario(sim):
        log = []

        async def die():
            process.kill()
            orphan = asyncio.create_task(asyncio.sleep(0))
            log.append("before")
            await orphan
            log.append("after")

        process = sim.process("a")
        with pytest.raises(ProcessKilled):
            await process.run(die())
        sim.check(log == ["before"], str(log))

    passes(scenario)


def test_a_dead_process_takes_no_work_and_its_name_can_start_anew():
    async def scenario(sim):
        process = sim.process("a")
        with pytest.raises(ValueError, match="already"):
            sim.process("a")
        process.kill()
        process.kill()
        process.resume()
        process.pause()
        sim.check(process.killed, "came back")
        with pytest.raises(ProcessKilled):
            process.spawn(asyncio.sleep(1))
        sim.check(await sim.process("a").run(asyncio.sleep(1, "anew")) == "anew", "no restart")

    passes(scenario)


def test_waiting_for_a_process_ends_when_it_is_killed():
    async def scenario(sim):
        process = sim.process("a")
        process.spawn(asyncio.sleep(3600))
        waiting = sim.spawn(process.run(asyncio.sleep(3600)))
        joining = sim.spawn(process.join())
        await asyncio.sleep(1)
        process.kill()
        with pytest.raises(ProcessKilled, match="process a was killed"):
            await waiting
        await joining

    passes(scenario)


def test_tasks_of_tasks_belong_to_their_process():
    async def scenario(sim):
        names = set()

        async def leaf():
            await sim.switch()
            names.add(sim.current.name)

        async def branch():
            async with asyncio.TaskGroup() as group:
                group.create_task(leaf())
            asyncio.get_running_loop().call_later(1, lambda: names.add(sim.current.name))
            await asyncio.sleep(2)

        await sim.process("a").run(branch())
        sim.check(names == {"a"}, str(names))
        sim.check(sim.current.name == "main", "the scenario moved")

    passes(scenario)


def test_every_process_has_clocks_of_its_own():
    async def scenario(sim):
        fast = sim.process("fast", wall_skew=3.0)
        other = sim.process("other")
        await asyncio.sleep(10)
        sim.check(sim.clock.time() == WALL_START + 10, "wall")
        sim.check(sim.clock.monotonic() == MONOTONIC_START + 10 == sim.loop.time(), "monotonic")
        sim.check(fast.clock.time() == sim.clock.time() + 3, "skew")
        sim.check(len({clock.monotonic() for clock in (sim.clock, fast.clock, other.clock)}) == 3, "apart")
        fast.clock.skew(-5)
        sim.check(fast.clock.time() == sim.clock.time() - 2, "corrected")

    passes(scenario)


def test_the_scenario_itself_can_be_neither_paused_nor_killed():
    async def scenario(sim):
        for act in (sim.current.pause, sim.current.kill):
            with pytest.raises(ValueError, match="the scenario itself"):
                act()

    passes(scenario)


def test_join_raises_the_error_of_a_task_and_leaves_cancelled_ones():
    async def scenario(sim):
        async def fail():
            raise LookupError("joined")

        sim.spawn(asyncio.sleep(10)).cancel()
        sim.process("a").spawn(fail())
        with pytest.raises(LookupError):
            await sim.join()

    passes(scenario)


def test_a_deadlock_names_the_process_that_is_paused():
    async def scenario(sim):
        process = sim.process("a")
        process.pause()
        await process.run(asyncio.sleep(1))

    message = explore(scenario, expect_violation=True).first.message
    assert "process a is paused" in message
    assert "a/sleep-2" in message


def test_a_paused_process_that_is_left_behind_is_a_leak():
    async def scenario(sim):
        process = sim.process("a")
        process.spawn(asyncio.sleep(1))
        process.pause()

    assert kind_of(scenario) == "leak"


# --- faults ---------------------------------------------------------------------------------------------


def test_sometime_cancels_a_task_at_every_step_it_has():
    reached = set()

    async def scenario(sim):
        async def work():
            for step in range(4):
                try:
                    await sim.switch()
                except asyncio.CancelledError:
                    reached.add(step)
                    raise

        sim.sometime(sim.spawn(work()).cancel, within=12)
        await sim.join()

    explore(scenario, seeds=range(150))
    assert reached == {0, 1, 2, 3}


def test_an_action_that_is_still_planned_comes_before_a_deadlock():
    async def scenario(sim):
        process = sim.process("a")
        process.pause()
        sim.sometime(process.resume, within=1_000)
        await process.run(asyncio.sleep(1))

    passes(scenario)


def test_an_action_that_fails_is_reported():
    async def scenario(sim):
        sim.sometime(lambda: 1 / 0, within=1)
        await sim.switch()

    assert kind_of(scenario) == "unhandled"


# --- speed ----------------------------------------------------------------------------------------------


def test_hundreds_of_small_schedules_run_in_a_second():
    async def small(sim):
        queue = asyncio.Queue(1)

        async def produce():
            for number in range(5):
                await asyncio.sleep(sim.random.random())
                await queue.put(number)

        async def consume():
            for _ in range(10):
                await queue.get()

        sim.spawn(produce())
        sim.spawn(produce())
        sim.spawn(consume())
        await sim.join()

    started = time.process_time()
    explore(small, seeds=range(100))
    # Aims at 300 a second and reaches over a thousand; the bound leaves room for a busy machine under -X dev.
    assert time.process_time() - started < 1.0


def test_a_thousand_schedules_leave_nothing_behind():
    async def stubborn():
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(1)
            await asyncio.create_task(asyncio.sleep(1))

    async def scenario(sim):
        process = sim.process("a")
        process.spawn(stubborn())
        await asyncio.sleep(1)
        process.kill()

    explore(scenario, seeds=range(20))
    gc.collect()
    before = len(gc.get_objects())
    explore(scenario, seeds=range(200))
    gc.collect()
    assert len(gc.get_objects()) - before < 200
