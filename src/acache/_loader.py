"""Run loads: in their slot, within their time, in their own context, measured."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from msgspec import structs

from acache._answers import CONFUSED, answering
from acache._batching import Batch
from acache._deadlines import Deadline
from acache._loading import LOADING, NOT_MODIFIED, Loading, current
from acache._policy import Failed, Loaded, Outcome, settle, unique
from acache._process import CacheFlight, Call, Group, Process, log
from acache._singleflight import Node, begin, begun, copied
from acache._slots import Slots
from acache._stats import Tally
from acache.errors import LoadCancelled, LoadTimeout
from acache.events import Event, LoadEnded, LoadFailed, LoadStarted, RefreshFailed

_SHOWN: Final = 3  # keys of a batch that an error names

Landed = Callable[[CacheFlight, Outcome], object]
"""Takes the outcome of one flight; must not raise."""


def failure_of(error: BaseException, key: str) -> BaseException | None:
    """Return what those who wait for a load get for *error*; None if it ends the task, not the load.

    Test runners and other libraries have errors that are no `Exception`: they are errors all the same."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return None
    if not isinstance(error, asyncio.CancelledError):
        return error
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        cancelled = LoadCancelled(f"the load of {key!r} was cancelled from within")
        cancelled.__cause__ = error
        return cancelled
    return None


def _described(function: str, keys: Sequence[str]) -> str:
    """Say which batch it was: its function and its first keys."""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{function}: {', '.join(keys[:_SHOWN])}{more}"


class Loader:
    """Turns a flight's call into an outcome. Errors are outcomes; cancellation comes out."""

    __slots__ = ("_landed", "_process", "_told_of", "_waiters")

    def __init__(self, process: Process, landed: Landed | None = None) -> None:
        """Load on behalf of *process*.

        *landed* takes the outcomes of flights that are loaded together; None: `load_in_group` does."""
        self._process = process
        self._landed = landed or self._wake
        self._waiters: dict[CacheFlight, asyncio.Future[Outcome]] = {}
        self._told_of: set[str] = set()  # functions that answer with other ids than were asked for

    async def load(self, flight: CacheFlight) -> Outcome:
        """Run the loader of one flight."""
        load = flight.call.load
        assert load is not None  # noqa: S101 - flights of a group are loaded together
        said = Loading(current(flight.old, self._process.clock.monotonic()), flight.call.tags)
        outcome = await self._run(
            flight, load, flight.call, said, nested=flight.nested, key=flight.key, keys=(flight.key,)
        )
        return self.note(flight, outcome)

    async def afresh(self, key: str, call: Call) -> Outcome:
        """Run the loader of *call* beside the cache, to see what it brings now; counted in no figure."""

        async def load_one(group: Group) -> object:
            found = await begin(lambda: group.load([call.id]), call.tally.name)
            return self._known(answering(found, [call.id], group.text)(call.id), call)

        load = call.load if call.group is None else partial(load_one, call.group)
        assert load is not None  # noqa: S101 - a call has a load or a group
        apart = structs.replace(call, tally=Tally(call.tally.name))
        said = Loading(None, call.tags)
        return await self._run(Node(), load, apart, said, nested=False, key=key, keys=(key,))

    # --- loads of a group: one for the flights of a tick ---

    def join_batch(self, flight: CacheFlight) -> None:
        """Have the flight's id loaded with others of this tick; `landed` gets its outcome."""
        call = flight.call
        group = call.group
        assert group is not None  # noqa: S101 - only flights of a group come here
        flight.batch = batch = self._process.loads.add(group.identity, self, call.id, flight)
        if flight.nested:
            batch.nested = True

    async def carry(self, batch: Batch[Any, CacheFlight, Outcome], items: Sequence[Any]) -> Outcome:
        """Run a batch loader once, for these ids; the outcome's value says what the value of an id is."""
        call = next(iter(batch)).call
        group = call.group
        assert group is not None  # noqa: S101 - only flights of a group come here

        name = group.name or call.tally.name
        keys = tuple([flight.key for flight in batch])

        async def load() -> object:
            found: object = await begin(lambda: group.load(items), name)
            if not issubclass(type(found), Mapping):
                kind = type(found).__name__
                raise TypeError(f"{name} must return a mapping from id to value, not {kind}")
            return found

        what = _described(name, keys)
        outcome = await self._run(batch, load, call, Loading(), nested=batch.nested, key=what, keys=keys)
        if isinstance(outcome, Failed):
            return outcome
        value_of = answering(cast("Mapping[Any, Any]", outcome.value), items, group.text)
        return structs.replace(outcome, value=value_of)

    def land(
        self, batch: Batch[Any, CacheFlight, Outcome], answer: Outcome | None, error: Exception | None
    ) -> None:
        """Hand each flight its outcome in what the batch brought."""
        if not isinstance(answer, Loaded):
            self._fail(batch, error if answer is None else answer.error)
            return
        landed = self._landed
        born, delta, ttl, late, skip = answer.born, answer.delta, answer.ttl, answer.tags, answer.skip
        value_of = cast("Callable[[object], object]", answer.value)  # `carry` has made it
        for flight in batch:
            call = flight.call
            try:
                value = value_of(call.id)
                if value is CONFUSED:
                    value = self._known(value, call)
            except Exception as problem:  # noqa: BLE001 - of the mapping that the loader returned
                landed(flight, self.note(flight, Failed(error=problem)))
                continue
            tags = unique((*call.tags, *late)) if late else call.tags
            landed(flight, Loaded(value=value, born=born, delta=delta, ttl=ttl, tags=tags, skip=skip))

    def _fail(self, batch: Batch[Any, CacheFlight, Outcome], error: BaseException | None) -> None:
        trace, several = None if error is None else error.__traceback__, batch.waiting > 1
        for flight in batch:
            if error is None:
                said = f"the batch load of {flight.key!r} was cancelled, or its cache was closed"
                own: BaseException = LoadCancelled(said)
            else:
                # Each flight raises an error of its own, or at least from where this one came.
                own = (copied(error) if several else error).with_traceback(trace)
            self._landed(flight, self.note(flight, Failed(error=own)))

    async def load_in_group(self, flight: CacheFlight) -> Outcome:
        """Return the outcome of one flight whose id is loaded with others, for a driver that waits."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiters[flight] = waiter
        try:
            self.join_batch(flight)
            return await waiter
        except asyncio.CancelledError:
            if not flight.abandoned and flight.batch is not None:  # else it has left already
                flight.batch.leave()
            raise
        finally:
            del self._waiters[flight]

    def _wake(self, flight: CacheFlight, outcome: Outcome) -> None:
        waiter = self._waiters.get(flight)
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)

    def _known(self, value: object, call: Call) -> object:
        """Return *value*, None for an answer to another id; say so once for each function."""
        if value is not CONFUSED:
            return value
        name = call.tally.name
        if name not in self._told_of:
            self._told_of.add(name)
            log.warning(
                "%s answered an id of type %s by one of another type or text, which does not count:"
                " return the ids that were asked for",
                name,
                type(call.id).__name__,
            )
        return None

    # --- one load ---

    def _run(
        self,
        node: Node,
        load: Callable[[], Awaitable[object]],
        call: Call,
        said: Loading,
        *,
        nested: bool,
        key: str,
        keys: Iterable[str],
    ) -> Coroutine[Any, Any, Outcome]:
        """Run *load*; a plain function, for a load that needs no slot is a coroutine less deep."""
        slots = self._process.slots
        if slots is None or nested:
            return self._timed(load, call, said, key, keys)
        return self._in_slot(slots, node, load, call, said, key, keys)

    async def _in_slot(
        self,
        slots: Slots,
        node: Node,
        load: Callable[[], Awaitable[object]],
        call: Call,
        said: Loading,
        key: str,
        keys: Iterable[str],
    ) -> Outcome:
        try:
            async with slots.taken(node):
                return await self._timed(load, call, said, key, keys)
        except BaseException as error:  # noqa: BLE001 - what ends the task comes out again
            return self._failed(error, call, key)

    async def _timed(
        self,
        load: Callable[[], Awaitable[object]],
        call: Call,
        said: Loading,
        key: str,
        keys: Iterable[str],
    ) -> Outcome:
        process, tally = self._process, call.tally
        limit = call.policy.max_load_time
        token = LOADING.set(said)
        born = process.clock.monotonic()
        tally.loads += 1
        deadline = Deadline(process.deadlines, limit)
        try:
            with deadline:
                if process.observers:
                    value = await self._told(load, key, tally.name, tuple(keys))
                else:
                    value = await begun(load, key)
            tags = said.all_tags
        except BaseException as error:  # noqa: BLE001 - what ends the task comes out again
            if deadline.expired and isinstance(error, TimeoutError):
                said_so = f"the load of {key!r} took longer than max_load_time={limit:g} s and was cancelled"
                late = LoadTimeout(said_so)
                late.__cause__ = error
                return self._failed(late, call, key)
            return self._failed(error, call, key)
        finally:
            said.over = True
            LOADING.reset(token)
        delta = process.clock.monotonic() - born
        tally.load_time.add(delta)
        return Loaded(
            value=value,
            born=born,
            delta=delta,
            ttl=said.ttl,
            tags=tags,
            skip=said.skipped,
            not_modified=value is NOT_MODIFIED,
        )

    def _failed(self, error: BaseException, call: Call, key: str) -> Failed:
        """Count a load that failed; an error that ends the task, and not only the load, comes out."""
        failure = failure_of(error, key)
        if failure is None:
            raise error
        call.tally.errors += 1
        return Failed(error=failure)

    async def _told(
        self, load: Callable[[], Awaitable[object]], key: str, function: str, keys: tuple[str, ...]
    ) -> object:
        """Run *load* and tell of its start and, whatever it is, of its end."""
        process, kind = self._process, None
        process.emit(LoadStarted(function=function, keys=keys))
        started = process.clock.monotonic()
        try:
            return await begun(load, key)
        except BaseException as error:
            kind = type(error).__name__
            raise
        finally:
            seconds = process.clock.monotonic() - started
            process.emit(LoadEnded(function=function, keys=keys, seconds=seconds, error=kind))

    def note(self, flight: CacheFlight, outcome: Outcome) -> Outcome:
        """Tell of a failed outcome; hand it on."""
        if isinstance(outcome, Failed):
            call, error = flight.call, outcome.error
            name, kind = call.tally.name, type(error).__name__
            if flight.refresh and flight.kept and not flight.waiting:
                event: Event = RefreshFailed(function=name, key=flight.key, error=kind, cause=error)
            else:
                now = self._process.clock.monotonic()
                stale = settle(outcome, flight.old, now=now, policy=call.policy).stale
                event = LoadFailed(function=name, key=flight.key, error=kind, served_stale=stale, cause=error)
            self._process.emit(event)
        return outcome
