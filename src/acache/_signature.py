"""The shape of a function's calls, as pieces of source for a wrapper. Knows nothing of keys.

`inspect` works here, once, when a function is decorated; generated code does not need it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature, unwrap
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints


@dataclass(slots=True)
class Names:
    """Names of a generated function that none of its parameters has.

    `values` is what the names stand for: the globals to `exec` the source with."""

    taken: set[str]
    values: dict[str, object] = field(default_factory=dict[str, object])

    def fresh(self, hint: str) -> str:
        """Return a new name that resembles *hint*, an identifier."""
        while hint in self.taken:
            hint += "_"
        self.taken.add(hint)
        return hint

    def bind(self, hint: str, value: object) -> str:
        """Return the name that stands for *value*, new unless *hint* already stands for it."""
        if hint in self.values and self.values[hint] is value:
            return hint
        name = self.fresh(hint)
        self.values[name] = value
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class CallShape:
    """How a function is called, and what its annotations promise."""

    name: str  # module.qualname
    parameters: tuple[Parameter, ...]
    hints: Mapping[str, object]  # what the annotation of each parameter means; None where that is unknown
    instance: str | None  # of a method: what its first parameter is called

    @classmethod
    def of(cls, function: Callable[..., object]) -> "CallShape":
        """Return the shape of *function*; raises ValueError for a builtin that has no signature."""
        parameters = tuple(signature(function).parameters.values())
        scope: dict[str, Any] = getattr(unwrap(function), "__globals__", {})
        qualname: str = getattr(function, "__qualname__", type(function).__qualname__)
        return cls(
            name=f"{function.__module__}.{qualname}",
            parameters=parameters,
            hints={each.name: _hint(each, scope) for each in parameters},
            instance=_instance(qualname, parameters),
        )

    @property
    def iterable(self) -> str | None:
        """The parameter that a batch function takes its ids by: the first one besides the instance."""
        first = self.parameters[1 if self.instance else 0 :][:1]
        return first[0].name if first and first[0].kind in _POSITIONAL else None

    @property
    def element(self) -> object:
        """What the ids of a batch function are: E of list[E], Iterable[E], tuple[E, ...] and their like."""
        arguments = get_args(self.hints.get(self.iterable or ""))
        return arguments[0] if len(arguments) == 1 or arguments[1:] == (Ellipsis,) else None

    def collects(self, name: str) -> bool:
        """Return whether *name* is that of *args or **kwargs."""
        return any(each.name == name and each.kind not in _NAMED for each in self.parameters)

    def names(self) -> Names:
        """Return an empty set of names to generate a wrapper with."""
        return Names({each.name for each in self.parameters})

    def definition(self, names: Names, *, bound: bool = False) -> str:
        """Return the source of an identical parameter list; defaults are kept by reference in *names*.

        *bound*: without the instance, for a wrapper that belongs to one."""

        def declared(each: Parameter) -> str:
            if each.default is Parameter.empty:
                return each.name
            return f"{each.name}={names.bind(f'{each.name}_default', each.default)}"

        shown = self.parameters[1:] if bound else self.parameters
        first = [declared(each) for each in shown if each.kind is Parameter.POSITIONAL_ONLY]
        usual = [declared(each) for each in shown if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
        star = [f"*{each.name}" for each in shown if each.kind is Parameter.VAR_POSITIONAL]
        named = [declared(each) for each in shown if each.kind is Parameter.KEYWORD_ONLY]
        rest = [f"**{each.name}" for each in shown if each.kind is Parameter.VAR_KEYWORD]
        slash = ["/"] if first else []
        return ", ".join([*first, *slash, *usual, *(star or ["*"] * bool(named)), *named, *rest])

    def forward(self, *, bound: bool = False) -> str:
        """Return the source of the arguments that pass a call on to the function."""
        shown = self.parameters[1:] if bound else self.parameters
        return ", ".join(_FORWARD[each.kind].format(each.name) for each in shown)


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (*_POSITIONAL, Parameter.KEYWORD_ONLY)
_FORWARD = {
    Parameter.POSITIONAL_ONLY: "{0}",
    Parameter.POSITIONAL_OR_KEYWORD: "{0}",
    Parameter.VAR_POSITIONAL: "*{0}",
    Parameter.KEYWORD_ONLY: "{0}={0}",
    Parameter.VAR_KEYWORD: "**{0}",
}


def _instance(qualname: str, parameters: Iterable[Parameter]) -> str | None:
    owner = qualname.rpartition(".")[0]
    first = next((each.name for each in parameters), None)
    if owner and not owner.endswith("<locals>") and first in ("self", "cls"):
        return first
    return None


def _hint(parameter: Parameter, scope: dict[str, Any]) -> object:
    """Return what an annotation means, without `Annotated`; that of *args describes its items, not it."""
    if parameter.annotation is Parameter.empty or parameter.kind not in _NAMED:
        return None
    holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return get_type_hints(holder, scope)["it"]
    except Exception:  # noqa: BLE001 - a name under TYPE_CHECKING, or whatever evaluating a str may raise
        return None
