"""The decorators: a wrapper generated for one function, whose hit is a few instructions.

A hit builds the key, looks it up, compares two times and returns: no argument binding, no second
await, no policy. Everything else is the miss path, `Wiring.miss`. One countdown per function
counts the hits and picks the one in 1,024 that is timed; the mark on the entry serves eviction."""

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial, update_wrapper
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast, overload

from acache._engine import Engine
from acache._entry import Entry
from acache._key_memo import memoised
from acache._keys import Template, finish, key_template
from acache._near import Near
from acache._policy import Options, Policy, plan, unique
from acache._process import Call, Found
from acache._signature import CallShape
from acache._stats import SAMPLE_EVERY, Stats, Tally
from acache._wrapper import WrappedMethod, check_async, generate, result_type

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class Cached(Protocol[P, R_co]):
    """An async function whose results are cached; call it as before."""

    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return the cached or loaded result."""
        ...

    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> "Cached[P, R_co]": ...
    @overload
    def __get__(
        self: "Cached[Concatenate[S, Q], R_co]", instance: S, owner: type | None = None, /
    ) -> "Cached[Q, R_co]": ...

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Drop the result for these arguments."""
        ...

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Load the result for these arguments now and store it; joins a load that runs."""
        ...

    def uncached(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the function itself."""
        ...

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key for these arguments."""
        ...

    def stats(self) -> Stats:
        """Return the figures of this function."""
        ...


class Wiring:
    """What a wrapper calls when it is no hit, and how it is connected to its cache.

    The cache may be configured, or overridden in a test, after functions were decorated: then it
    wires them anew."""

    def __init__(
        self,
        *,
        name: str,
        options: Options,
        policy: Policy | None,
        plannable: bool,
        type: object,
        keys: Template,
        tags: Sequence[Template] = (),
    ) -> None:
        """Keep what the decorator was given; *keys* and *tags* are typed by its function."""
        self.name = name
        self.keys = keys
        self.tags = tags
        self.options = options
        self.given = policy
        self.plannable = plannable
        self.type = type
        self.engine: Engine
        self.policy: Policy
        self.tally = Tally(name)
        self.asked: Call  # what a call asks for, but for how to load it
        self.counted: Callable[[], int] | None = None  # the hits since it was last rewired
        self.rewire: Callable[..., None] | None = None

    def connect(self, engine: Engine) -> None:
        """Serve from *engine* from now on."""
        process = engine.process
        if process.check_type is not None:
            process.check_type(self.type)
        self.policy = plan(
            self.name, self.options, policy=self.given, default=process.policy, plannable=self.plannable
        )
        self.engine = engine
        self.retire()
        self.tally = process.tally(self.name, cast("float | None", self.policy.ttl))
        self.asked = self.call()
        if self.rewire is not None and self.counted is not None:
            now, every = process.clock.monotonic, process.sample_every
            ahead = partial(engine.ahead, self.asked)
            self.rewire(process.lookup, now, process.near, self.policy.version, every, ahead)
            self.tally.follow(self.counted)

    def retire(self) -> None:
        """Leave the figures as they are: another takes this one's place, or it gets other figures."""
        if self.counted is not None:
            self.tally.unfollow(self.counted)

    def call(self, **of: Any) -> Call:
        """Return a call with this function's policy, type and figures."""
        return Call(policy=self.policy, tally=self.tally, type=self.type, **of)

    def miss(
        self,
        key: str,
        load: Callable[[], Awaitable[object]],
        tags: tuple[str, ...],
        seen: Found | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Serve what the hit path does not; *seen* came from `ahead`."""
        given = unique(map(finish, tags)) if tags else ()
        call = Call(policy=self.policy, tally=self.tally, type=self.type, load=load, tags=given)
        return self.engine.read(finish(key), call, seen)

    async def refresh(self, key: str, load: Callable[[], Awaitable[object]], tags: tuple[str, ...]) -> Any:
        """Load now."""
        return await self.engine.refresh(finish(key), self.call(load=load, tags=unique(map(finish, tags))))

    async def invalidate(self, key: str) -> None:
        """Drop one key."""
        self.tally.invalidations += 1
        await self.engine.changes.invalidate((finish(key),), ())

    def sample(self, entry: Entry, wrapper: Any, /, *args: Any, **named: Any) -> None:
        """Time one hit of a generated wrapper, and have it checked if chance elects it."""
        self.time(entry, wrapper, *args, **named)
        process = self.engine.process
        if process.verifier is not None and process.verifier.elects(process.sample_every):
            call = self.call(load=partial(wrapper.uncached, *args, **named), tags=entry.tags)
            process.verifier.check(wrapper.key(*args, **named), entry, call)

    def time(
        self, entry: Entry, wrapper: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **named: Any
    ) -> None:
        """Time one hit by running it once more, and note how old its value is."""
        now = self.engine.process.clock.monotonic
        start = now()
        coroutine = wrapper(*args, **named)
        try:
            coroutine.send(None)
        except StopIteration:
            self.tally.hit_time.add(now() - start)
            self.tally.hit_age.add(start - entry.born)
        finally:
            coroutine.close()

    def invalidated(self) -> bool:
        """Say whether anything was heard of a key or tag that its templates build."""
        heard = self.engine.process.drops.heard
        return heard(_builds([self.keys]), _builds(self.tags))

    def stats(self) -> Stats:
        """Return the figures of the function."""
        return self.tally.snapshot()


def _builds(templates: Iterable[Template]) -> Callable[[str], object]:
    """Return a test for what *templates* build; no value has a colon in it."""
    patterns = ("[^:]*".join(map(re.escape, template.literals)) for template in templates)
    return re.compile("|".join(patterns) or "(?!)").fullmatch


class Reader(Wiring):
    """The wiring of a pattern that reads by itself, without a decorated function."""

    lookup: Callable[[str], Entry | None]
    now: Callable[[], float]
    near: Near
    sample_every: int

    def connect(self, engine: Engine) -> None:
        """Serve from *engine* from now on."""
        super().connect(engine)
        process = engine.process
        self.lookup, self.now, self.near = process.lookup, process.clock.monotonic, process.near
        self.sample_every = process.sample_every

    async def read(self, key: str, call: Call) -> Any:
        """Return the value of *key*."""
        return await self.engine.read(key, call)

    async def read_many(self, keys: Iterable[str], call_of: Callable[[str], Call]) -> dict[str, Any]:
        """Return the value of each key."""
        return await self.engine.read_many(keys, self.call(), call_of)


# The names in capitals are replaced by ones that no parameter of the function has. What the wrapper
# itself names it holds in each of its frames, ten thousand of which may wait for one load.
_SOURCE: Final = """
def MAKE(LOOKUP, NOW, NEAR, VERSION, EVERY, AHEAD):
    LEFT = EVERY
    ROUNDS = 0
    def BEGIN_ROUND():
        nonlocal LEFT, ROUNDS
        ROUNDS += 1
        LEFT = EVERY + 1
    def BIND(INSTANCE):
        async def WRAPPER(DEFINITION):
            nonlocal LEFT
            KEY = KNOWN_KEY
            ENTRY = LOOKUP(KEY)
            if (
                ENTRY is not None
                and NEAR.trusted_until > NOW() < ENTRY.calm_until
                and ENTRY.version == VERSION
            ):
                ENTRY.used = True
                LEFT -= 1
                if not LEFT:
                    BEGIN_ROUND()
                    SAMPLE(ENTRY, WRAPPER, FORWARD)
                return ENTRY.value
            SEEN = None
            if ENTRY is None:
                SEEN = AHEAD(KEY, TAGS_EXPRESSION)
                if SEEN is not None and (SEEN := await SEEN).__class__ is not FOUND:
                    return SEEN
            REMEMBER_KEY
            return await MISS(KEY, PARTIAL(FUNCTION, FORWARD_ALL), TAGS_EXPRESSION, SEEN)
        def KEY_OF(DEFINITION):
            return FINISH(KEY_EXPRESSION)
        async def INVALIDATE(DEFINITION):
            await DROP(KEY_EXPRESSION)
        async def REFRESH(DEFINITION):
            return await RELOAD(KEY_EXPRESSION, PARTIAL(FUNCTION, FORWARD_ALL), TAGS_EXPRESSION)
        return WRAPPER, KEY_OF, INVALIDATE, REFRESH
    def REWIRE(*PARTS):
        nonlocal LOOKUP, NOW, NEAR, VERSION, EVERY, AHEAD, LEFT, ROUNDS
        LOOKUP, NOW, NEAR, VERSION, EVERY, AHEAD = PARTS
        LEFT = EVERY
        ROUNDS = 0
    def HITS():
        return ROUNDS * EVERY + EVERY - LEFT
    return BIND, REWIRE, HITS
"""


def _compile(function: Callable[..., Any], shape: CallShape, wiring: Wiring) -> Any:
    names = shape.names()
    bound = shape.instance is not None
    key = names.fresh("key")
    known, remember = memoised(wiring.keys, shape, names, key)
    each_tag = (f"{tag.expression(shape, names)}, " for tag in wiring.tags)
    source = {
        "DEFINITION": shape.definition(names, bound=bound),
        "FORWARD": shape.forward(bound=bound),
        "FORWARD_ALL": shape.forward(),
        "KEY": key,
        "KNOWN_KEY": known,
        "REMEMBER_KEY": remember,
        "KEY_EXPRESSION": wiring.keys.expression(shape, names),
        "TAGS_EXPRESSION": "".join(("(", *each_tag, ")")),
        "INSTANCE": shape.instance or names.fresh("instance"),
    }
    constants = {
        "SAMPLE": wiring.sample,
        "FOUND": Found,
        "MISS": wiring.miss,
        "RELOAD": wiring.refresh,
        "DROP": wiring.invalidate,
        "FINISH": finish,
        "PARTIAL": partial,
        "FUNCTION": function,
    }
    make = cast("Callable[..., Any]", generate(_SOURCE, "MAKE", source, constants, names, shape.name))
    return make(None, None, None, None, SAMPLE_EVERY, None)


def dress(
    function: Callable[..., Any], shape: CallShape, bind: Callable[[object], Any], wiring: Wiring
) -> Any:
    """Return the wrapper of *function*, or of the method that it is, with its verbs."""

    def dress_for(target: Callable[..., Any], instance: object = None) -> Any:
        wrapper, key, invalidate, refresh = bind(instance)
        update_wrapper(wrapper, target)
        wrapper.key = key
        wrapper.invalidate = invalidate
        wrapper.refresh = refresh
        wrapper.uncached = target
        wrapper.stats = wiring.stats
        return wrapper

    if shape.instance is None:
        return dress_for(function)
    method = WrappedMethod(function, dress_for, verbs=("key", "invalidate", "refresh"))
    method.unbound.uncached = function
    method.unbound.stats = wiring.stats
    return method


def wrap(
    function: Callable[..., Any],
    template: str | None,
    tags: Sequence[str],
    *,
    options: Options,
    policy: Policy | None,
) -> tuple[Any, Wiring]:
    """Return the cached form of *function*, and how it is wired."""
    check_async(function, "cached")
    shape = CallShape.of(function)
    keys = key_template(shape, template).typed(shape)
    wiring = Wiring(
        keys=keys,
        tags=[Template.parse(tag).typed(shape) for tag in tags],
        name=shape.name,
        options=options,
        policy=policy,
        plannable=template is not None or bool(tags),
        type=result_type(function),
    )
    bind, wiring.rewire, wiring.counted = _compile(function, shape, wiring)
    return dress(function, shape, bind, wiring), wiring
