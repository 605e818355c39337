"""Hold what one simulated process has ready and when its timers go off. Decides nothing about order."""

import asyncio
import enum
import heapq
import math
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

MAIN: Final = "main"
"""The process that runs the scenario."""


class LaneState(enum.Enum):
    """Whether the turns of a lane may be run."""

    RUNNING = "running"
    PAUSED = "paused"
    KILLED = "killed"


class Strand:
    """One line of execution: a task, or the plain callbacks of a lane. Labelled by its first appearance."""

    __slots__ = ("index", "is_task", "label", "lane")

    def __init__(self, index: int, label: str, lane: "Lane", *, is_task: bool) -> None:
        self.index = index
        self.label = label
        self.lane = lane
        self.is_task = is_task


class ReadyTurn:
    """A handle of the event loop that could be run now."""

    __slots__ = ("arrival", "handle", "strand")

    def __init__(self, arrival: int, strand: Strand, handle: asyncio.Handle) -> None:
        self.arrival = arrival
        self.strand = strand
        self.handle = handle


class Lane:
    """The ready queue and timers of one process.

    Plain callbacks keep their order, and no task step overtakes a plain callback that was queued before it,
    as in an ordinary loop. A callback may come before older task steps: those were merely slow."""

    def __init__(self, name: str, next_number: Callable[[], int]) -> None:
        self.name = name
        self.state = LaneState.RUNNING
        self._next_number = next_number
        self._callback_strand = Strand(next_number(), f"{name}/callbacks", self, is_task=False)
        self._callbacks: deque[ReadyTurn] = deque()
        self._steps: list[ReadyTurn] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []

    def add_callback(self, handle: asyncio.Handle) -> None:
        """Queue a plain callback behind the others."""
        self._callbacks.append(ReadyTurn(self._next_number(), self._callback_strand, handle))

    def add_step(self, strand: Strand, handle: asyncio.Handle) -> None:
        """Queue a task step.

        Steps are kept in the order of their strands, not of arrival: a loop over a set of tasks wakes them in
        the order of their addresses, which no seed governs."""
        turn = ReadyTurn(self._next_number(), strand, handle)
        at = len(self._steps)
        while at and self._steps[at - 1].strand.index > strand.index:
            at -= 1
        self._steps.insert(at, turn)

    def add_timer(self, handle: asyncio.TimerHandle) -> None:
        """Keep a timer until `release` finds it due."""
        heapq.heappush(self._timers, (handle.when(), self._next_number(), handle))

    def next_timer(self) -> float | None:
        """Return when the next timer is due, or None without one."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        due = self._timers[0][0] if self._timers else math.inf
        return due if due < math.inf else None  # sleep(inf) waits for a cancellation, not for a time

    def release(self, until: float) -> None:
        """Queue the callbacks of all timers due by *until*, earliest first, equal ones as they were set."""
        while self._timers and self._timers[0][0] <= until:
            self.add_callback(heapq.heappop(self._timers)[2])

    def offer(self, ready: list[ReadyTurn]) -> None:
        """Append the turns that may be run next to *ready*."""
        while self._callbacks and self._callbacks[0].handle.cancelled():
            self._callbacks.popleft()
        if not self._callbacks:
            ready += self._steps
            return
        first = self._callbacks[0]
        ready.append(first)
        ready += [step for step in self._steps if step.arrival < first.arrival]

    def take(self, turn: ReadyTurn) -> asyncio.Handle:
        """Remove an offered turn and return its handle."""
        if turn.strand is self._callback_strand:
            self._callbacks.popleft()
        else:
            self._steps.remove(turn)
        return turn.handle


CURRENT_LANE: Final[ContextVar[Lane]] = ContextVar("acache_testing_lane")
"""Which process the running code belongs to; inherited by its tasks and callbacks like any context
variable."""
