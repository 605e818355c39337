"""How the tests of a remote store reach it. Knows asyncio, but no test framework."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar
from unittest import SkipTest
from uuid import uuid4

from acache.protocols import RemoteStore

C = TypeVar("C", bound="RemoteClients")
P = ParamSpec("P")


class RemoteClients:
    """Two clients of one store, fresh for each test, and a namespace that no other test uses.

    A subclass implements `connect` and says what the store can do. Tests are plain methods that
    run their coroutine with `run`, so that any runner of tests will do.
    """

    leases: ClassVar[bool] = True
    """The store has `Leases`."""
    feed: ClassVar[bool] = True
    """The store has `Feed`."""
    tick: ClassVar[float] = 0.05
    """Seconds; a store that counts time to live in whole seconds says 1."""
    largest: ClassVar[int] = 4_000_000
    """Bytes of a value that the store must take."""

    a: Any
    b: Any
    namespace: str

    def connect(self) -> RemoteStore:
        """Return a new client of the store under test; called twice in each test."""
        raise SkipTest("the contract itself has no store")

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run a test's coroutine to its end, by default on a new loop."""
        asyncio.run(main)

    async def wait(self, seconds: float) -> None:
        """Let *seconds* pass for the store."""
        await asyncio.sleep(seconds)

    async def sever(self) -> None:
        """Close the connection of every listener, from the server's side."""
        raise SkipTest("this store's connections cannot be severed")

    def name(self, text: str) -> str:
        """Return the complete name of a key or tag."""
        return f"{self.namespace}:{{{text}}}"

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for what a callback brings; fail after five seconds of the store's time."""
        for _ in range(500):
            if true():
                return
            await self.wait(0.01)
        raise AssertionError("nothing came within five seconds")

    async def connected(self, test: Callable[[], Awaitable[None]]) -> None:
        """Await a test between the making and the closing of its clients."""
        self.namespace = f"contract-{uuid4().hex[:8]}"
        async with aclosing(self.connect()) as self.a, aclosing(self.connect()) as self.b:
            await test()


def law(test: Callable[Concatenate[C, P], Awaitable[None]], *needs: str) -> Callable[Concatenate[C, P], None]:
    """Make a plain method of a test that is a coroutine function, skipped without what it *needs*."""

    def plain(self: C, /, *args: P.args, **kwargs: P.kwargs) -> None:
        for capability in needs:
            if not getattr(self, capability):
                raise SkipTest(f"the store is declared without {capability}")
        self.run(self.connected(lambda: test(self, *args, **kwargs)))

    plain.__name__, plain.__qualname__, plain.__doc__ = test.__name__, test.__qualname__, test.__doc__
    plain.__module__ = test.__module__
    return plain


def lease_law(test: Callable[Concatenate[C, P], Awaitable[None]]) -> Callable[Concatenate[C, P], None]:
    """Like `law`, for stores with claims."""
    return law(test, "leases")


def feed_law(test: Callable[Concatenate[C, P], Awaitable[None]]) -> Callable[Concatenate[C, P], None]:
    """Like `law`, for stores with a feed; what it tells is changed through claims."""
    return law(test, "leases", "feed")
