"""A simulated process: tasks that are paused and killed together, and their clock. Knows no scenario."""

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from acache.testing._lane import CURRENT_LANE, MAIN, Lane, LaneState
from acache.testing.clock import MONOTONIC_START, WALL_START
from acache.testing.simloop import SimLoop

T = TypeVar("T")


class ProcessKilled(RuntimeError):
    """The process that was to give a result was killed first."""


class SimClock:
    """An `acache.clock.Clock` that follows a SimLoop, in seconds. Goes on while its process is paused."""

    def __init__(self, loop: SimLoop, *, monotonic_offset: float = 0.0) -> None:
        self._loop = loop
        self._offset = monotonic_offset
        self._wall_offset = WALL_START - MONOTONIC_START

    def time(self) -> float:
        """Return seconds since the epoch; `WALL_START` at the start of the schedule, unless skewed."""
        return self._loop.time() + self._wall_offset

    def monotonic(self) -> float:
        """Return seconds since a point of this process's own."""
        return self._loop.time() + self._offset

    def skew(self, seconds: float) -> None:
        """Move the wall alone by *seconds*, forward or back, as when a host corrects its clock."""
        self._wall_offset += seconds


class Process:
    """A group of tasks that live and die together, with a clock of their own.

    A task belongs to the process whose code made it, down to tasks made by tasks. Objects are shared between
    processes freely, so a fake server is a plain object; whatever a process must own, create inside its
    tasks."""

    def __init__(self, loop: SimLoop, lane: Lane, clock: SimClock) -> None:
        self.clock = clock
        self._loop = loop
        self._lane = lane
        self._spawned: list[asyncio.Task[Any]] = []
        self._dropped: list[asyncio.Task[Any]] = []
        self._death = loop.create_future()

    @property
    def name(self) -> str:
        """Return the name it was made with."""
        return self._lane.name

    @property
    def killed(self) -> bool:
        """Return whether `kill` was called."""
        return self._lane.state is LaneState.KILLED

    def owns(self, lane: Lane) -> bool:
        """Return whether *lane* holds this process's turns."""
        return lane is self._lane

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> "asyncio.Task[T]":
        """Start *coro* as a task of this process and return the task. Raises ProcessKilled after `kill`."""
        if self.killed:
            coro.close()
            raise ProcessKilled(f"process {self.name} is dead: make a new one with sim.process()")
        context = copy_context()
        context.run(CURRENT_LANE.set, self._lane)
        task = self._loop.create_task(coro, name=name, context=context)
        self._spawned.append(task)
        return task

    async def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run *coro* in this process and return its result.

        Raises what it raises, or ProcessKilled. Cancelling stops the waiting; the process carries on."""
        task = self.spawn(coro)
        await self._end_of(task)
        if task.done():
            return task.result()
        raise ProcessKilled(f"process {self.name} was killed")

    async def join(self) -> None:
        """Wait until every spawned task has ended or the process is killed.

        Raises the error of the first that failed; cancelled ones are fine. Cancelling ends the wait only."""
        caller = asyncio.current_task()
        while not self.killed and (others := [task for task in self._spawned if task is not caller]):
            task = others[0]
            await self._end_of(task)
            if task.done():
                self._spawned = [other for other in self._spawned if other is not task]
                if not task.cancelled():
                    task.result()

    def pause(self) -> None:
        """Stop running this process's steps and timers, while time goes on. No effect on a dead one.

        Raises ValueError for the process "main", which runs the scenario."""
        self._must_not_be_main("paused")
        if not self.killed:
            self._lane.state = LaneState.PAUSED

    def resume(self) -> None:
        """Let a paused process run again: first what it was doing, then its timers that fell due."""
        if not self.killed:
            self._lane.state = LaneState.RUNNING

    def kill(self) -> None:
        """Drop all tasks where they stand, as `kill -9` does: no `finally` and no `except` of theirs runs.

        They are disposed of after the schedule, when nothing they do counts any more. A task that kills its
        own process ends at its next await. Raises ValueError for the process "main"."""
        self._must_not_be_main("killed")
        if self.killed:
            return
        self._lane.state = LaneState.KILLED
        # A suspended coroutine that is garbage runs its `finally` blocks, so all are kept.
        self._dropped = [task for task in self._loop.pending() if self._loop.is_killed(task)]
        self._death.set_result(None)

    async def _end_of(self, task: "asyncio.Task[Any]") -> None:
        await asyncio.wait([task, self._death], return_when=asyncio.FIRST_COMPLETED)

    def _must_not_be_main(self, what: str) -> None:
        if self.name == MAIN:
            raise ValueError(f"the scenario itself cannot be {what}: give it a process with sim.process()")
