"""The decorators: a wrapper generated for one function, whose hit is a few instructions.

A hit builds the key, looks it up, compares two times and returns: no argument binding, no second
await, no policy. Everything else is the miss path, `Wiring.miss`. One countdown per function
counts the hits and picks the one in 1,024 that is timed; the mark on the entry serves eviction."""

import inspect
import re
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial, update_wrapper
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast, get_type_hints, overload

from acache._engine import Engine
from acache._keys import Template, finish, key_template
from acache._policy import Options, Policy, plan
from acache._process import Call
from acache._signature import CallShape, Names
from acache._stats import SAMPLE_EVERY, Stats, Tally

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
        self, *, name: str, options: Options, policy: Policy | None, plannable: bool, type: object  # noqa: A002
    ) -> None:
        """Keep what the decorator was given."""
        self.name = name
        self.options = options
        self.given = policy
        self.plannable = plannable
        self.type = type
        self.engine: Engine
        self.policy: Policy
        self.tally: Tally
        self.counted: Callable[[], int] | None = None
        self.rewire: Callable[..., None] | None = None

    def connect(self, engine: Engine) -> None:
        """Serve from *engine* from now on."""
        process = engine.process
        self.engine = engine
        self.policy = plan(
            self.name, self.options, policy=self.given, default=process.policy, plannable=self.plannable
        )
        self.tally = process.tally(self.name, cast("float | None", self.policy.ttl))
        if self.counted is not None:
            self.tally.count_fast_hits_with(self.counted)
        if self.rewire is not None:
            self.rewire(process.lookup, process.clock.monotonic, process.near)

    def call(self, load: Callable[[], Awaitable[object]], tags: tuple[str, ...]) -> Call:
        """Return the call of one miss."""
        return Call(policy=self.policy, tally=self.tally, load=load, tags=tags, type=self.type)

    async def miss(self, key: str, load: Callable[[], Awaitable[object]], tags: tuple[str, ...]) -> Any:
        """Serve what the hit path does not."""
        return await self.engine.read(finish(key), self.call(load, tuple(map(finish, tags))))

    async def refresh(self, key: str, load: Callable[[], Awaitable[object]], tags: tuple[str, ...]) -> Any:
        """Load now."""
        return await self.engine.refresh(finish(key), self.call(load, tuple(map(finish, tags))))

    async def invalidate(self, key: str) -> None:
        """Drop one key."""
        self.tally.invalidations += 1
        await self.engine.invalidate((finish(key),), ())

    def sample(self, wrapper: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **named: Any) -> None:
        """Time one hit by running it once more."""
        now = self.engine.process.clock.monotonic
        start = now()
        coroutine = wrapper(*args, **named)
        try:
            coroutine.send(None)
        except StopIteration:
            self.tally.hit_time.add(now() - start)
        finally:
            coroutine.close()

    def stats(self) -> Stats:
        """Return the figures of the function."""
        return self.tally.snapshot()


# The names in capitals are replaced by ones that no parameter of the function has.
_SOURCE: Final = """
def MAKE(LOOKUP, NOW, NEAR):
    LEFT = EVERY
    ROUNDS = 0
    def BIND(INSTANCE):
        async def WRAPPER(DEFINITION):
            nonlocal LEFT, ROUNDS
            KEY = KEY_EXPRESSION
            ENTRY = LOOKUP(KEY)
            if ENTRY is not None and NEAR.trusted_until > NOW() < ENTRY.calm_until:
                ENTRY.used = True
                LEFT -= 1
                if not LEFT:
                    ROUNDS += 1
                    LEFT = EVERY + 1
                    SAMPLE(WRAPPER, FORWARD)
                return ENTRY.value
            return await MISS(KEY, PARTIAL(FUNCTION, FORWARD_ALL), TAGS_EXPRESSION)
        def KEY_OF(DEFINITION):
            return FINISH(KEY_EXPRESSION)
        async def INVALIDATE(DEFINITION):
            await DROP(KEY_EXPRESSION)
        async def REFRESH(DEFINITION):
            return await RELOAD(KEY_EXPRESSION, PARTIAL(FUNCTION, FORWARD_ALL), TAGS_EXPRESSION)
        return WRAPPER, KEY_OF, INVALIDATE, REFRESH
    def REWIRE(*PARTS):
        nonlocal LOOKUP, NOW, NEAR
        LOOKUP, NOW, NEAR = PARTS
    def HITS():
        return ROUNDS * EVERY + EVERY - LEFT
    return BIND, REWIRE, HITS
"""

_PLACEHOLDER: Final = re.compile(r"\b[A-Z][A-Z_]+\b")


def generate(
    text: str, wanted: str, source: dict[str, str], constants: Mapping[str, object], names: Names, name: str
) -> object:
    """Compile *text* and return what it calls *wanted*.

    Each word in capitals stands for a piece of *source*, for one of *constants*, or else for a
    local name that no parameter has."""
    source |= {word: names.bind(word.lower(), value) for word, value in constants.items()}

    def spelled(match: re.Match[str]) -> str:
        word = match[0]
        if word not in source:
            source[word] = names.fresh(word.lower())
        return source[word]

    compiled = compile(_WORD.sub(spelled, text), f"<cached {name}>", "exec")
    exec(compiled, names.values)  # noqa: S102 - our own source
    return names.values[source[wanted]]


_WORD: Final = re.compile(r"\b[A-Z][A-Z_]+\b")


def _compile(
    function: Callable[..., Any], shape: CallShape, template: Template, tags: Iterable[Template], wiring: Wiring
) -> Any:
    names = shape.names()
    bound = shape.instance is not None
    each_tag = (f"{tag.expression(shape, names)}, " for tag in tags)
    source = {
        "DEFINITION": shape.definition(names, bound=bound),
        "FORWARD": shape.forward(bound=bound),
        "FORWARD_ALL": shape.forward(),
        "KEY_EXPRESSION": template.expression(shape, names),
        "TAGS_EXPRESSION": "".join(("(", *each_tag, ")")),
        "INSTANCE": shape.instance or names.fresh("instance"),
    }
    constants = {
        "EVERY": SAMPLE_EVERY,
        "SAMPLE": wiring.sample,
        "MISS": wiring.miss,
        "RELOAD": wiring.refresh,
        "DROP": wiring.invalidate,
        "FINISH": finish,
        "PARTIAL": partial,
        "FUNCTION": function,
    }
    make = cast("Callable[..., Any]", generate(_SOURCE, "MAKE", source, constants, names, shape.name))
    return make(None, None, None)


def dress(
    function: Callable[..., Any], bind: Callable[[object], Any], wiring: Wiring, instance: object = None
) -> Any:
    """Return the wrapper of *function*, of *instance* if it is a method, with its attributes."""
    wrapper, key, invalidate, refresh = bind(instance)
    update_wrapper(wrapper, function)
    wrapper.key = key
    wrapper.invalidate = invalidate
    wrapper.refresh = refresh
    wrapper.uncached = function
    wrapper.stats = wiring.stats
    return wrapper


class CachedMethod:
    """A cached method: a wrapper per instance, made at first access.

    It is kept in the instance's `__dict__` under a name of its own and used only for the very
    instance that it was made for: copying an object copies its `__dict__`, and a copy must not
    read another's cache. Pickling leaves it behind."""

    def __init__(self, function: Callable[..., Any], dress_for: Callable[[object], Any], stats: Callable[[], Stats]) -> None:
        """Make wrappers with *dress_for*."""
        self._dress_for = dress_for
        self.stats = stats
        self._slot = f"_acache_{function.__name__}"
        self.__wrapped__ = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Return the wrapper of *instance*."""
        if instance is None:
            return self
        try:
            held = instance.__dict__.get(self._slot)
        except AttributeError:  # __slots__: nowhere to keep it
            return self._dress_for(instance)
        if held is None or held.instance is not instance:
            held = instance.__dict__[self._slot] = Held(instance, self._dress_for(instance))
        return held.wrapper

    def __call__(self, instance: object, /, *args: Any, **named: Any) -> Any:
        """Call it as `Class.method(instance, ...)`."""
        return self.__get__(instance)(*args, **named)


class Held:
    """A wrapper and the one instance that it serves; a copy or a pickle of it holds nothing."""

    __slots__ = ("instance", "wrapper")

    def __init__(self, instance: object = None, wrapper: Any = None) -> None:
        """Hold *wrapper* for *instance*."""
        self.instance = instance
        self.wrapper = wrapper

    def __reduce__(self) -> tuple[type["Held"], tuple[()]]:
        """Leave both behind."""
        return Held, ()


def wrap(function: Callable[..., Any], template: str | None, tags: Iterable[str], wiring_of: Callable[..., Wiring]) -> tuple[Any, Wiring, Template]:
    """Return the cached form of *function*, how it is wired, and its template."""
    check_async(function, "cached")
    shape = CallShape.of(function)
    keys = key_template(shape, template)
    wiring = wiring_of(name=shape.name, plannable=template is not None, type=result_type(function))
    bind, wiring.rewire, wiring.counted = _compile(
        function, shape, keys, [Template.parse(tag) for tag in tags], wiring
    )
    if shape.instance is None:
        return dress(function, bind, wiring), wiring, keys

    def dress_for(instance: object) -> Any:
        wrapper = dress(function, bind, wiring, instance)
        wrapper.uncached = types.MethodType(function, instance)
        return wrapper

    return CachedMethod(function, dress_for, wiring.stats), wiring, keys


def check_async(function: object, what: str) -> None:
    """Raise TypeError, saying what to write, unless *function* is an `async def`."""
    if isinstance(function, classmethod | staticmethod):
        kind = type(function).__name__
        if kind == "staticmethod":
            raise TypeError(f"put @staticmethod above @{what}, not below it")
        raise TypeError(
            f"@{what} cannot serve a @classmethod: cache a function that takes what identifies the class"
            " as an argument, and call it from the classmethod"
        )
    if not inspect.iscoroutinefunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"@{what} needs an async function; write `async def {name}`, or await a thread in it")


def result_type(function: Callable[..., Any]) -> object:
    """Return the annotated result of *function*, Any where it is unknown."""
    try:
        return get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001 - a name under TYPE_CHECKING, or whatever evaluating a str may raise
        return Any
