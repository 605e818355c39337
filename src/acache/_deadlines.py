"""End what takes too long, with one timer for all that runs in a loop. Knows no load and no key.

A timer for each load would cost more than many a load itself, and stay in the loop until its time comes.
Here those that have the same time stand in line in the order in which they began, which is also that in
which they are due; the one timer is set for the first of all. Who ends in time only leaves the line: the
timer that finds nobody due is set anew, or not at all."""

import asyncio
from contextvars import Context
from math import inf
from types import TracebackType
from typing import Protocol, Self


class Expiring(Protocol):
    """What has a time by which it is over."""

    at: float  # of the loop's clock

    def expire(self) -> None:
        """End: the time is up."""
        ...


class Deadline:
    """What `asyncio.timeout` is, without a timer of its own: `with` it, the current task has so many seconds.

    TimeoutError comes out of the block when the time was up; a cancellation by others stays one."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "at", "expired", "limit")

    def __init__(self, deadlines: "Deadlines", limit: float | None) -> None:
        """Give *limit* seconds from the block's start; None: as long as it takes."""
        self._deadlines = deadlines
        self.limit = limit
        self.at = inf
        self.expired = False

    def __enter__(self) -> Self:
        """Start."""
        if self.limit is not None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - it runs in one
            self._task = task
            self._cancelling = task.cancelling()
            self._deadlines.add(self, self.limit)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, in time or not."""
        if self.expired:
            if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error
        elif self.limit is not None:
            self._deadlines.leave(self, self.limit)

    def expire(self) -> None:
        """Cancel the task: its time is up."""
        self.expired = True
        self._task.cancel()


class Deadlines:
    """The deadlines of one event loop."""

    __slots__ = ("_context", "_lines", "_loop", "_timer", "_wakes")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        """Have none. The timer runs in *context*: it must not hold on to that of a load."""
        self._loop = loop
        self._context = context
        self._lines: dict[float, dict[Expiring, None]] = {}  # by their length; none is empty
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = inf

    def add(self, deadline: Expiring, limit: float) -> None:
        """Expire *deadline* in *limit* seconds, unless it leaves before."""
        deadline.at = self._loop.time() + limit
        self._lines.setdefault(limit, {})[deadline] = None
        if deadline.at < self._wakes:
            self._set(deadline.at)

    def leave(self, deadline: Expiring, limit: float) -> None:
        """Forget *deadline*, which has not expired."""
        line = self._lines[limit]
        del line[deadline]
        if not line:
            del self._lines[limit]

    def close(self) -> None:
        """Expire at once what is left: its time will not come."""
        self._stop()
        for limit, line in list(self._lines.items()):
            for deadline in list(line):
                self.leave(deadline, limit)
                deadline.expire()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes = None, inf

    def _set(self, at: float) -> None:
        self._stop()
        self._wakes = at
        self._timer = self._loop.call_at(at, self._expire, context=self._context)

    def _expire(self) -> None:
        # A loop may call a little early, by the resolution of its clock: what it was set for is due.
        now = max(self._loop.time(), self._wakes)
        self._timer, self._wakes = None, inf
        for limit, line in list(self._lines.items()):
            for deadline in list(line):
                if deadline.at > now:
                    break
                self.leave(deadline, limit)
                deadline.expire()
        if self._lines:
            self._set(min(next(iter(line)).at for line in self._lines.values()))
