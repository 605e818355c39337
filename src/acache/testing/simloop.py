"""An asyncio event loop with virtual time and seeded interleaving. Knows no scenario and no verdict.

Only the steps of tasks are shuffled; plain callbacks keep their order (see `_lane`). Tasks are ordinary
asyncio tasks: their steps are recognised as they pass through `call_soon`. Time stands still while anything
can run and then jumps to the next timer."""

import asyncio
import heapq
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import Context
from itertools import count
from random import Random
from types import BuiltinMethodType
from typing import Any, Final, TypeVarTuple
from weakref import WeakKeyDictionary

from acache.testing._lane import CURRENT_LANE, MAIN, Lane, LaneState, ReadyTurn, Strand
from acache.testing._outside import NoOutsideLoop, OutsideWorld
from acache.testing._schedulers import SchedulerName, scheduler_for
from acache.testing._waiting import coroutine_name, standing_at
from acache.testing.clock import MONOTONIC_START

CLOCK_RESOLUTION: Final = 1e-6
"""Timers closer together than this, in seconds, go off together; a finer one would vanish at large virtual
times."""

Ts = TypeVarTuple("Ts")

_SPINNING_CALLBACKS: Final = 100
_LIVELOCK_SAMPLE: Final = 1_000


class SimulationStopped(Exception):
    """The loop cannot, or must not, go on; the message says why."""


class Deadlock(SimulationStopped):
    """Nothing can run, no timer is set, and the loop was not asked to stop."""


class Livelock(SimulationStopped):
    """More turns than `max_steps` were run."""


class SimLoop(NoOutsideLoop):
    """An event loop whose every run is decided by its seed.

    *scheduler* is "random" (each ready turn equally likely), "pct" (random priorities with `depth` - 1 change
    points within the expected number of *steps*) or "fifo" (as an ordinary loop). `time()` is virtual, in
    seconds, and starts at `MONOTONIC_START`. Threads, sockets and subprocesses raise `OutsideWorld`.

    `run_forever` and what is built on it raise Deadlock or Livelock when the simulation is stuck."""

    def __init__(
        self,
        seed: int = 0,
        *,
        scheduler: SchedulerName = "random",
        depth: int = 3,
        steps: int = 100,
        max_steps: int = 20_000,
        detail: bool = False,
    ) -> None:
        super().__init__()
        self.set_debug(False)  # -X dev would take a stack for every handle; that is what `detail` is for
        self._clock_resolution = CLOCK_RESOLUTION
        self.turns = 0
        """How many handles were run."""
        self.task_steps = 0
        """How many of them were steps of tasks."""
        self.trace: list[tuple[float, str]] = []
        """Every task step and note, with its virtual time."""
        self._now = MONOTONIC_START
        rng = Random(f"{seed}/schedule")  # noqa: S311 - a simulation, no secret
        self._scheduler = scheduler_for(scheduler, rng, depth=depth, steps=steps)
        self._max_steps = self._turn_limit = max_steps
        self._detail = detail
        self._number: Callable[[], int] = count().__next__
        self._next_label: Callable[[], int] = count(1).__next__
        self._strands: WeakKeyDictionary[asyncio.Task[Any], Strand] = WeakKeyDictionary()
        self._planned: list[tuple[int, int, Callable[[], object]]] = []
        self._callbacks_in_a_row = 0
        self._interruption: BaseException | None = None
        self._lanes: list[Lane] = []
        self._home = self._lane = self.add_lane(MAIN)

    # --- what asyncio asks of a loop ----------------------------------------------------------------

    def time(self) -> float:
        """Return the virtual monotonic time in seconds."""
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Queue *callback*: a step of a task for shuffling, anything else behind its process's callbacks."""
        self._must_be_open()
        handle = asyncio.Handle(callback, args, self, context)
        lane = self._lane if context is None else context.get(CURRENT_LANE, self._lane)
        task = _stepping_task(callback)
        if task is None:
            lane.add_callback(handle)
        else:
            strand = self._strands.get(task) or self._first_seen(task, lane, context)
            strand.lane.add_step(strand, handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Queue *callback*; raises OutsideWorld in any thread but the loop's own."""
        if self._thread_id is not None and self._thread_id != threading.get_ident():
            self._interruption = OutsideWorld(
                "another thread called into a SimLoop, which no seed can replay"
            )
            raise self._interruption
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run *callback* once `time()` has reached *when*; never while its process is paused."""
        self._must_be_open()
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        lane = self._lane if context is None else context.get(CURRENT_LANE, self._lane)
        lane.add_timer(timer)
        return timer

    def _run_once(self) -> None:
        """Run one turn: `BaseEventLoop.run_forever` calls this until the loop is stopped."""
        if self._interruption is not None:
            raise self._interruption
        while self._planned and self._planned[0][0] <= self.turns:
            self._act()
        ready = self._ready_turns()
        if not ready:
            self._idle()
            return
        if self.turns >= self._turn_limit:
            self._turn_limit += self._max_steps  # so that a Runner can still cancel what is left
            raise Livelock(self._livelock_report())
        turn = ready[self._scheduler.choose(ready)]
        lane = turn.strand.lane
        handle = lane.take(turn)
        self._account(turn, ready)
        self._run(lane, handle)

    # --- what a simulation asks beyond that ---------------------------------------------------------

    def add_lane(self, name: str) -> Lane:
        """Return the queues of a new simulated process."""
        lane = Lane(name, self._number)
        self._lanes.append(lane)
        return lane

    @property
    def current_lane(self) -> Lane:
        """Return the process whose turn is running; the first one, "main", between turns."""
        return self._lane

    def is_killed(self, task: "asyncio.Task[Any]") -> bool:
        """Return whether the task's process was killed."""
        strand = self._strands.get(task)
        return strand is not None and strand.lane.state is LaneState.KILLED

    def plan(self, turns: int, action: Callable[[], object]) -> None:
        """Call *action* between two turns, *turns* from now."""
        heapq.heappush(self._planned, (self.turns + turns, self._number(), action))

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self._now, text))

    def interrupt(self, error: BaseException) -> None:
        """Make the loop raise *error* before its next turn; for signal handlers and other threads."""
        self._interruption = error

    def pending(self) -> "list[asyncio.Task[Any]]":
        """Return the unfinished tasks, oldest first."""
        return sorted(asyncio.all_tasks(self), key=self._seniority)

    def describe(self, task: "asyncio.Task[Any]") -> str:
        """Return the task's label and where it stands."""
        strand = self._strands.get(task)
        label = strand.label if strand else coroutine_name(task)
        return f"{label} waits at {standing_at(task)}"

    # --- inside -------------------------------------------------------------------------------------

    def _first_seen(self, task: "asyncio.Task[Any]", lane: Lane, context: Context | None) -> Strand:
        label = f"{lane.name}/{coroutine_name(task)}-{self._next_label()}"
        strand = self._strands[task] = Strand(self._number(), label, lane, is_task=True)
        if context is not None and CURRENT_LANE not in context:
            # A task with an empty context of its own still belongs to the process that made it.
            try:
                context.run(CURRENT_LANE.set, lane)
            except RuntimeError:  # it started eagerly, so this code runs in that context
                CURRENT_LANE.set(lane)
        return strand

    def _must_be_open(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

    def _seniority(self, task: "asyncio.Task[Any]") -> int:
        strand = self._strands.get(task)
        return -1 if strand is None else strand.index

    def _running_lanes(self) -> Iterator[Lane]:
        return (lane for lane in self._lanes if lane.state is LaneState.RUNNING)

    def _ready_turns(self) -> list[ReadyTurn]:
        """Return what can run now; time moves if nothing can, or if callbacks merely re-queue themselves."""
        ready = self._offered()
        waiting = not ready or self._callbacks_in_a_row >= _SPINNING_CALLBACKS
        if waiting and not self._stopping and self._jump():
            self._callbacks_in_a_row = 0
            ready = self._offered()
        return ready

    def _offered(self) -> list[ReadyTurn]:
        ready: list[ReadyTurn] = []
        for lane in self._running_lanes():
            lane.release(self._now + CLOCK_RESOLUTION)
            lane.offer(ready)
        return ready

    def _jump(self) -> bool:
        """Move time to the next timer of a running process; return whether there is one."""
        timers = [due for lane in self._running_lanes() if (due := lane.next_timer()) is not None]
        if timers:
            self._now = min(timers)
        return bool(timers)

    def _account(self, turn: ReadyTurn, ready: list[ReadyTurn]) -> None:
        self.turns += 1
        if not turn.strand.is_task:
            only_callbacks = not any(other.strand.is_task for other in ready)
            self._callbacks_in_a_row = self._callbacks_in_a_row + 1 if only_callbacks else 0
            return
        self.task_steps += 1
        self._callbacks_in_a_row = 0
        text = turn.strand.label
        if self._detail and (task := _stepping_task(turn.handle._callback)):  # type: ignore[attr-defined]
            text = f"{text} at {standing_at(task)}"
        self.trace.append((self._now, text))

    def _run(self, lane: Lane, handle: asyncio.Handle) -> None:
        self._lane = lane
        handle._run()
        self._lane = self._home

    def _act(self) -> None:
        """Run the next planned action, which may be the one that ends a deadlock."""
        self._run(self._home, asyncio.Handle(heapq.heappop(self._planned)[2], (), self))

    def _idle(self) -> None:
        if self._planned:
            self._act()
        elif not self._stopping:
            raise Deadlock(self._deadlock_report())

    def _deadlock_report(self) -> str:
        lines = ["nothing can run and no timer is set"]
        lines += [f"  {self.describe(task)}" for task in self.pending() if not self.is_killed(task)]
        lines += [
            f"  process {lane.name} is {lane.state.value}"
            for lane in self._lanes
            if lane not in self._running_lanes()
        ]
        return "\n".join(lines)

    def _livelock_report(self) -> str:
        busiest = Counter(text for _, text in self.trace[-_LIVELOCK_SAMPLE:]).most_common(3)
        named = ", ".join(f"{label} ({times})" for label, times in busiest)
        return f"not done after {self.turns} turns (max_steps); of late it ran mostly {named}"


def _stepping_task(callback: Any) -> "asyncio.Task[Any] | None":
    """Return the task whose step *callback* is, or None for a plain callback.

    asyncio's C code queues a step as a `TaskStepMethWrapper` and a wake-up as the method `task_wakeup`, each
    bound to the task. A canary test compares this with the interpreter at hand."""
    kind: type[object] = callback.__class__
    if kind is BuiltinMethodType:
        is_step = callback.__name__ == "task_wakeup"
    else:
        is_step = kind.__name__ == "TaskStepMethWrapper"
    return callback.__self__ if is_step else None
