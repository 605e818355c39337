"""Run loads: in their slot, within their time, in their own context, measured."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
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
from acache._stats import Tally
from acache.errors import LoadCancelled, LoadTimeout
from acache.events import Event, LoadEnded, LoadFailed, LoadStarted, RefreshFailed

UNTOLD: Final = nullcontext()

Take = Callable[[CacheFlight], Outcome]
"""Takes one flight's outcome from the answer of a batch."""


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


class Loader:
    """Turns a flight's call into an outcome. Errors are outcomes; cancellation comes out."""

    __slots__ = ("_process", "_told_of")

    def __init__(self, process: Process) -> None:
        """Load on behalf of *process*."""
        self._process = process
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

    async def load_many(self, batch: Batch[Any, Any], ids: Sequence[Any], call: Call) -> Take:
        """Run a batch loader once; return how to take one flight's outcome from its answer."""
        group = call.group
        assert group is not None  # noqa: S101 - only flights of a group come here
        said = Loading()

        async def load() -> object:
            found: object = await begin(lambda: group.load(ids), call.tally.name)
            if not issubclass(type(found), Mapping):
                kind = type(found).__name__
                raise TypeError(f"{call.tally.name} must return a mapping from id to value, not {kind}")
            return found

        outcome = await self._run(
            batch,
            load,
            call,
            said,
            nested=batch.nested,
            key=call.tally.name,
            keys=tuple(batch.names.values()),
        )
        if isinstance(outcome, Failed):
            failed, trace = outcome.error, outcome.error.__traceback__

            def fail(_: CacheFlight) -> Outcome:
                # Each flight raises an error of its own, or at least from where this one came.
                error = copied(failed) if batch.waiting > 1 else failed
                return Failed(error=error.with_traceback(trace))

            return fail
        late = outcome.tags
        value_of = answering(cast("Mapping[Any, Any]", outcome.value), ids, group.text)

        def take(flight: CacheFlight) -> Outcome:
            return Loaded(
                value=self._known(value_of(flight.call.id), flight.call),
                born=outcome.born,
                delta=outcome.delta,
                ttl=outcome.ttl,
                tags=unique((*flight.call.tags, *late)) if late else flight.call.tags,
                skip=outcome.skip,
            )

        return take

    def join_batch(self, flight: CacheFlight, landed: Callable[[Outcome], None]) -> Batch[Any, Any]:
        """Have the flight's id loaded with others of this tick; *landed* gets its outcome."""
        call = flight.call
        assert call.group is not None  # noqa: S101 - only flights of a group come here

        # Made for each of many flights: a closure would evaluate its annotations each time.
        send = partial(self.load_many, call=call)
        one = partial(self._landed, flight, landed)
        batch = self._process.loads.add(call.group.identity, send, call.id, one, name=flight.key)
        batch.nested = batch.nested or flight.nested
        flight.waits_for.append(batch)
        return batch

    def _landed(
        self,
        flight: CacheFlight,
        landed: Callable[[Outcome], None],
        take: Take | None,
        error: Exception | None,
    ) -> None:
        """Hand *landed* the flight's outcome in a batch's answer."""
        outcome: Outcome
        if take is None:
            cancelled = f"the batch load of {flight.key!r} was cancelled, or its cache was closed"
            outcome = Failed(error=error or LoadCancelled(cancelled))
        else:
            try:
                outcome = take(flight)
            except Exception as problem:  # noqa: BLE001 - of the mapping that the loader returned
                outcome = Failed(error=problem)
        landed(self.note(flight, outcome))

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

    async def load_in_group(self, flight: CacheFlight) -> Outcome:
        """Return the outcome of one flight whose id is loaded with others."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def landed(outcome: Outcome) -> None:
            if not waiter.done():
                waiter.set_result(outcome)

        batch = self.join_batch(flight, landed)
        try:
            return await waiter
        except asyncio.CancelledError:
            batch.leave()
            raise

    async def _run(
        self,
        node: Node,
        load: Callable[[], Awaitable[object]],
        call: Call,
        said: Loading,
        *,
        nested: bool,
        key: str,
        keys: tuple[str, ...],
    ) -> Outcome:
        slots = self._process.slots
        try:
            if slots is None or nested:
                loaded = await self._timed(load, call, said, key=key, keys=keys)
            else:
                async with slots.taken(node):
                    loaded = await self._timed(load, call, said, key=key, keys=keys)
        except BaseException as error:
            failure = failure_of(error, key)
            if failure is None:
                raise
            call.tally.errors += 1
            return Failed(error=failure)
        call.tally.load_time.add(loaded.delta)
        return loaded

    async def _timed(
        self,
        load: Callable[[], Awaitable[object]],
        call: Call,
        said: Loading,
        *,
        key: str,
        keys: tuple[str, ...],
    ) -> Loaded:
        process = self._process
        limit = call.policy.max_load_time
        token = LOADING.set(said)
        born = process.clock.monotonic()
        call.tally.loads += 1
        deadline = Deadline(process.deadlines, limit)
        try:
            with deadline, self._told(call.tally.name, keys) if process.observers else UNTOLD:
                value = await begun(load, key)
        except TimeoutError as error:
            if not deadline.expired:
                raise
            message = f"the load of {key!r} took longer than max_load_time={limit:g} s and was cancelled"
            raise LoadTimeout(message) from error
        finally:
            said.over = True
            LOADING.reset(token)
        return Loaded(
            value=value,
            born=born,
            delta=process.clock.monotonic() - born,
            ttl=said.ttl,
            tags=said.all_tags,
            skip=said.skipped,
            not_modified=value is NOT_MODIFIED,
        )

    @contextmanager
    def _told(self, function: str, keys: tuple[str, ...]) -> Generator[None]:
        """Tell of a load's start and, whatever it is, of its end."""
        process, error = self._process, None
        process.emit(LoadStarted(function=function, keys=keys))
        started = process.clock.monotonic()
        try:
            yield
        except BaseException as problem:
            error = type(problem).__name__
            raise
        finally:
            seconds = process.clock.monotonic() - started
            process.emit(LoadEnded(function=function, keys=keys, seconds=seconds, error=error))

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
