"""The batch decorator: one loader call for all missing ids, coalesced across callers."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast, get_args

from acache._answers import apart
from acache._decorators import Wiring, dress
from acache._keys import Template, finish, key_template
from acache._parts import parts
from acache._policy import Options, Policy, unique
from acache._process import Call, Group
from acache._signature import CallShape
from acache._stats import Stats
from acache._text import Writer
from acache._wrapper import check_async, generate, result_type

P = ParamSpec("P")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CachedMany(Protocol[K, P, V]):
    """An async function from ids to a mapping, cached per id."""

    def __call__(
        self, ids: Iterable[K], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, dict[K, V]]:
        """Return the values of those of *ids* that exist."""
        ...

    async def invalidate(self, ids: Iterable[K], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Drop the values of *ids*."""
        ...

    async def refresh(self, ids: Iterable[K], /, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        """Load *ids* now and store them."""
        ...

    def uncached(
        self, ids: Iterable[K], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Mapping[K, V]]:
        """Call the function itself."""
        ...

    def key(self, id: K, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of one id."""
        ...

    def stats(self) -> Stats:
        """Return the figures of this function."""
        ...


# The names in capitals are replaced by ones that no parameter of the function has.
_SOURCE: Final = """
def BIND(INSTANCE):
    async def WRAPPER(DEFINITION):
        return await READ(
            IDS_OF(IDS),
            lambda ITEM: KEY_EXPRESSION,
            GROUP_EXPRESSION,
            lambda MISSING: FUNCTION(LEAD MISSING, REST),
            lambda ITEM: TAGS_EXPRESSION,
        )
    async def REFRESH(DEFINITION):
        return await RELOAD(
            {KEY_EXPRESSION: ITEM for ITEM in IDS_OF(IDS)},
            GROUP_EXPRESSION,
            lambda MISSING: FUNCTION(LEAD MISSING, REST),
            lambda ITEM: TAGS_EXPRESSION,
        )
    async def INVALIDATE(DEFINITION):
        await DROP([KEY_EXPRESSION for ITEM in IDS_OF(IDS)])
    def KEY_OF(DEFINITION):
        ITEM = IDS
        return FINISH(KEY_EXPRESSION)
    return WRAPPER, KEY_OF, INVALIDATE, REFRESH
"""


class ManyWiring(Wiring):
    """What the wrapper of a batch function calls."""

    @cached_property
    def id_text(self) -> Writer:
        """What writes an id as it stands in keys."""
        return self.keys.writers[self.keys.fields.index("")]

    async def read_many(
        self,
        asked: Sequence[Any],
        key_of: Callable[[Any], str],
        group: str,
        load: Callable[[Sequence[Any]], Awaitable[Mapping[Any, Any]]],
        tags: Callable[[Any], tuple[str, ...]],
    ) -> dict[Any, Any]:
        """Return the values of those ids that exist; one call loads all that are missing."""
        ids: dict[str, Any] = {}
        for part in parts(asked):
            if ids:
                await asyncio.sleep(0)
            ids.update({finish(key_of(id)): id for id in part})
        call_of = self._calls(apart(ids), group, load, tags)
        found = await self.engine.read_many(ids, self.call(), call_of)
        return {id: value for key, id in ids.items() if (value := found[key]) is not None}

    async def refresh_many(
        self,
        keys: Mapping[str, Any],
        group: str,
        load: Callable[[Sequence[Any]], Awaitable[Mapping[Any, Any]]],
        tags: Callable[[Any], tuple[str, ...]],
    ) -> dict[Any, Any]:
        """Load all ids now."""
        ids = apart({finish(key): id for key, id in keys.items()})
        found = await self.engine.refresh_many(ids, self._calls(ids, group, load, tags))
        return {ids[key]: value for key, value in found.items() if value is not None}

    def _calls(
        self,
        ids: Mapping[str, Any],
        group: str,
        load: Callable[[Sequence[Any]], Awaitable[Mapping[Any, Any]]],
        tags: Callable[[Any], tuple[str, ...]],
    ) -> Callable[[str], Call]:
        together = Group(identity=(self.name, group), load=load, text=self.id_text)

        def call_of(key: str) -> Call:
            id = ids[key]
            return self.call(group=together, id=id, tags=unique(map(finish, tags(id))))

        return call_of

    async def drop_many(self, keys: Sequence[str]) -> None:
        """Drop the values of some ids."""
        self.tally.invalidations += 1
        await self.engine.changes.invalidate(tuple(map(finish, keys)), ())


def wrap_many(
    function: Callable[..., Any],
    template: str | None,
    tags: Sequence[str],
    *,
    options: Options,
    policy: Policy | None,
) -> tuple[Any, ManyWiring]:
    """Return the cached form of a batch function, and how it is wired."""
    check_async(function, "cached_many")
    shape = CallShape.of(function)
    keys = key_template(shape, template, batch=True).typed(shape)
    arguments = get_args(result_type(function))
    value_type = arguments[1] if len(arguments) == 2 else Any
    wiring = ManyWiring(
        keys=keys,
        tags=[Template.parse(tag).typed(shape) for tag in tags],
        name=shape.name,
        options=options,
        policy=policy,
        plannable=template is not None or bool(tags),
        type=value_type,
    )
    bind = _compile(function, shape, wiring)
    return dress(function, shape, bind, wiring), wiring


def _compile(function: Callable[..., Any], shape: CallShape, wiring: ManyWiring) -> Callable[[object], Any]:
    names = shape.names()
    item = names.fresh("item")
    blank = names.bind("blank", None)
    others = replace(
        shape,
        parameters=tuple(
            each for each in shape.parameters if each.name not in (shape.iterable, shape.instance)
        ),
    )
    each_tag = (f"{tag.expression(shape, names, item=item)}, " for tag in wiring.tags)
    source = {
        "DEFINITION": shape.definition(names, bound=shape.instance is not None),
        "IDS": cast("str", shape.iterable),
        "ITEM": item,
        "LEAD": f"{shape.instance}," if shape.instance else "",
        "REST": others.forward(),
        "INSTANCE": shape.instance or names.fresh("instance"),
        "KEY_EXPRESSION": wiring.keys.expression(shape, names, item=item),
        "GROUP_EXPRESSION": wiring.keys.expression(shape, names, item=blank),
        "TAGS_EXPRESSION": "".join(("(", *each_tag, ")")),
    }
    constants = {
        "IDS_OF": partial(_ids_of, shape.name, shape.iterable or "ids"),
        "READ": wiring.read_many,
        "RELOAD": wiring.refresh_many,
        "DROP": wiring.drop_many,
        "FINISH": finish,
        "FUNCTION": function,
    }
    return cast("Callable[[object], Any]", generate(_SOURCE, "BIND", source, constants, names, shape.name))


def _ids_of(function: str, parameter: str, ids: object) -> list[Any]:
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise TypeError(f"{function}: {parameter} takes an iterable of ids, not {type(ids).__name__}")
    each: list[Any] = list(ids)
    try:
        set(each)
    except TypeError as error:
        raise TypeError(
            f"{function}: {parameter} takes ids that can be keys of a mapping, not {error}"
        ) from None
    return each
