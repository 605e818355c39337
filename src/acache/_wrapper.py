"""Generate a wrapper for one function, or for each instance's method. Knows nothing of what it does."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from types import MethodType
from typing import Any, Final, get_type_hints

from acache._signature import CallShape, Names

_WORD: Final = re.compile(r"\b[A-Z][A-Z_]+\b")


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


class WrappedMethod:
    """A method with a generated wrapper for each instance, made at first access.

    It is kept in the instance's `__dict__` under a name of its own and used only for the very
    instance that it was made for: copying an object copies its `__dict__`, and a copy must not
    read another's cache. Pickling leaves it behind."""

    def __init__(
        self,
        function: Callable[..., Any],
        dress_for: Callable[[Callable[..., Any], object], Any],
        *,
        verbs: Iterable[str],
        stateful: bool = False,
    ) -> None:
        """Make wrappers with *dress_for*, from a bound method and its instance.

        `Class.method` has their *verbs* too, and takes the instance first. *stateful*: two wrappers
        of one instance are not the same, so there must be a place to keep the one."""
        self._function = function
        self._dress_for = dress_for
        self._stateful = stateful
        # A method of a subclass may call the one that it overrides: their wrappers lie side by side.
        self._slot = f"_acache_{function.__module__}.{function.__qualname__}"
        self.unbound = self._of_class(verbs)

    def _of_class(self, verbs: Iterable[str]) -> Any:
        async def unbound(instance: object, /, *args: Any, **named: Any) -> Any:
            return await self.__get__(instance)(*args, **named)

        def verb(name: str) -> Callable[..., Any]:
            def call(instance: object, /, *args: Any, **named: Any) -> Any:
                return getattr(self.__get__(instance), name)(*args, **named)

            return call

        update_wrapper(unbound, self._function)
        for name in verbs:
            setattr(unbound, name, verb(name))
        return unbound

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Return the wrapper of *instance*."""
        if instance is None:
            return self.unbound
        try:
            held = instance.__dict__.get(self._slot)
        except AttributeError:  # __slots__: nowhere to keep it
            if self._stateful:
                owner_name = type(instance).__qualname__
                raise TypeError(
                    f'{owner_name} keeps no state of a call: add "__dict__" to __slots__'
                ) from None
            return self._dress(instance)
        if held is None or held.instance is not instance:
            if isinstance(instance, type):
                raise TypeError(NO_CLASSMETHOD)
            held = instance.__dict__[self._slot] = Held(instance, self._dress(instance))
        return held.wrapper

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse: nobody comes here but a classmethod around it, from Python 3.13."""
        raise TypeError(NO_CLASSMETHOD)

    def _dress(self, instance: object) -> Any:
        return self._dress_for(MethodType(self._function, instance), instance)


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


NO_CLASSMETHOD: Final = (
    "a @classmethod cannot be wrapped: wrap a function that takes what identifies the class as an"
    " argument, and call it from the classmethod"
)


def check_async(function: object, what: str) -> None:
    """Raise TypeError, saying what to write, unless *function* is an `async def`."""
    if isinstance(function, classmethod | staticmethod):
        raise TypeError(
            NO_CLASSMETHOD if isinstance(function, classmethod) else f"put @staticmethod above @{what}"
        )
    if not inspect.iscoroutinefunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"@{what} needs an async function; write `async def {name}`, or await a thread in it")
    if CallShape.of(function).instance == "cls":
        raise TypeError(NO_CLASSMETHOD)


def result_type(function: Callable[..., Any]) -> object:
    """Return the annotated result of *function*, Any where it is unknown."""
    try:
        return get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001 - a name under TYPE_CHECKING, or whatever evaluating a str may raise
        return Any
