"""Make any part of a cache unreliable, by seed: store, feed, source, journal, codec. Knows only protocols."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar, cast

from acache.errors import CacheError, CodecError, JournalFailed, SourceUnavailable, StoreUnavailable

P = TypeVar("P")


@dataclass(slots=True, kw_only=True)
class Chaos:
    """What strikes a part, and how often. Chances are between 0 and 1; change them at any time.

    Chance comes from *rng*, so that a seed repeats it: `sim.random` under `explore`. `struck` counts."""

    rng: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - tests repeat themselves
    fails: float = 0.0  # the call raises and has had no effect
    loses: float = 0.0  # the call has its effect, then raises: the answer got lost
    delay: float = 0.0  # seconds before and after each call, at most; drawn anew each time
    hangs: float = 0.0  # the call takes `hang` seconds longer
    hang: float = 5.0  # seconds
    repeats: float = 0.0  # a message of the feed is heard twice
    gaps: float = 0.0  # a message of the feed is lost with its connection: a gap is told instead
    on_fault: Callable[[], object] | None = None  # such as `sim.fault`
    struck: Counter[str] = field(default_factory=Counter[str])

    def strikes(self, what: str, chance: float) -> bool:
        """Draw, and count."""
        struck = chance > 0 and self.rng.random() < chance
        if struck:
            self.struck[what] += 1
            if self.on_fault is not None:
                self.on_fault()
        return struck

    async def around(self, call: Callable[[], Awaitable[Any]], error: type[CacheError], verb: str) -> Any:
        """Await *call*, or raise *error* before or after it."""
        await self._pause()
        if self.strikes("fails", self.fails):
            raise error(f"chaos: {verb} failed before it did anything")
        found = await call()
        lost = self.strikes("loses", self.loses)
        await self._pause()
        if lost:
            raise error(f"chaos: the answer to {verb} got lost")
        return found

    async def _pause(self) -> None:
        seconds = self.delay * self.rng.random() if self.delay else 0.0
        await asyncio.sleep(seconds + (self.hang if self.strikes("hangs", self.hangs) else 0.0))


def chaotic(part: P, chaos: Chaos) -> P:
    """Return *part* - a remote store, source, journal or codec - behind *chaos*.

    It has the methods that *part* has and no others, so a cache asks the same capabilities of it; errors
    are those that the protocol allows. Whatever else *part* has is read from it. Raises TypeError for what
    is none of these."""
    for methods, error in _SEAMS:
        if hasattr(part, methods[0]):
            made = {
                name: _METHODS.get(name, _asynchronous)(name, error)
                for name in methods
                if hasattr(part, name)
            }
            kind = type(f"Chaotic{type(part).__name__}", (_Chaotic,), made)
            return cast("P", kind(part, chaos))
    raise TypeError(f"{type(part).__name__} is no remote store, source, journal or codec")


class _Chaotic:
    """The part and its chaos; everything that is no method of a protocol is the part's."""

    def __init__(self, part: object, chaos: Chaos) -> None:
        self.part_behind = part
        self.chaos_before = chaos

    def __repr__(self) -> str:
        return f"<chaotic {self.part_behind!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part_behind, name)


def _asynchronous(name: str, error: type[CacheError]) -> Callable[..., Any]:
    async def method(self: _Chaotic, *args: Any, **named: Any) -> Any:
        return await self.chaos_before.around(
            lambda: getattr(self.part_behind, name)(*args, **named), error, name
        )

    return method


def _iterating(name: str, error: type[CacheError]) -> Callable[..., Any]:
    async def method(self: _Chaotic, *args: Any, **named: Any) -> AsyncIterator[Any]:
        async for found in getattr(self.part_behind, name)(*args, **named):
            yield await self.chaos_before.around(lambda found=found: _as_is(found), error, name)  # type: ignore[misc]

    return method


async def _as_is(found: object) -> object:
    return found


def _synchronous(name: str, error: type[CacheError]) -> Callable[..., Any]:
    def method(self: _Chaotic, *args: Any, **named: Any) -> Any:
        if self.chaos_before.strikes("fails", self.chaos_before.fails):
            raise error(f"chaos: {name} failed")
        return getattr(self.part_behind, name)(*args, **named)

    return method


def _untouched(name: str, error: type[CacheError]) -> Callable[..., Any]:
    del error

    async def method(self: _Chaotic) -> None:
        await getattr(self.part_behind, name)()

    return method


def _listening(name: str, error: type[CacheError]) -> Callable[..., Any]:
    del error

    def method(
        self: _Chaotic,
        *,
        heard: Callable[[bytes], None],
        gap: Callable[[], None],
        alive: Callable[[float], None],
    ) -> AbstractAsyncContextManager[None]:
        chaos = self.chaos_before

        def hear(message: bytes) -> None:
            if chaos.strikes("gaps", chaos.gaps):
                gap()
                return
            heard(message)
            if chaos.strikes("repeats", chaos.repeats):
                heard(message)

        found: AbstractAsyncContextManager[None] = getattr(self.part_behind, name)(
            heard=hear, gap=gap, alive=alive
        )
        return found

    return method


_STORE: Final = (
    "get_many",
    "set_many",
    "delete_many",
    "aclose",
    "peek",
    "versions",
    "stamp",
    "lease",
    "renew",
    "commit",
    "put",
    "drop",
    "fence",
    "settle",
    "release",
    "claims",
    "listen",
)
_JOURNAL: Final = (
    "append",
    "last",
    "recover",
    "acknowledge",
    "bury",
    "dead",
    "revive",
    "discard",
    "pending",
    "claim",
    "aclose",
)
# The first method of each tells which one a part is.
_SEAMS: Final[tuple[tuple[tuple[str, ...], type[CacheError]], ...]] = (
    (_STORE, StoreUnavailable),
    (_JOURNAL, JournalFailed),
    (("load", "save", "remove"), SourceUnavailable),
    (("encode", "decode"), CodecError),
)
_METHODS: Final[dict[str, Callable[[str, type[CacheError]], Callable[..., Any]]]] = {
    "aclose": _untouched,
    "listen": _listening,
    "recover": _iterating,
    "dead": _iterating,
    "encode": _synchronous,
    "decode": _synchronous,
}
