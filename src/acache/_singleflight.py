"""One running call per key in this process, shared by its waiters. Knows nothing of caching.

A flight is where callers meet: each waits on a future of its own, so that cancelling one touches
nobody else (P3), and each gets the error, if there is one, as if it alone had called (P4). Who
drives a flight - a task, a batch - lands it once, synchronously.

A flight is registered before anything runs and forgotten by identity before its waiters wake:
nobody can join one that is over. Flights that are waited for from inside a load form a graph; a
wait that would close a cycle is refused (`RecursiveLoad`) instead of hanging."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, cast

from msgspec import Struct

from acache.errors import LoadCancelled, LoadTimeout, NoRunningLoop, RecursiveLoad, WrongLoop

T = TypeVar("T")

INSIDE: Final[ContextVar["Node | None"]] = ContextVar("acache_inside", default=None)
"""The innermost flight or batch whose load the current code is part of."""


class Node(Struct, eq=False, kw_only=True):
    """Something that runs and may wait for flights. Built in C: every load makes one."""

    waits_for: list["Node"] = []
    nested: bool = False  # started or awaited inside a load: it runs in that one's slot
    over: bool = False

    def awaited(self) -> Iterable["Node"]:
        """What it waits for now."""
        return self.waits_for

    def reaches(self, goal: "Node") -> bool:
        """Say whether this node waits, directly or through others, for *goal*."""
        todo: list[Node] = [self]
        seen: set[Node] = {self}
        while todo:
            node = todo.pop()
            if node is goal:
                return True
            news = [other for other in node.awaited() if not other.over and other not in seen]
            seen.update(news)
            todo += news
        return False


class Flight(Node, Generic[T], eq=False):
    """One running call of a key."""

    key: str
    registry: "Flights[Any]"
    abandoned: bool = False  # its last waiter left before the end
    kept: bool = False  # goes on although nobody waits
    _cancel: Callable[[], object] | None = None
    _waiter: asyncio.Future[None] | None = None  # most flights have one waiter, and need no dict for it
    _more: dict[asyncio.Future[None], None] = {}
    _value: T | None = None
    _error: BaseException | None = None
    _trace: TracebackType | None = None
    _context: BaseException | None = None
    _shared: bool = False  # several want the error: each gets a copy

    def __repr__(self) -> str:
        """Show the key but never the value, which may be secret."""
        return f"<{type(self).__name__} {self.key!r}>"

    @property
    def waiting(self) -> int:
        """How many callers wait now."""
        return len(self._more) + (self._waiter is not None)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self._error is not None

    # --- the driver's side: plain functions ---

    def driven_by(self, cancel: Callable[[], object]) -> None:
        """Name what ends the call early once nobody waits for it."""
        self._cancel = cancel

    def land(self, value: T) -> None:
        """End with a value: forget the flight, wake its waiters. Only the first landing counts."""
        if not self.over:
            self._value = value
            self._end()

    def crash(self, error: BaseException) -> None:
        """End with an error, like `land`."""
        if not self.over:
            self._error = error
            self._trace = error.__traceback__
            self._context = error.__context__
            self._shared = self.waiting > 1
            self._end()

    def _end(self) -> None:
        self.over = True
        self.registry.forget(self)
        self._cancel = None
        first, self._waiter = self._waiter, None
        if first is not None and not first.done():
            first.set_result(None)
        for waiter in self._more:
            if not waiter.done():
                waiter.set_result(None)
        self._more.clear()

    # --- the callers' side ---

    def result(self) -> T:
        """Return the value, or raise the error, of a flight that is over."""
        if self._error is not None:
            error = copied(self._error) if self._shared else self._error
            self._shared = True
            error.__context__ = self._context  # not what another, who raised it before, was handling
            raise error.with_traceback(self._trace)
        return cast("T", self._value)

    async def join(self, timeout: float | None = None) -> T:
        """Wait for the result.

        Raises what the call raised, LoadTimeout after *timeout* seconds (the call goes on), and
        RecursiveLoad if waiting could never end. Cancelling the caller is private to it; the call
        itself is cancelled when its last waiter was."""
        if not self.over:
            waiter = self.enlist()
            try:
                if timeout is None:
                    await waiter
                else:
                    await self._wait(waiter, timeout)
            finally:
                self.leave(waiter)
        return self.result()

    def enlist(self) -> asyncio.Future[None]:
        """Count one more waiter; the future is done when the flight is over. Pair with `leave`."""
        parent = INSIDE.get()
        if parent is not None:
            if self.reaches(parent):
                raise RecursiveLoad(f"the load of {self.key!r} waits for its own result")
            parent.waits_for.append(self)
        waiter: asyncio.Future[None] = self.registry.loop.create_future()
        if self._waiter is None:
            self._waiter = waiter
        else:
            self._more[waiter] = None
        return waiter

    def leave(self, waiter: asyncio.Future[None]) -> None:
        """Count one waiter less; the last one to go before the end cancels the call."""
        parent = INSIDE.get()
        if parent is not None:
            parent.waits_for.remove(self)
        # Once over, the waiters have been taken off already.
        if not self.over:
            if self._waiter is waiter:
                self._waiter = None
            else:
                self._more.pop(waiter, None)
            if self._waiter is None and not self._more and not self.kept:
                self.abandon()

    async def _wait(self, waiter: asyncio.Future[None], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            if self.over:
                return
            self.kept = True
            raise LoadTimeout(f"{self.key!r} was not loaded within {timeout:g} s; the load goes on") from None

    def abandon(self) -> None:
        """Cancel the call and forget the flight at once.

        A task that is cancelled before its first step never runs, and a caller who comes now must
        not join it."""
        self.abandoned = True
        self.registry.forget(self)
        if self._cancel is not None:
            self._cancel()


F = TypeVar("F", bound=Flight[Any])


class Flights(Generic[F]):
    """The flights of one event loop, by key."""

    __slots__ = ("_running", "get", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start with none."""
        self.loop = loop
        self._running: dict[str, F] = {}
        self.get: Final[Callable[[str], F | None]] = self._running.get
        """Return the flight of a key that can be joined."""

    def add(self, flight: F) -> None:
        """Register *flight*; later callers of its key find it."""
        self._running[flight.key] = flight

    def forget(self, flight: Flight[Any]) -> None:
        """Let later callers of the key start anew; never forgets a successor."""
        if self._running.get(flight.key) is flight:
            del self._running[flight.key]

    def __iter__(self) -> Iterator[F]:
        """Iterate over a snapshot."""
        return iter(list(self._running.values()))

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)


async def join_all(flights: Iterable[Flight[Any]], timeout: float | None = None) -> None:
    """Wait until all *flights* are over, at most *timeout* seconds; then look at each `result`.

    Those that are not over by then go on. Cancelling leaves them all, as `join` leaves one."""
    joined: list[tuple[Flight[Any], asyncio.Future[None]]] = []
    try:
        for flight in flights:
            if not flight.over:  # not a comprehension: those enlisted must leave if one refuses
                joined.append((flight, flight.enlist()))  # noqa: PERF401
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for _, waiter in joined:
                    await waiter
                return
        for flight, _ in joined:
            flight.kept = True
    finally:
        for flight, waiter in joined:
            flight.leave(waiter)


def launch(
    flight: Flight[T],
    run: Callable[[], Coroutine[Any, Any, T]],
    *,
    context: Context,
    tasks: set[asyncio.Task[Any]],
) -> None:
    """Drive *flight* by a task of its own that lands it with what *run* returns or raises.

    The task is among its owner's *tasks* until it ends. The flight is already registered: an eager task
    may finish before this returns."""
    context.run(INSIDE.set, flight)
    task = flight.registry.loop.create_task(_drive(flight, run), context=context)
    if not flight.over:
        flight.driven_by(task.cancel)
    if not task.done():
        tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            tasks.discard(task)
            if not flight.over:  # the net under a task that is cancelled before its first step
                flight.crash(_cancelled(flight.key))

        task.add_done_callback(ended)


async def _drive(flight: Flight[T], run: Callable[[], Coroutine[Any, Any, T]]) -> None:
    try:
        value = await run()
    except (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit):  # they end the task
        flight.crash(_cancelled(flight.key))
        raise
    except BaseException as error:  # noqa: BLE001 - it goes to those who wait
        flight.crash(error)
    else:
        flight.land(value)


def _cancelled(key: str) -> LoadCancelled:
    return LoadCancelled(f"the load of {key!r} was cancelled from within, or its cache was closed")


# --- errors shared by many --------------------------------------------------------------------------

# Their state lives in C, beyond `args` and `__dict__`: a copy would lose it.
_UNCOPYABLE: Final = (UnicodeError, ImportError, SyntaxError, AttributeError, NameError)


def copied(error: BaseException) -> BaseException:
    """Return a copy of *error* for one more waiter to raise, or *error* where copying is not safe.

    One object raised in many tasks would collect the frames and notes of all of them. The copy is
    made without calling the class's `__init__`, which may want other arguments or have effects."""
    kind = type(error)
    if isinstance(error, _UNCOPYABLE) or any("__slots__" in vars(base) for base in kind.__mro__[:-1]):
        return error
    try:
        if isinstance(error, OSError):  # it takes more than it leaves in `args`, some classes in __init__
            args = OSError.__reduce__(error)[1]
            copy: BaseException = kind.__new__(kind, *args)
            OSError.__init__(cast("OSError", copy), *args)
        else:
            copy = kind.__new__(kind, *error.args)
        copy.__dict__.update(error.__dict__)
    except Exception:  # noqa: BLE001 - a class may forbid anything; the original always works
        return error
    if hasattr(error, "__notes__"):
        copy.__notes__ = list(error.__notes__)
    copy.__cause__ = error.__cause__
    copy.__context__ = error.__context__
    copy.__suppress_context__ = error.__suppress_context__
    return copy.with_traceback(error.__traceback__)


# --- standalone -------------------------------------------------------------------------------------


class Singleflight:
    """Run at most one call per key at a time; callers that come meanwhile share its result.

    Nothing is cached: the next call after the result runs anew. Usable in several event loops one
    after the other, and at import time."""

    __slots__ = ("_flights", "_tasks")

    def __init__(self) -> None:
        """Start with no calls."""
        self._flights: Flights[Flight[Any]] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, key: str, load: Callable[[], Awaitable[T]], *, timeout: float | None = None) -> T:
        """Return what *load* returns, joining a call of *key* that runs already.

        All callers get its error. Cancelling one caller is private to it; the call is cancelled
        when the last was. Raises LoadTimeout after *timeout* seconds (the call goes on),
        RecursiveLoad if the call waits for itself, WrongLoop if used from a second running loop."""
        flights = self._here()
        flight = flights.get(key)
        if flight is None:
            flight = Flight[T](key, flights)
            flights.add(flight)
            launch(flight, lambda: begin(load, key), context=copy_context(), tasks=self._tasks)
        return await flight.join(timeout)

    def forget(self, key: str) -> None:
        """Let the next caller of *key* start anew; those who wait still get the old result."""
        flight = self._flights.get(key) if self._flights is not None else None
        if flight is not None:
            flight.registry.forget(flight)

    def _here(self) -> Flights[Flight[Any]]:
        loop = running_loop()
        if self._flights is None or self._flights.loop is not loop:
            if self._flights is not None and len(self._flights):
                refuse_if_running(self._flights.loop)
            self._flights = Flights(loop)
            self._tasks = set()
        return self._flights


def begun(load: Callable[[], Awaitable[T]], name: str) -> Awaitable[T]:
    """Return what *load* does, to be awaited; TypeError for one that is not async, in its caller's words."""
    made = load()
    if not isawaitable(made):
        raise TypeError(
            f"the loader of {name!r} returned {type(made).__name__}, which cannot be awaited: pass an"
            " async function"
        )
    return made


async def begin(load: Callable[[], Awaitable[T]], name: str) -> T:
    """Return what *load* returns; TypeError as `begun`."""
    return await begun(load, name)


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop; NoRunningLoop says what is needed."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NoRunningLoop("acache awaits: call it from async code, or through asyncio.run()") from None


def refuse_if_running(loop: asyncio.AbstractEventLoop) -> None:
    """Raise WrongLoop if *loop*, which is not the current one, still runs."""
    if loop.is_running():
        raise WrongLoop("in use by another running event loop: make one cache (or Singleflight) per thread")
