"""Generate a wrapper for one function, or for each instance's method. Knows nothing of what it does."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

from acache._signature import Names

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

    def __init__(self, function: Callable[..., Any], dress_for: Callable[[object], Any]) -> None:
        """Make wrappers with *dress_for*."""
        self._dress_for = dress_for
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
