"""`@singleflight`: coalesce the calls of a function whose results are not cached."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, update_wrapper
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast, overload

from acache._keys import Template
from acache._signature import CallShape
from acache._singleflight import Singleflight
from acache._wrapper import WrappedMethod, check_async, generate

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class Coalesced(Protocol[P, R_co]):
    """An async function whose concurrent calls with equal arguments share one run."""

    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return the result of a run that is under way, or of a new one."""
        ...

    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> "Coalesced[P, R_co]": ...
    @overload
    def __get__(
        self: "Coalesced[Concatenate[S, Q], R_co]", instance: S, owner: type | None = None, /
    ) -> "Coalesced[Q, R_co]": ...

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Let the next call run anew; those who wait still get the old result."""
        ...


# The names in capitals are replaced by ones that no parameter of the function has.
_SOURCE: Final = """
def BIND(INSTANCE, FLIGHTS):
    async def WRAPPER(DEFINITION):
        return await FLIGHTS.run(KEY_EXPRESSION, lambda: FUNCTION(FORWARD_ALL))
    def FORGET(DEFINITION):
        FLIGHTS.forget(KEY_EXPRESSION)
    return WRAPPER, FORGET
"""


@overload
def singleflight(function: Callable[P, Awaitable[R]], /) -> Coalesced[P, R]: ...
@overload
def singleflight(
    function: None = None, /, *, key: str | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Coalesced[P, R]]: ...
def singleflight(function: Any = None, /, *, key: str | None = None) -> Any:
    """Run an async function at most once at a time for equal arguments.

    *key* is a template that says which arguments count; without one all do. Methods coalesce per
    instance. Errors go to all who wait; the next call runs anew. Cancelling one caller is private
    to it; the run is cancelled when the last was. Raises InvalidTemplate, and TypeError for what
    is not an async function; calls raise RecursiveLoad and UncacheableArgument."""
    if function is None:
        return partial(_wrap, text=key)
    return _wrap(function, key)


def _wrap(function: Callable[..., Any], text: str | None) -> Any:
    check_async(function, "singleflight")
    shape = CallShape.of(function)
    bind = _compile(function, shape, text)

    def dress(target: Callable[..., Any], instance: object = None) -> Any:
        wrapper, wrapper_forget = bind(instance, Singleflight())
        update_wrapper(wrapper, target)
        wrapper.forget = wrapper_forget
        return wrapper

    if shape.instance is None:
        return dress(function)
    return WrappedMethod(function, dress, verbs=["forget"], stateful=True)


def _compile(function: Callable[..., Any], shape: CallShape, text: str | None) -> Callable[..., Any]:
    names = shape.names()
    # Each instance has flights of its own, so a template need not tell instances apart.
    fields = (f"{{{each.name}}}" for each in shape.parameters if each.name != shape.instance)
    template = Template.parse(":".join([shape.name, *fields]) if text is None else text)
    source = {
        "DEFINITION": shape.definition(names, bound=shape.instance is not None),
        "FORWARD_ALL": shape.forward(),
        "KEY_EXPRESSION": template.expression(shape, names),
        "INSTANCE": shape.instance or names.fresh("instance"),
    }
    bind = generate(_SOURCE, "BIND", source, {"FUNCTION": function}, names, shape.name)
    return cast("Callable[..., Any]", bind)
