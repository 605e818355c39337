"""Bound the real time of a simulation, even when its code never awaits. Knows the loop by one method."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Overdue(BaseException):
    """The schedule took too long in real time. Not an Exception, so that ordinary handlers let it through."""


class Interruptible(Protocol):
    """What the watchdog stops."""

    def interrupt(self, error: BaseException) -> None:
        """Raise *error* before running anything more."""
        ...


@contextmanager
def watchdog(loop: Interruptible, seconds: float) -> Generator[None]:
    """Interrupt *loop* with Overdue after *seconds* of real time.

    In the main thread, when nobody else uses SIGALRM, a step that never awaits is interrupted too; elsewhere
    a timer thread can only stop the loop between two turns."""
    guard = _by_signal if _signal_is_free() else _by_thread
    with guard(loop, seconds):
        yield


def _signal_is_free() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and hasattr(signal, "SIGALRM")
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    )


@contextmanager
def _by_signal(loop: Interruptible, seconds: float) -> Generator[None]:
    def ring(_signal: int, frame: FrameType | None) -> None:
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "nowhere"
        error = Overdue(f"still running after {seconds} s of real time, at {where}")
        loop.interrupt(error)
        raise error

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # rings again in case somebody caught it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _by_thread(loop: Interruptible, seconds: float) -> Generator[None]:
    error = Overdue(f"still running after {seconds} s of real time")
    timer = threading.Timer(seconds, loop.interrupt, (error,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
