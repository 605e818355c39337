"""How the laws of a source or a journal run: each on a loop of its own. Knows no test framework."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar
from unittest import SkipTest

C = TypeVar("C", bound="AsyncLaws")
P = ParamSpec("P")


class AsyncLaws:
    """Tests that are plain methods, so that any runner of tests will do."""

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run a test's coroutine to its end, by default on a new loop; called again by some tests."""
        asyncio.run(main)

    async def around(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run *test* between what it needs before and after."""
        await test()

    async def checked(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run *test* and what is around it; fail if a task is left running."""
        await self.around(test)
        await asyncio.sleep(0)  # tasks that were cancelled a moment ago may end
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks still running: {left}"


def law(
    *needs: str,
) -> Callable[[Callable[Concatenate[C, P], Awaitable[None]]], Callable[Concatenate[C, P], None]]:
    """Make a plain method of a test that is a coroutine function, skipped without what it *needs*."""

    def decorate(test: Callable[Concatenate[C, P], Awaitable[None]]) -> Callable[Concatenate[C, P], None]:
        def plain(self: C, /, *args: P.args, **kwargs: P.kwargs) -> None:
            for capability in needs:
                if not getattr(self, capability):
                    raise SkipTest(f"declared without {capability}")
            self.run(self.checked(lambda: test(self, *args, **kwargs)))

        plain.__name__, plain.__qualname__, plain.__doc__ = test.__name__, test.__qualname__, test.__doc__
        plain.__module__ = test.__module__
        return plain

    return decorate
