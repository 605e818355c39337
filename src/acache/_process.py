"""What one cache holds in this process: entries, flights, tasks, figures. Plain functions only.

No function here awaits, so each is one step for everybody else: that is what makes an invalidation
and a running load meet in a defined order."""

import asyncio
import contextvars
import logging
import os
import random
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Protocol

from msgspec import Struct

from acache._background import Background
from acache._batching import Batch, Batcher
from acache._deadlines import Deadlines
from acache._entry import Entry
from acache._ledger import Ledger
from acache._loading import LOADING
from acache._near import Near
from acache._policy import FRESH, Outcome, Policy, Verdict
from acache._singleflight import Flight, Flights, Node, refuse_if_running, running_loop
from acache._slots import Slots
from acache._stats import SAMPLE_EVERY, Tally
from acache._text import Writer
from acache._types import Load, NewId
from acache.clock import Clock
from acache.errors import CacheClosed
from acache.events import Event, StoreFailed
from acache.protocols import LocalStore

log: Final = logging.getLogger("acache")

Observer = Callable[[Event], object]
LoadMany = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A batch loader with its further arguments: ids asked for in one tick go into one call."""

    identity: Hashable
    load: LoadMany  # async (ids) -> Mapping of those that exist
    name: str = ""  # of the loader, where the figures are not its own
    text: Writer | None = None  # writes an id as it stands in keys; None: the ids are keys


class Call(Struct, frozen=True, kw_only=True):
    """What one caller asks for: how to load a key and how long the value is good for."""

    policy: Policy
    tally: Tally
    load: Load | None = None
    group: Group | None = None  # instead of `load`: load `id` with others of its tick
    id: Hashable = None
    tags: tuple[str, ...] = ()
    type: object = Any


class Arrival(Struct, frozen=True, kw_only=True):
    """What a flight brings to its waiters."""

    value: Any
    tags: tuple[str, ...] = ()
    stale: bool = False
    entry: Entry | None = None  # found in the remote store, not loaded
    verdict: Verdict = FRESH  # on that entry


class Found(Struct, frozen=True, kw_only=True, gc=False):
    """What a look into the remote store found of a key, where it is no plain hit."""

    verdict: Verdict
    value: Any = None  # if it can be served now
    entry: Entry | None = None  # what can be served, now or if a load fails; not made where nobody asks
    data: bytes | None = None  # as it was found, good or not: who asks for the lease has seen it
    previous: tuple[str, ...] = ()  # the tags that it names
    wants: tuple[str, ...] = ()  # tags whose versions it takes to tell
    trusted: bool = True  # False: whatever is loaded now is not to be stored
    mark: int = 0  # of the near ledger, when it was asked for


class Verifying(Protocol):
    """Who checks hits in the background."""

    def elects(self, weight: int = 1) -> bool:
        """Draw whether a hit that stands for *weight* hits is to be checked."""
        ...

    def check(self, key: str, entry: Entry, call: Call) -> None:
        """Check what was just served of *key*."""
        ...


class CacheFlight(Flight[Arrival], eq=False, kw_only=True):
    """A flight of the cache: a load, or a look into the remote store that may become one."""

    call: Call
    mark: int  # of the drops: whether the load is void
    near_mark: int  # of all messages: whether its value may be put near
    old: Entry | None  # what stands meanwhile
    found: Found | None  # by the caller who began it; None: nobody has looked
    refresh: bool  # nobody needs its result: what stands can be served
    started: float
    tags: tuple[str, ...]  # also those of the old value, which is served if the load fails or is slow
    forced: bool = False  # somebody wants it loaded, whatever is stored
    elected: bool = False  # one waiter has been chosen to have the found entry refreshed
    lease_wait: float = 0.0  # seconds that another process's lease has held it up
    on_void: Callable[[], object] | None = None  # told once, when it becomes void
    batch: "Batch[Any, CacheFlight, Outcome] | None" = None  # that loads its id with others

    def awaited(self) -> Iterable[Node]:
        """What it waits for now."""
        return self.waits_for if self.batch is None else (*self.waits_for, self.batch)

    def abandon(self) -> None:
        """Cancel the call and forget the flight at once."""
        super().abandon()
        if self.batch is not None:
            self.batch.leave()


class Process:
    """The in-process half of a cache; usable before any loop runs, and in one loop after another."""

    def __init__(
        self,
        *,
        store: LocalStore | None,
        policy: Policy,
        clock: Clock,
        rng: random.Random | None,
        ids: NewId | None,
        max_loads: int | None,
        max_queue: int,
        inherit: tuple[contextvars.ContextVar[Any], ...],
    ) -> None:
        """Take the parts; nothing is opened."""
        self.near = Near(store)
        self.drops = Ledger()  # what makes a load void; the near ledger also knows what others stored
        self.policy = policy
        self.clock = clock
        self.rng = rng or random.Random()  # noqa: S311 - spreads refreshes, guards nothing
        self.owns_rng = rng is None
        self.ids: NewId = ids or _new_id
        self.max_loads = max_loads
        self.max_queue = max_queue
        self.inherit = inherit
        self.context = contextvars.copy_context()
        self.observers: list[Observer] = []
        self.tallies: dict[str, Tally] = {}
        self.closed = False
        self.max_join_age = inf  # seconds; older flights are joined only while near is trusted
        self.check_type: Callable[[object], object] | None = None  # refuses what the codec cannot serve
        self.verifier: Verifying | None = None  # None: no hit is checked
        self.sample_every = SAMPLE_EVERY  # hits of a generated path that one sampled hit stands for
        self.enabled = True  # False: nothing is read from the stores or put into them
        self.loop: asyncio.AbstractEventLoop | None = None
        self.pid = os.getpid()
        self.moved: list[Callable[[], object]] = []  # told when another loop takes over
        self.ending: list[Callable[[], object]] = []  # told when the cache closes, in its loop
        self.retry_at: dict[str, float] = {}
        self.misses: dict[str, str] = {}  # why the last reads missed, for explain

    @property
    def lookup(self) -> Callable[[str], Entry | None]:
        """The near store's lookup, or one that finds nothing."""
        store = self.near.store
        return _nothing if store is None or not self.enabled else store.lookup

    # --- the loop -----------------------------------------------------------------------------------

    def enter(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, having moved the cache to it if it is another than before.

        Raises NoRunningLoop, CacheClosed, and WrongLoop if the other one still runs."""
        loop = running_loop()
        if self.closed:
            raise CacheClosed("this cache was closed: open it again with `async with cache:`")
        if loop is not self.loop:
            self._move(loop)
        return loop

    def here(self) -> bool:
        """Say whether the running loop is the one that the cache is used in."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        self._refuse_second_loop()
        if self.pid != os.getpid():
            if self.loop is not None:
                _INHERITED.append(self.background)
            if self.owns_rng:
                self.rng.seed()
        self.pid = os.getpid()
        self.loop = loop
        self.flights: Flights[CacheFlight] = Flights(loop)
        self.background: Background = Background(loop)
        self.deadlines: Deadlines = Deadlines(loop, self.context)
        self.loads: Batcher[Any, CacheFlight, Outcome] = Batcher(
            loop=loop, keep=self.background.keep, context=self.load_context
        )
        self.slots = (
            None
            if self.max_loads is None
            else Slots(loop, max_loads=self.max_loads, max_queue=self.max_queue)
        )
        for moved in self.moved:
            moved()

    def _refuse_second_loop(self) -> None:
        if self.loop is not None and self.pid == os.getpid():  # a forked child only has its parent's
            refuse_if_running(self.loop)

    def close(self) -> bool:
        """Refuse further use, also to hits; say whether the running loop has something to end.

        Raises WrongLoop while another loop that uses the cache still runs."""
        here = running_loop() is self.loop
        if not here:
            self._refuse_second_loop()
        self.closed = True
        self.near.trusted_until = -inf
        if here:
            self.loads.close()
            for ending in self.ending:
                ending()
        return here

    def load_context(self) -> contextvars.Context:
        """Return the context for a load: the cache's own, with what `inherit_context` names."""
        context = self.context.copy()
        for variable in self.inherit:
            try:
                value = variable.get()
            except LookupError:
                continue
            context.run(variable.set, value)
        return context

    def draw(self) -> float:
        """Return a uniform number in (0, 1]: `random()` can be 0, whose logarithm is not a time."""
        return 1.0 - self.rng.random()

    # --- shared state -------------------------------------------------------------------------------

    def lend_slot(self, flight: CacheFlight) -> None:
        """Let *flight*, which a running load is about to wait for, run in that one's slot."""
        if self.slots is not None:
            for node in (flight, *flight.awaited()):
                node.nested = True
                self.slots.lend(node)

    def forget(
        self, keys: Sequence[str], tags: Sequence[str], *, spare: Container[str] = frozenset()
    ) -> None:
        """The synchronous pass of an invalidation; the entries of *spare* stay.

        Entries go, running flights are void (the ledger will say so when they end) and forgotten:
        who comes now starts anew, who waits gets the old result."""
        if not keys and not tags:
            return
        self.near.forget(keys, tags, spare=spare)
        self.drops.hear(keys, tags)
        if self.loop is None or not self.flights:
            return
        for key in keys:
            flight = self.flights.get(key)
            if flight is not None:
                self._void(flight)
        if tags:
            wanted = set(tags)
            for flight in self.flights:
                if not wanted.isdisjoint(flight.tags):
                    self._void(flight)

    def forget_near(self) -> None:
        """The synchronous pass of a gap in the feed: anything may have changed, nobody knows what.

        Nothing is held on to and nobody joins what runs. A load under a lease is not void for that:
        whether its value may be stored the remote store knows, which has missed nothing."""
        self.near.forget_everything()
        if self.loop is not None:
            for flight in self.flights:
                self.flights.forget(flight)

    def forget_everything(self) -> None:
        """The synchronous pass of `clear`."""
        self.near.forget_everything()
        self.drops.hear_everything()
        if self.loop is not None:
            for flight in self.flights:
                self._void(flight)

    def keep(self, key: str, entry: Entry, *, since: int, own: bool = False) -> bool:
        """Hold *entry* near if the one rule allows it, the old copy gone first if it is an *own* store.

        An error of the local store, or of its user's `weigh`, is told and fails nobody's read."""
        put = self.near.put_own if own else self.near.put
        try:
            return put(key, entry, since=since)
        except Exception as error:  # noqa: BLE001
            self.emit(StoreFailed(operation="put", error=type(error).__name__))
            return False

    def _void(self, flight: CacheFlight) -> None:
        self.flights.forget(flight)
        if flight.on_void is not None:
            flight.on_void()

    def current(self, flight: CacheFlight, tags: Iterable[str] = ()) -> bool:
        """Say whether nothing was heard of the flight's key and tags since it began.

        One that was abandoned may have a successor, whose value is newer."""
        drops = self.drops
        return not flight.abandoned and (
            drops.mark == flight.mark  # what is usual, and the whole answer
            or drops.quiet(flight.key, (*flight.tags, *tags), since=flight.mark)
        )

    def hold_off(self, key: str, until: float) -> None:
        """No other attempt to load *key* before *until* while an old value can be served."""
        if len(self.retry_at) >= MAX_HELD:
            now = self.clock.monotonic()
            self.retry_at = {key: at for key, at in self.retry_at.items() if at > now}
            if len(self.retry_at) >= MAX_HELD:
                self.retry_at.clear()
        self.retry_at[key] = until

    def note_miss(self, key: str, reason: str) -> None:
        """Remember, for the last keys, why a read of *key* missed."""
        if len(self.misses) >= MAX_HELD:
            self.misses.clear()
        self.misses[key] = reason

    # --- telling ------------------------------------------------------------------------------------

    def tally(self, name: str, ttl: float | None = None) -> Tally:
        """Return the running figures of *name*."""
        found = self.tallies.get(name)
        if found is None:
            found = self.tallies[name] = Tally(name, ttl=ttl)
        return found

    def emit(self, event: Event) -> None:
        """Hand *event* to every observer; an observer's error is logged and harms nobody."""
        for observer in tuple(self.observers):
            try:
                observer(event)
            except Exception:
                log.exception("an observer of the cache failed on %s", type(event).__name__)


MAX_HELD: Final = 4096
_INHERITED: Final[list[Background]] = []  # tasks of a parent process, kept: collecting one would end it


def inside_a_load() -> bool:
    """Say whether the current code is part of a load that runs."""
    load = LOADING.get()
    return load is not None and not load.over


def _nothing(_: str) -> None:
    return None


def _new_id() -> bytes:
    return os.urandom(16)
