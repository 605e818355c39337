"""Run one schedule of a scenario and say what went wrong in it. Knows one seed and makes no report."""

import asyncio
import gc
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any, Literal

from acache.testing._lane import CURRENT_LANE
from acache.testing._schedulers import SchedulerName
from acache.testing._watchdog import Overdue, watchdog
from acache.testing.sim import Sim
from acache.testing.simloop import Deadlock, Livelock, SimLoop

Scenario = Callable[[Sim], Coroutine[Any, Any, object]]

FailureKind = Literal["check", "error", "deadlock", "livelock", "leak", "unhandled", "timeout"]

_CLOSING_ATTEMPTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to run schedules: see `explore` for what each option means."""

    scheduler: SchedulerName
    depth: int
    steps: int
    max_steps: int
    timeout: float
    detail: bool


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one schedule; `kind` is None when nothing was wrong."""

    turns: int
    faults: int = 0
    trace: list[tuple[float, str]]
    kind: FailureKind | None = None
    message: str = ""
    error: BaseException | None = None


@dataclass(slots=True)
class _Unhandled:
    """Collects what asyncio would merely have logged."""

    contexts: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, _loop: object, context: dict[str, Any]) -> None:
        self.contexts.append(context)


def run_schedule(scenario: Scenario, seed: int, plan: Plan) -> Outcome:
    """Run *scenario* once as *seed* decides. Nothing of it runs or is pending afterwards.

    Passes on KeyboardInterrupt and SystemExit; everything else that the scenario does becomes an outcome.
    Raises RuntimeError inside a running event loop."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a simulation brings its own event loop: call explore() from a plain function")
    loop = SimLoop(
        seed,
        scheduler=plan.scheduler,
        depth=plan.depth,
        steps=plan.steps,
        max_steps=plan.max_steps,
        detail=plan.detail,
    )
    unhandled = _Unhandled()
    loop.set_exception_handler(unhandled)
    outcome = Outcome(turns=0, trace=loop.trace)
    try:
        with watchdog(loop, plan.timeout):
            kept = _run_to_its_end(loop, scenario, seed, outcome)
        if outcome.kind is None:
            _inspect(loop, kept, unhandled, outcome)
        outcome.turns = loop.turns
        if not loop.task_steps:
            raise RuntimeError(f"SimLoop does not recognise the task steps of Python {sys.version}")
        return outcome
    finally:
        loop.set_exception_handler(_ignore)
        loop.close()
        _dispose(loop.pending())


def _run_to_its_end(
    loop: SimLoop, scenario: Scenario, seed: int, outcome: Outcome
) -> "list[asyncio.Task[Any]]":
    """Run the scenario, note its own failure in *outcome* and return the unfinished tasks.

    The caller holds on to these: a suspended coroutine that becomes garbage runs its `finally` blocks. Of
    finished tasks nothing is kept, so that errors which nobody looked at are reported when they become
    garbage."""
    sim = Sim(loop, seed)
    context = copy_context()
    context.run(CURRENT_LANE.set, loop.current_lane)
    root = loop.create_task(scenario(sim), name="scenario", context=context)
    try:
        loop.run_until_complete(root)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - also CancelledError, and pytest.fail
        outcome.kind, outcome.error = _kind_of(error), error
    outcome.faults = sim.faults
    if sim.failed_check is not None:
        outcome.kind, outcome.error = "check", sim.failed_check
    if outcome.error is not None:
        outcome.message = str(outcome.error) or type(outcome.error).__name__
        if outcome.kind == "error":
            outcome.message = f"{type(outcome.error).__name__}: {outcome.error}"
    return loop.pending()


def _kind_of(error: BaseException) -> FailureKind:
    match error:
        case Deadlock():
            return "deadlock"
        case Livelock():
            return "livelock"
        case Overdue():
            return "timeout"
        case AssertionError():
            return "check"
        case _:
            return "error"


def _inspect(
    loop: SimLoop, unfinished: list[asyncio.Task[Any]], unhandled: _Unhandled, outcome: Outcome
) -> None:
    """Look for what a scenario that ended well left behind: tasks, and errors that nobody looked at."""
    # Errors are reported when their task is garbage. Automatic collection is off, so all of this schedule's
    # garbage is in the youngest generation.
    gc.collect(0)
    if unhandled.contexts:
        outcome.kind = "unhandled"
        outcome.error = unhandled.contexts[0].get("exception")
        outcome.message = "\n".join(_described(context) for context in unhandled.contexts)
        return
    leaked = [task for task in unfinished if not loop.is_killed(task) and not _closes_a_generator(task)]
    if leaked:
        outcome.kind = "leak"
        lines = [f"  {loop.describe(task)}" for task in leaked]
        outcome.message = "\n".join(["tasks outlived the scenario", *lines])


def _closes_a_generator(task: "asyncio.Task[Any]") -> bool:
    """Return whether asyncio itself made the task, for an async generator that became garbage."""
    return not isinstance(task.get_coro(), CoroutineType)


def _described(context: dict[str, Any]) -> str:
    error = context.get("exception")
    what = f": {type(error).__name__}: {error}" if error is not None else ""
    return f"{context.get('message', 'unhandled error')}{what}"


def _ignore(_loop: object, _context: object) -> None:
    """Keep nothing of what is said about tasks that are being disposed of."""


def _dispose(tasks: list[asyncio.Task[Any]]) -> None:
    """Close the coroutines of tasks that will never run again, quietly.

    Their `finally` blocks run here, as Python knows no other way; the loop is closed, the outcome known."""
    if not tasks:
        return
    with _quiet():
        for task in tasks:
            _close(task.get_coro())
        tasks.clear()


def _close(coro: Any) -> None:
    for _ in range(_CLOSING_ATTEMPTS):  # each `await` in a `finally` block refuses once
        try:
            coro.close()
        except BaseException:  # noqa: BLE001, S112
            continue
        return
    _UNCLOSABLE.append(coro)


# Coroutines that catch everything for ever: kept, so that nobody finalises them.
_UNCLOSABLE: list[object] = []


@contextmanager
def _quiet() -> Generator[None]:
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook
