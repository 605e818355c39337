"""What a scenario holds in its hands: processes, random data, faults, checks. Knows no other seed."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from acache.testing.process import Process, SimClock
from acache.testing.simloop import SimLoop

T = TypeVar("T")

_APART = (
    10_000.0  # seconds between the monotonic clocks of two processes: comparing them is a mistake to be seen
)


class CheckFailed(AssertionError):
    """A condition given to `Sim.check` did not hold."""


class Sim:
    """One schedule of a scenario.

    The scenario itself runs in the process "main"; `spawn`, `clock` and what it awaits belong to that."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.loop = loop
        self.seed = seed
        self.random = Random(f"{seed}/data")  # noqa: S311 - a simulation, no secret
        """Random data for the scenario: a stream of its own, so that drawing from it moves no task."""
        self.failed_check: CheckFailed | None = None
        """The first check that did not hold, also if the code under test swallowed its exception."""
        self.faults = 0
        """How many faults have struck, for the sum that an exploration tells."""
        self._faults = Random(f"{seed}/faults")  # noqa: S311
        self._main = Process(loop, loop.current_lane, SimClock(loop))
        self._processes = [self._main]

    @property
    def clock(self) -> SimClock:
        """Return the clock of the process "main"; its monotonic reading is the loop's `time()`."""
        return self._main.clock

    @property
    def current(self) -> Process:
        """Return the process whose code is running, for fakes that treat their callers differently."""
        return next(process for process in self._processes if process.owns(self.loop.current_lane))

    def process(self, name: str, *, wall_skew: float = 0.0) -> Process:
        """Return a new process, its wall clock *wall_skew* seconds ahead.

        Raises ValueError while another one of that name lives; a killed one may be started anew."""
        if any(process.name == name and not process.killed for process in self._processes):
            raise ValueError(f"there is a process {name!r} already: choose another name, or kill it first")
        clock = SimClock(self.loop, monotonic_offset=_APART * len(self._processes))
        clock.skew(wall_skew)
        process = Process(self.loop, self.loop.add_lane(name), clock)
        self._processes.append(process)
        return process

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> "asyncio.Task[T]":
        """Start *coro* as a task of the process "main" and return the task."""
        return self._main.spawn(coro, name=name)

    async def join(self) -> None:
        """Wait for every task spawned in any process; see `Process.join`."""
        for process in self._processes:
            await process.join()

    async def switch(self) -> None:
        """Let others run: one suspension without time passing."""
        await asyncio.sleep(0)

    def sometime(self, action: Callable[[], object], *, within: int = 32) -> None:
        """Call *action* between two of the next *within* turns, or never if the schedule is over before.

        Which turn, the seed decides; it comes sooner when nothing else can happen. For faults:
        `sim.sometime(task.cancel)`, `sim.sometime(process.kill)`."""

        def strike() -> None:
            self.fault()
            action()

        self.loop.plan(self._faults.randrange(within), strike)

    def fault(self) -> None:
        """Count a fault that the scenario or one of its fakes made strike; `sometime` counts its own."""
        self.faults += 1

    def check(self, condition: object, message: str) -> None:
        """Fail the schedule with *message* unless *condition* holds: raises CheckFailed, and remembers it."""
        if condition:
            return
        error = CheckFailed(message)
        self.failed_check = self.failed_check or error
        raise error

    def note(self, text: str) -> None:
        """Add a line to the trace that a failure shows."""
        self.loop.note(text)
