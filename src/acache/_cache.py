"""`Cache`: the thin façade. Checks what callers hand in and passes it on."""

import random
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
    Sized,
)
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, Unpack, cast
from weakref import WeakSet

from acache._decorators import Cached, Wiring, wrap
from acache._engine import Engine
from acache._explain import Explanation, explain
from acache._given import check_load, check_template, checked, checked_tags, kind_of, names
from acache._health import Health
from acache._keys import Template
from acache._many import CachedMany, wrap_many
from acache._plans import Plans
from acache._policy import Options, Policy, entry_of, unique
from acache._process import Call, Group, Observer
from acache._settings import Settings, build
from acache._stats import Report, Stats, Tally, judge, total
from acache._types import NewId
from acache._writing import Fence, Writer
from acache.clock import SYSTEM_CLOCK, Clock
from acache.errors import ConfigurationError, DuplicateTemplate
from acache.protocols import Codec, LocalStore, RemoteStore

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

DIRECT = "direct calls"  # the row of stats that get, set and get_or_load count in


class Cache:
    """A cache: a local store, or a remote store, or both.

    Usable at import time, in several event loops one after the other, and after fork. One cache
    serves one thread at a time. `async with cache:` closes it at the end and opens it again."""

    def __init__(
        self,
        store: str | LocalStore | RemoteStore | None = None,
        *,
        near: str | LocalStore | bool | None = None,
        namespace: str = "default",
        policy: Policy | None = None,
        codec: str | Codec | None = None,
        signing_keys: Sequence[bytes] = (),
        max_loads: int | None = None,
        max_queue: int = 10_000,
        max_staleness: float = 5.0,
        max_ttl: float = 30 * 86_400.0,
        max_value_bytes: int = 16 * 1024 * 1024,
        failover_window: float = 30.0,
        wait_replicas: int = 0,
        verify: float = 0.0,
        inherit_context: Iterable[ContextVar[Any]] = (),
        on_lost_invalidation: Literal["retry", "raise"] = "retry",
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        ids: NewId | None = None,
    ) -> None:
        """Make a cache; nothing is connected and no event loop is needed.

        *store*: a URL such as "memory://?max_entries=100000", a store object, or None for a local
        store of 10,000 entries. *near*: a local store (a URL or an object) in front of a remote one;
        True for one of 10,000 entries. *namespace*: letters, digits, `_`, `.` and `-`; what keys and
        tags of this cache live in, and the name of its figures. *policy*: defaults for every call,
        anything but `ttl`. *codec*: how values become bytes: "msgpack" (the default), "json",
        "pydantic", "msgpack+zstd", "json+zstd", "pickle" (with `signing_keys` only), the name of a
        plugin's, or an object. *signing_keys*: secrets of at least 16 bytes; the first signs what is
        stored, all verify, and what is unsigned is refused.
        *max_loads*: loads of different keys that run at once in this process; None: any number.
        *max_queue*: loads that may wait for their turn under `max_loads`; one more is Overloaded.
        *max_staleness*: seconds that a near copy may lag behind the remote store. *max_ttl*: seconds
        that the remote store keeps an entry at most, also one of `ttl=None`. *max_value_bytes*: bytes
        of one encoded value at most; a larger one is served and not stored. *failover_window*: seconds;
        what was invalidated within them is invalidated again on a primary that took over, before
        anything is read from it. *wait_replicas*: replicas that an invalidation waits for, within the
        store's timeout. *verify*: the share of hits of functions and patterns whose load is run once
        more in the background to compare; what differs is an event `Inconsistent` and a line in the
        report. *inherit_context*: context variables that loads get from their first caller; they belong
        in the key. *on_lost_invalidation*: "raise" lets `invalidate` and `writing` raise
        InvalidationFailed where the remote store did not hear of it; it is retried in any case.
        *clock*: what tells the time, for tests. *rng*: where chance comes from, for tests. *ids*: makes
        16 unique bytes, for tests.

        Raises ConfigurationError and its kinds."""
        self._settings = Settings(
            store=store,
            near=near,
            namespace=namespace,
            policy=policy or Policy(),
            codec=codec,
            signing_keys=tuple(signing_keys),
            max_loads=max_loads,
            max_queue=max_queue,
            max_staleness=max_staleness,
            max_ttl=max_ttl,
            max_value_bytes=max_value_bytes,
            failover_window=failover_window,
            wait_replicas=wait_replicas,
            verify=verify,
            inherit_context=tuple(inherit_context),
            on_lost_invalidation=on_lost_invalidation,
            clock=clock,
            rng=rng,
            ids=ids,
        )
        del store, near, signing_keys  # where errors are reported with the variables of their frames
        self._wirings: WeakSet[Wiring] = WeakSet()
        self._owners: dict[tuple[type[Wiring], str], str] = {}  # which function has a template, by its shape
        self._typed_keys: dict[str, Template] = {}  # by shape: their annotations count in `key`
        self._typed_tags: dict[str, Template] = {}
        self._plans: Plans
        self._observers: list[Observer] = []
        self._engine: Engine
        self._connect(self._settings, build(self._settings))

    def _connect(self, settings: Settings, engine: Engine) -> None:
        try:
            for wiring in self._wirings:
                wiring.connect(engine)
        except Exception:  # one that these parts cannot serve: all stay as they were
            for wiring in self._wirings:
                wiring.connect(self._engine)
            raise
        self._settings = settings
        self._engine = engine
        self._plans = Plans(settings.policy)
        engine.process.observers = self._observers

    def configure(self, store: str | LocalStore | RemoteStore | None = None, **options: Any) -> None:
        """Set the cache up anew, before its first use; functions may be decorated already.

        Takes what the constructor takes; what is not named stays. Raises ConfigurationError once
        the cache is in use."""
        if self._engine.process.loop is not None:
            raise ConfigurationError("configure() must come before the cache is first used")
        if store is not None:
            options["store"] = store
        settings = self._settings.but(**options)
        del store, options  # as above
        self._connect(settings, build(settings))

    @contextmanager
    def _replaced(self, **options: Any) -> Generator[None]:
        """Serve from other parts while the block runs: what `acache.testing.override` does."""
        before, engine = self._settings, self._engine
        settings = before.but(**options)
        self._connect(settings, build(settings))
        try:
            yield
        finally:
            self._connect(before, engine)

    @contextmanager
    def disabled(self) -> Generator[None]:
        """Let every read go to its loader and store nothing while the block runs.

        Invalidations still reach the stores; loads are still coalesced."""
        process = self._engine.process
        process.enabled, was = False, process.enabled
        for wiring in self._wirings:
            wiring.connect(self._engine)
        try:
            yield
        finally:
            process.enabled = was
            for wiring in self._wirings:
                wiring.connect(self._engine)

    def __repr__(self) -> str:
        """Show what it is, without addresses or keys."""
        return f"<Cache namespace={self._settings.namespace!r} functions={len(self._wirings)}>"

    @property
    def namespace(self) -> str:
        """The namespace that this cache's keys and tags live in."""
        return self._settings.namespace

    # --- decorators ---------------------------------------------------------------------------------

    def cached(
        self,
        template: str | None = None,
        *,
        tags: Iterable[str] = (),
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> Callable[[Callable[P, Awaitable[R]]], Cached[P, R]]:
        """Cache the results of an async function or method.

        *template* builds the key from the parameters, `"user:{user_id}"`; without one all of them
        do. *tags* are templates too. Options are those of `Policy`; `ttl` is required.

        Raises NoInvalidationPlan, InvalidPolicy, InvalidTemplate, DuplicateTemplate, and TypeError
        for what is not an async function. Calls raise what the function raises, LoadTimeout,
        RecursiveLoad, Overloaded, UncacheableArgument. Cancelling a caller is private to it."""
        check_template("template", template)
        templates = names("tags", tags)
        for tag in templates:
            check_template("tags", tag)

        def decorate(function: Callable[P, Awaitable[R]]) -> Cached[P, R]:
            wrapper, wiring = wrap(function, template, templates, options=options, policy=policy)
            self._adopt(wiring)
            return cast("Cached[P, R]", wrapper)

        return decorate

    def cached_many(
        self,
        template: str | None = None,
        *,
        tags: Iterable[str] = (),
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> Callable[[Callable[Concatenate[list[K], P], Awaitable[Mapping[K, V]]]], CachedMany[K, P, V]]:
        """Cache, per id, the results of an async function from a list of ids to a mapping.

        It is called with any iterable of ids and returns those that exist; what is missing is
        loaded in one call, together with what other callers miss in the same tick, and ids that
        the function does not return are remembered for `missing_ttl`. `{}` in the *template* and
        the *tags* is the id. Options and errors are those of `cached`."""
        check_template("template", template)
        templates = names("tags", tags)
        for tag in templates:
            check_template("tags", tag)

        def decorate(
            function: Callable[Concatenate[list[K], P], Awaitable[Mapping[K, V]]],
        ) -> CachedMany[K, P, V]:
            wrapper, wiring = wrap_many(function, template, templates, options=options, policy=policy)
            self._adopt(wiring)
            return cast("CachedMany[K, P, V]", wrapper)

        return decorate

    def _attach(self, wiring: Wiring) -> None:
        """Serve the *wiring* of a pattern, such as `ReadThrough`."""
        wiring.connect(self._engine)
        self._wirings.add(wiring)

    def _adopt(self, wiring: Wiring) -> None:
        name, shape = wiring.name, wiring.keys.shape
        owner = self._owners.get((type(wiring), shape))
        if owner is not None and owner != name:
            raise DuplicateTemplate(f"{name} and {owner} would share the keys {shape!r}: change one template")
        wiring.connect(self._engine)
        if owner is not None:  # defined again, as in a notebook: it takes the place of its former self
            for other in list(self._wirings):
                if (type(other), other.name, other.keys.shape) == (type(wiring), name, shape):
                    other.retire()
                    self._wirings.discard(other)
        self._owners[type(wiring), shape] = name
        self._wirings.add(wiring)
        self._typed_keys[shape] = wiring.keys
        self._typed_tags.update((tag.shape, tag) for tag in wiring.tags)

    # --- reading ------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None, *, type: Any = Any) -> Any:
        """Return the cached value of *key*, or *default*; a cached None is None.

        *type* is what the value shall be decoded into, where a remote store holds bytes. Without it the
        value is what the codec makes of the bytes, which is what was set if that was plain data; of a
        dataclass MessagePack makes a dict, of a UUID a str: name their class."""
        name = checked(key)
        entry = self._engine.glance(name, self._direct)
        if entry is not None:
            return entry.value
        found = await self._engine.look([name], type, self._direct)
        return found.get(name, default)

    async def get_many(self, keys: Iterable[str], *, type: Any = Any) -> dict[str, Any]:
        """Return the values of those of *keys* that are cached."""
        by_name = {checked(key): key for key in names("keys", keys)}
        found = await self._engine.look(list(by_name), type, self._direct)
        return {key: found[name] for name, key in by_name.items() if name in found}

    async def get_or_load(
        self,
        key: str,
        load: Callable[[], Awaitable[R]],
        *,
        tags: Iterable[str] = (),
        type: Any = None,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> R:
        """Return the cached value of *key*, or what *load*, an async function, returns.

        An early or stale refresh runs inline in one elected caller (`refresh="caller"`), because
        an ad-hoc loader may close over what ends with its request. Options are those of `Policy`.
        Raises what the load raises, LoadTimeout, RecursiveLoad, Overloaded, NoInvalidationPlan."""
        check_load(load, "load")
        call = Call(
            policy=self._plans.of("get_or_load", policy, options, DEFAULT_CALLER),
            tally=self._direct,
            load=load,
            tags=checked_tags(tags),
            type=Any if type is None else type,
        )
        return cast("R", await self._engine.read(checked(key), call))

    async def get_or_load_many(
        self,
        keys: Iterable[str],
        load_many: Callable[[list[str]], Awaitable[Mapping[str, V]]],
        *,
        tags: Iterable[str] = (),
        type: Any = Any,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> dict[str, V]:
        """Return the values of *keys*; *load_many* gets the missing ones in one call.

        Keys that it does not return do not exist: they are left out and remembered for
        `missing_ttl`. Options and errors are those of `get_or_load`."""
        check_load(load_many, "load_many")
        plan_ = self._plans.of("get_or_load_many", policy, options, DEFAULT_CALLER)
        tally, given = self._direct, checked_tags(tags)
        name = getattr(load_many, "__qualname__", None) or kind_of(load_many)
        group = Group(identity=object(), load=cast("Any", load_many), name=name)

        by_name = {checked(key): key for key in names("keys", keys)}

        def call_of(name: str) -> Call:
            return Call(policy=plan_, tally=tally, group=group, id=by_name[name], tags=given, type=type)

        shared = Call(policy=plan_, tally=tally, type=type)
        found = await self._engine.read_many(by_name, shared, call_of)
        return {key: value for name, key in by_name.items() if (value := found[name]) is not None}

    # --- writing ------------------------------------------------------------------------------------

    async def set(
        self,
        key: str,
        value: object,
        *,
        tags: Iterable[str] = (),
        type: Any = Any,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Store *value*; afterwards no read of *key* gets anything that was loaded before.

        *type* is what a `get` will ask for. In a remote store plain data without one has to come back
        as it is from a `get` without one, or it is not stored: name `type=tuple[int, int]` in both for a
        tuple. A value of a class of its own is compared as that class, which `get` then has to name.

        With ttl=0 nothing is stored, and what was is dropped. If the caller is cancelled the value is
        stored all the same. Raises CodecError for a value that would not come back as it is."""
        await self.set_many({key: value}, tags=tags, type=type, policy=policy, **options)

    async def set_many(
        self,
        items: Mapping[str, object],
        *,
        tags: Iterable[str] = (),
        type: Any = Any,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Store several values, each as `set` does."""
        if not isinstance(items, Mapping):
            raise TypeError(f"items takes a mapping from key to value, not {kind_of(items)}")
        plan_ = self._plans.of("set", policy, options)
        process, given = self._engine.process, checked_tags(tags)
        now = process.clock.monotonic()
        ttl = cast("float | None", plan_.ttl)
        entries = {
            checked(key): entry_of(
                value, ttl, now=now, policy=plan_, rand=process.draw(), born=now, tags=given
            )
            for key, value in items.items()
        }
        self._direct.sets += len(entries)
        await self._engine.changes.set(entries, type)

    async def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Drop *keys*, and every entry that carries one of *tags*.

        Once it returned no read gets a value whose load began before the call. If the caller is
        cancelled the invalidation goes on."""
        given = checked_tags(tags)
        self._direct.invalidations += 1
        await self._engine.changes.invalidate(unique(map(checked, keys)), given)

    async def clear(self) -> None:
        """Drop everything in the cache's namespace, in one step."""
        await self._engine.changes.clear()

    @asynccontextmanager
    async def writing(self, *keys: str, tags: Iterable[str] = ()) -> AsyncGenerator[Writer]:
        """Fence *keys* and *tags* around a write to the source.

        While the block runs, loads of them are served but not stored by anybody; when it has ended,
        however it ended, nothing that was loaded before is left. `commit` on the writer notes a
        value to store after a clean end, where no other writer came between: of blocks that overlap,
        or stand inside one another, neither's value is stored."""
        async with self._fenced(unique(map(checked, keys)), checked_tags(tags)) as fence:
            yield Writer(self._plans, fence)

    @asynccontextmanager
    async def _fenced(self, keys: Sequence[str], tags: Sequence[str]) -> AsyncGenerator[Fence]:
        """Do what `writing` does, with names that a pattern has made and nobody needs to check."""
        fence = Fence(self._engine, keys, tags)
        await fence.enter()
        clean = False
        try:
            yield fence
            clean = True
        finally:
            await fence.exit(clean=clean)
            self._direct.sets += len(fence.receipts)

    # --- names --------------------------------------------------------------------------------------

    def key(self, template: str, *args: object, **named: object) -> str:
        """Return the key that the decorators build from *template* and these values.

        Where a function of this cache has a template of this shape, its annotations count. Raises
        InvalidTemplate, UncacheableArgument, and TypeError unless each field has one value."""
        return _typed_by(self._typed_keys, template).format(*args, **named)

    def tag(self, template: str, *args: object, **named: object) -> str:
        """Return the tag that the decorators build from *template* and these values, like `key`."""
        return _typed_by(self._typed_tags, template).format(*args, **named)

    # --- looking ------------------------------------------------------------------------------------

    async def explain(self, key: str) -> Explanation:
        """Say where *key* is, its age and tags, who loads it, and why the last read missed."""
        return await explain(self._engine, checked(key))

    def stats(self) -> Stats:
        """Return the sum over all functions and direct calls."""
        process, now = self._engine.process, self.health()
        return total(
            process.tallies.values(),
            entries=now.entries,
            loading=now.loading,
            evictions=process.near.evictions.count,
        )

    def report(self) -> Report:
        """Say per cached function what caching it costs and saves. Printing it shows a table."""
        kept = {
            wiring.name for wiring in self._wirings if wiring.policy.ttl is None and not wiring.invalidated()
        }
        return Report(
            tuple(
                judge(tally, never_invalidated=tally.name in kept)
                for tally in self._engine.process.tallies.values()
                if tally.name != DIRECT or tally.all_hits or tally.misses
            )
        )

    def health(self) -> Health:
        """Say how the cache is now: the remote store, the near copies, what is pending."""
        process = self._engine.process
        store: object = process.near.store
        return replace(
            self._engine.authority.health(),
            entries=len(store) if isinstance(store, Sized) else 0,
            loading=0 if process.loop is None else len(process.flights),
        )

    @property
    def guarantees(self) -> Mapping[str, str]:
        """Which promises hold with the parts that this cache has, one sentence each."""
        return self._engine.authority.guarantees(signed=bool(self._settings.signing_keys))

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with every event; return what ends that. Its errors are logged only."""
        subscribed = partial(observer)  # equal to no other, unlike the bound methods of one object
        self._observers.append(subscribed)

        def unsubscribe() -> None:
            if subscribed in self._observers:
                self._observers.remove(subscribed)

        return unsubscribe

    # --- life ---------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the cache, also again after it was closed."""
        self._engine.process.closed = False
        self._engine.process.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the cache."""
        await self.aclose()

    async def aclose(self) -> None:
        """Finish invalidations, cancel loads and refreshes, close what was opened; no task is left.

        Values stay in the local store. Safe to call twice; any other use is CacheClosed."""
        await self._engine.aclose()

    # --- helpers ------------------------------------------------------------------------------------

    @property
    def _direct(self) -> Tally:
        return self._engine.process.tally(DIRECT)


DEFAULT_CALLER = Policy(refresh="caller")


def _typed_by(known: Mapping[str, Template], text: str) -> Template:
    check_template("template", text)
    template = Template.parse(text)
    like = known.get(template.shape)
    return template if like is None else template.typed_like(like)
