"""One running call per key, shared by its waiters: cancellation is private, errors are shared (P3, P4)."""

import asyncio
import contextvars
import errno
import traceback

import anyio
import pytest

from acache import Singleflight
from acache._singleflight import Flight, Flights, Node, copied, join_all
from acache.errors import LoadCancelled, LoadTimeout, NoRunningLoop, RecursiveLoad, WrongLoop

WHO = contextvars.ContextVar("who", default="nobody")


@pytest.fixture
def flights() -> Singleflight:
    return Singleflight()


def callers(flights, load, count, key="k"):
    return [asyncio.create_task(flights.run(key, load)) for _ in range(count)]


# --- sharing ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_callers_that_come_meanwhile_share_one_run(flights, load, turn):
    tasks = callers(flights, load, 5)
    await turn()
    load.gate.set()
    assert await asyncio.gather(*tasks) == [1] * 5
    assert load.runs == 1


@pytest.mark.asyncio
async def test_nothing_is_kept_for_the_next_caller(flights, load):
    load.gate.set()
    assert await flights.run("k", load) == 1
    load.value = 2
    assert await flights.run("k", load) == 2


@pytest.mark.asyncio
async def test_keys_do_not_wait_for_each_other(flights, load):
    waiting = asyncio.create_task(flights.run("slow", load))
    assert await flights.run("quick", lambda: asyncio.sleep(0, "done")) == "done"
    load.gate.set()
    await waiting


@pytest.mark.asyncio
async def test_forgetting_lets_the_next_caller_start_anew_while_the_old_ones_wait(flights, load, turn):
    old = asyncio.create_task(flights.run("k", load))
    await turn()
    flights.forget("k")
    load.value = 2
    new = asyncio.create_task(flights.run("k", load))
    await turn()
    load.gate.set()
    assert (await old, await new, load.runs) == (1, 2, 2)


@pytest.mark.asyncio
async def test_an_old_flight_that_ends_does_not_forget_its_successor(flights, turn):
    gates = [asyncio.Event(), asyncio.Event()]
    runs = []

    async def load():
        runs.append(len(runs))
        await gates[runs[-1]].wait()

    old = asyncio.create_task(flights.run("k", load))
    await turn()
    flights.forget("k")
    new = asyncio.create_task(flights.run("k", load))
    await turn()
    gates[0].set()
    await old
    joined = asyncio.create_task(flights.run("k", load))
    await turn()
    gates[1].set()
    await asyncio.gather(new, joined)
    assert runs == [0, 1]


def test_forgetting_before_first_use_is_nothing():
    Singleflight().forget("k")


# --- cancellation is private (P3) -------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("victim", [0, 1, 4])
async def test_cancelling_one_caller_harms_no_other(flights, load, turn, victim):
    tasks = callers(flights, load, 5)
    await turn()
    tasks[victim].cancel()
    await turn()
    load.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(victim), asyncio.CancelledError)
    assert results == [1] * 4
    assert load.runs == 1


@pytest.mark.asyncio
async def test_cancelling_the_first_caller_in_the_tick_in_which_it_called_harms_no_other(flights, load, turn):
    first = asyncio.create_task(flights.run("k", load))
    second = asyncio.create_task(flights.run("k", load))
    await asyncio.sleep(0)  # both wait, the load has not had its first step
    first.cancel()
    await turn()
    load.gate.set()
    assert await second == 1
    assert load.runs == 1


@pytest.mark.asyncio
async def test_a_caller_cancelled_before_its_first_step_never_called(flights, load, turn):
    task = asyncio.create_task(flights.run("k", load))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turn()
    assert load.running == 0


@pytest.mark.asyncio
async def test_when_every_caller_was_cancelled_so_is_the_load(flights, load, turn):
    tasks = callers(flights, load, 3)
    await turn()
    for task in tasks:
        task.cancel()
    await turn()
    assert (load.runs, load.running) == (1, 0)


@pytest.mark.asyncio
async def test_after_all_were_cancelled_the_next_caller_starts_anew(flights, load, turn):
    lost = asyncio.create_task(flights.run("k", load))
    await turn()
    lost.cancel()
    await asyncio.sleep(0)
    load.gate.set()
    assert await flights.run("k", load) == 1
    assert load.runs == 2


@pytest.mark.asyncio
async def test_a_load_whose_callers_left_before_its_first_step_holds_nobody_up(flights, load, turn):
    lost = asyncio.create_task(flights.run("k", load))
    await asyncio.sleep(0)
    lost.cancel()
    await asyncio.sleep(0)
    load.gate.set()
    assert await asyncio.wait_for(flights.run("k", load), 5) == 1
    await turn()
    assert load.running == 0


@pytest.mark.asyncio
async def test_a_caller_that_timed_out_leaves_the_load_running(flights, load, turn):
    with pytest.raises(LoadTimeout, match="'k' was not loaded within 0.001 s; the load goes on"):
        await flights.run("k", load, timeout=0.001)
    assert load.running == 1
    patient = asyncio.create_task(flights.run("k", load))
    await turn()
    patient.cancel()
    await turn()
    assert load.running == 1, "the one who timed out still wants it stored"
    load.gate.set()
    await turn()


@pytest.mark.asyncio
async def test_a_timeout_of_nothing_gives_up_at_once_and_harms_no_other(flights, load, turn):
    patient = asyncio.create_task(flights.run("k", load))
    await turn()
    with pytest.raises(LoadTimeout):
        await flights.run("k", load, timeout=0)
    load.gate.set()
    assert await patient == 1


@pytest.mark.asyncio
async def test_a_timeout_of_the_caller_around_the_call_is_a_cancellation(flights, load, turn):
    patient = asyncio.create_task(flights.run("k", load))
    await turn()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.001):
            await flights.run("k", load)
    assert not isinstance(caught.value, LoadTimeout)
    load.gate.set()
    assert await patient == 1


@pytest.mark.asyncio
async def test_a_cancel_scope_of_anyio_around_a_caller_harms_no_other(flights, load, turn):
    patient = asyncio.create_task(flights.run("k", load))
    await turn()
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await flights.run("k", load)
    assert scope.cancelled_caught
    load.gate.set()
    assert await patient == 1
    assert load.runs == 1


@pytest.mark.asyncio
async def test_the_first_caller_in_a_cancel_scope_of_anyio_harms_no_other(flights, load, turn):
    tasks = []
    with anyio.move_on_after(60) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(flights.run, "k", load)
            await turn()
            tasks = callers(flights, load, 2)
            await turn()
            scope.cancel()
    load.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1]
    assert load.runs == 1


@pytest.mark.asyncio
async def test_a_task_group_that_fails_takes_only_its_own_caller_along(flights, load, turn):
    patient = asyncio.create_task(flights.run("k", load))

    async def fail():
        raise KeyError("elsewhere")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(flights.run("k", load))
            await turn()
            group.create_task(fail())
    assert isinstance(caught.value.exceptions[0], KeyError)
    load.gate.set()
    assert await patient == 1


@pytest.mark.asyncio
async def test_a_result_and_a_cancellation_in_one_tick_are_a_cancellation(flights, load, turn):
    task, other = callers(flights, load, 2)
    await turn()
    load.gate.set()
    for _ in range(3):
        await asyncio.sleep(0)
        if not load.running:
            break
    task.cancel()
    await turn()
    assert task.cancelled() or task.result() == 1
    assert await other == 1


# --- loaders and cancellation -----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_load_that_raises_cancellation_itself_is_an_error_for_all(flights, turn):
    async def load():
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    results = await asyncio.gather(*callers(flights, load, 3), return_exceptions=True)
    assert [type(error) for error in results] == [LoadCancelled] * 3
    assert "'k' was cancelled from within" in str(results[0])


@pytest.mark.asyncio
async def test_a_load_that_swallows_its_cancellation_harms_nobody(flights, turn):
    gate, runs = asyncio.Event(), []

    async def load():
        run = len(runs)
        runs.append(run)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            return f"swallowed {run}"
        return f"loaded {run}"

    lost = asyncio.create_task(flights.run("k", load))
    await turn()
    lost.cancel()
    await asyncio.sleep(0)
    found = asyncio.create_task(flights.run("k", load))
    await turn()
    gate.set()
    assert await found == "loaded 1"


# --- errors are shared, not kept (P4) ---------------------------------------------------------------


class OddError(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


class SlottedError(Exception):
    __slots__ = ("code",)

    def __init__(self, code):
        super().__init__("slotted")
        self.code = code


class PickyError(Exception):
    def __new__(cls, code, reason):
        error = super().__new__(cls, code, reason)
        error.code = code
        return error

    def __init__(self, code, reason):
        super().__init__("only one argument is left")


class DiskError(OSError):
    def __init__(self, number, message, disk):
        super().__init__(number, message)
        self.disk = disk


def _decoding() -> UnicodeError:
    try:
        b"\xff".decode()
    except UnicodeError as error:
        return error
    raise AssertionError


ERRORS = [
    ValueError("bad", 3),
    OddError(code=7),
    SlottedError(7),
    PickyError(7, "why"),
    FileNotFoundError(errno.ENOENT, "No such file", "/etc/nothing"),
    OSError(errno.EXDEV, "cross", "a", None, "b"),
    BlockingIOError(errno.EAGAIN, "later", 5),
    TimeoutError("slow"),
    DiskError(errno.EIO, "broken", "sda"),
    KeyError("k"),
    ImportError("no module", name="it", path="/it.py"),
    AttributeError("none", name="it", obj=3),
    SyntaxError("bad", ("it.py", 3, 1, "x = ", 3, 2)),
    ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    _decoding(),
]


def facts(error):
    names = (
        "code",
        "errno",
        "strerror",
        "filename",
        "filename2",
        "characters_written",
        "disk",
        "name",
        "path",
    )
    names += ("obj", "lineno", "offset", "reason", "start", "end", "exceptions")
    return type(error), str(error), error.args, {name: getattr(error, name, None) for name in names}


@pytest.mark.asyncio
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_every_waiter_sees_the_error_as_it_was_raised(flights, error):
    wanted = facts(error)

    async def load():
        await asyncio.sleep(0)
        raise error

    seen = await asyncio.gather(*callers(flights, load, 4), return_exceptions=True)
    assert [facts(each) for each in seen] == [wanted] * 4


async def fails(message):
    await asyncio.sleep(0)
    raise ValueError(message)


@pytest.mark.asyncio
async def test_a_hundred_waiters_get_a_readable_traceback_each_that_does_not_grow(flights):
    async def ask():
        try:
            await flights.run("k", lambda: fails("boom"))
        except ValueError as error:
            return error, traceback.format_exception(error)

    seen = await asyncio.gather(*(ask() for _ in range(100)))
    texts = {"".join(lines) for _, lines in seen}
    assert len(texts) == 1
    (text,) = texts
    assert text.count("in fails") == 1
    assert text.count("in ask") == 1
    assert len(text.splitlines()) < 40
    assert len({id(error) for error, _ in seen}) == 100


@pytest.mark.asyncio
async def test_what_one_waiter_does_to_its_error_no_other_sees(flights):
    seen = []

    async def ask(number):
        try:
            try:
                raise KeyError(f"of caller {number}")
            except KeyError:
                await flights.run("k", lambda: fails("boom"))
        except ValueError as error:
            error.add_note(f"seen by {number}")
            seen.append((number, error))

    async def noted():
        error = ValueError("boom")
        error.add_note("from the load")
        await asyncio.sleep(0)
        raise error

    await asyncio.gather(*map(ask, range(5)))
    for number, error in seen:
        assert error.__notes__ == [f"seen by {number}"]
        assert str(error.__context__) == f"'of caller {number}'"
    results = await asyncio.gather(*callers(flights, noted, 3), return_exceptions=True)
    for error in results:
        error.add_note("mine")
    assert [error.__notes__ for error in results] == [["from the load", "mine"]] * 3


@pytest.mark.asyncio
async def test_an_error_that_cannot_be_copied_shows_no_waiter_the_context_of_another(flights):
    error = _decoding()
    contexts = []

    async def load():
        await asyncio.sleep(0)
        raise error

    async def ask(number):
        try:
            if number == 0:
                try:
                    raise KeyError("mine")
                except KeyError:
                    await flights.run("k", load)
            await flights.run("k", load)
        except UnicodeError as seen:
            contexts.append(seen.__context__)

    await asyncio.gather(*map(ask, range(3)))
    assert [type(context) for context in contexts] == [KeyError, type(None), type(None)]


@pytest.mark.asyncio
async def test_the_cause_of_an_error_reaches_every_waiter(flights):
    async def load():
        await asyncio.sleep(0)
        raise ValueError("outer") from KeyError("inner")

    seen = await asyncio.gather(*callers(flights, load, 3), return_exceptions=True)
    assert [str(error.__cause__) for error in seen] == ["'inner'"] * 3


@pytest.mark.asyncio
async def test_the_only_waiter_gets_the_very_error(flights):
    error = ValueError("mine")

    async def load():
        raise error

    with pytest.raises(ValueError) as caught:
        await flights.run("k", load)
    assert caught.value is error


@pytest.mark.asyncio
async def test_after_an_error_the_next_call_runs_again(flights, load):
    load.gate.set()
    load.error = ValueError("boom")
    with pytest.raises(ValueError):
        await flights.run("k", load)
    load.error = None
    assert await flights.run("k", load) == 1


def test_a_class_that_forbids_copies_is_shared():
    error = SlottedError(3)
    assert copied(error) is error


# --- recursion instead of deadlock ------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_call_that_waits_for_itself_is_refused(flights):
    async def load():
        return await flights.run("a", load)

    with pytest.raises(RecursiveLoad, match="'a' waits for its own result"):
        await flights.run("a", load)


@pytest.mark.asyncio
async def test_a_circle_through_another_call_is_refused(flights):
    async def a():
        return await flights.run("b", b)

    async def b():
        return await flights.run("a", a)

    with pytest.raises(RecursiveLoad):
        await flights.run("a", a)


@pytest.mark.asyncio
async def test_two_calls_that_come_to_wait_for_each_other_both_end(flights):
    both = asyncio.Barrier(2)

    async def one(other, load):
        await both.wait()
        return await flights.run(other, load)

    async def a():
        return await one("b", b)

    async def b():
        return await one("a", a)

    results = await asyncio.wait_for(
        asyncio.gather(flights.run("a", a), flights.run("b", b), return_exceptions=True), 5
    )
    assert [type(result) for result in results] == [RecursiveLoad, RecursiveLoad]


@pytest.mark.asyncio
async def test_a_circle_through_a_gather_is_refused(flights):
    async def a():
        return await asyncio.gather(flights.run("b", b), flights.run("c", lambda: asyncio.sleep(0, "c")))

    async def b():
        return await flights.run("a", a)

    with pytest.raises(RecursiveLoad):
        await asyncio.wait_for(flights.run("a", a), 5)


@pytest.mark.asyncio
async def test_a_diamond_is_no_circle(flights):
    async def d():
        await asyncio.sleep(0)
        return 1

    async def b():
        return await flights.run("d", d)

    async def c():
        return await flights.run("d", d)

    async def a():
        return await asyncio.gather(flights.run("b", b), flights.run("c", c), flights.run("d", d))

    assert await flights.run("a", a) == [1, 1, 1]


@pytest.mark.asyncio
async def test_a_call_may_follow_one_that_is_over(flights):
    async def a():
        first = await flights.run("b", lambda: asyncio.sleep(0, 1))
        return first + await flights.run("b", lambda: asyncio.sleep(0, 2))

    assert await flights.run("a", a) == 3


@pytest.mark.asyncio
async def test_what_a_call_left_running_may_call_it_again(flights, load):
    left = []

    async def again():
        await load()
        return await flights.run("a", lambda: asyncio.sleep(0, "second"))

    async def a():
        left.append(asyncio.create_task(again()))
        return "first"

    assert await flights.run("a", a) == "first"
    load.gate.set()
    assert await left[0] == "second"


@pytest.mark.asyncio
async def test_a_caller_that_gave_up_waiting_closes_no_circle(flights, load, turn):
    gave_up = asyncio.Event()

    async def a():
        with pytest.raises(LoadTimeout):
            await flights.run("b", b, timeout=0.001)
        gave_up.set()
        await load()
        return "a"

    async def b():
        await gave_up.wait()
        return await flights.run("a", a)

    both = asyncio.gather(flights.run("a", a), flights.run("b", b))
    await gave_up.wait()
    await turn()
    load.gate.set()
    assert await asyncio.wait_for(both, 5) == ["a", "a"]


def test_what_is_over_is_waited_for_by_nobody():
    a, b, c = Node(), Node(), Node()
    a.waits_for.append(b)
    b.waits_for.append(c)
    assert a.reaches(c)
    b.over = True
    assert not a.reaches(c)


# --- waiting for several ----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_waiting_for_several_ends_with_the_last(turn):
    flights = Flights(asyncio.get_running_loop())
    one, two = Flight("1", flights), Flight("2", flights)
    waiting = asyncio.create_task(join_all([one, two]))
    await turn()
    one.land("1")
    await turn()
    assert not waiting.done()
    two.crash(ValueError("2"))
    await waiting
    assert one.result() == "1"
    with pytest.raises(ValueError):
        two.result()


@pytest.mark.asyncio
async def test_cancelling_one_who_waits_for_several_leaves_them_all(turn):
    flights = Flights(asyncio.get_running_loop())
    cancelled = []
    several = [Flight(str(number), flights) for number in range(3)]
    for flight in several:
        flights.add(flight)
        flight.driven_by(lambda key=flight.key: cancelled.append(key))
    other = several[1].enlist()
    waiting = asyncio.create_task(join_all(several))
    await turn()
    waiting.cancel()
    await turn()
    assert cancelled == ["0", "2"]
    assert [len(flights), several[1].waiting] == [1, 1]
    several[1].leave(other)


@pytest.mark.asyncio
async def test_only_the_first_landing_counts():
    flight = Flight("k", Flights(asyncio.get_running_loop()))
    flight.land(1)
    flight.crash(ValueError())
    flight.land(2)
    assert (flight.result(), flight.failed) == (1, False)


# --- life -------------------------------------------------------------------------------------------


def test_one_singleflight_serves_one_loop_after_another(flights):
    for value in (1, 2):
        assert asyncio.run(flights.run("k", lambda value=value: asyncio.sleep(0, value))) == value


def test_a_second_running_loop_is_refused_while_the_first_has_calls(flights):
    async def other():
        with pytest.raises(WrongLoop, match="one cache .or Singleflight. per thread"):
            await flights.run("k", lambda: asyncio.sleep(0))

    async def main():
        gate = asyncio.Event()
        waiting = asyncio.create_task(flights.run("k", gate.wait))
        await asyncio.sleep(0)
        await asyncio.to_thread(asyncio.run, other())
        gate.set()
        await waiting

    asyncio.run(main())


def test_without_a_running_loop_the_error_says_what_is_needed(flights):
    call = flights.run("k", lambda: asyncio.sleep(0))
    with pytest.raises(NoRunningLoop, match="asyncio.run"):
        call.send(None)


@pytest.mark.asyncio
async def test_the_first_caller_lends_its_context(flights):
    async def load():
        return WHO.get()

    WHO.set("me")
    assert await flights.run("k", load) == "me"


@pytest.mark.asyncio
async def test_nothing_is_left_after_thousands_of_calls(flights, load, turn):
    for round_ in range(50):
        tasks = callers(flights, load, 20, key=str(round_))
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await turn()
    assert (len(flights._flights), len(flights._tasks)) == (0, 0)
    keeper = asyncio.create_task(flights.run("k", load))
    await turn()
    flight = flights._flights.get("k")
    for _ in range(50):
        with pytest.raises(LoadTimeout):
            await flights.run("k", load, timeout=0)
    assert flight.waiting == 1
    load.gate.set()
    await keeper
    assert (flight.waiting, len(flights._flights)) == (0, 0)


@pytest.mark.asyncio
async def test_an_error_that_is_no_exception_reaches_everybody_who_waits():
    class Verdict(BaseException):
        pass

    async def condemn():
        await asyncio.sleep(0)
        raise Verdict("guilty")

    flights = Singleflight()
    asked = await asyncio.gather(*(flights.run("k", condemn) for _ in range(3)), return_exceptions=True)
    assert [repr(error) for error in asked] == ["Verdict('guilty')"] * 3
