"""The tasks that a cache owns: it keeps them, and ends them when it closes."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Tasks of two kinds: those that closing may cancel, and those that it waits for."""

    __slots__ = ("_must_end", "loop", "tasks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start with none."""
        self.loop = loop
        self.tasks: set[asyncio.Task[Any]] = set()
        """Those that closing cancels; who puts one in takes it out when it ends."""
        self._must_end: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self.tasks) + len(self._must_end)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Own a task that closing cancels."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* as a task that closing cancels."""
        task = self._task(work)
        self.keep(task)
        return task

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* as a task that nobody cancels; closing waits for it.

        Its error is retrieved in any case: *work* reports what matters itself."""
        task = self._task(work)
        self._must_end.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* as a task that nobody cancels, and wait for it; cancelling ends only the wait."""
        return await asyncio.shield(self.begin(work))

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        try:
            return self.loop.create_task(work)
        except RuntimeError:  # the loop was closed under us: *work* must not be reported as forgotten
            work.close()
            raise

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._must_end.discard(task)
        if not task.cancelled():
            task.exception()

    async def settle(self) -> None:
        """Wait until what nobody cancels has ended, with what it began."""
        while self._must_end:
            await asyncio.wait(self._must_end)

    async def aclose(self) -> None:
        """Cancel what may be cancelled, wait for the rest; afterwards no task is left."""
        while self.tasks or self._must_end:
            for task in self.tasks:
                task.cancel()
            await asyncio.wait(self.tasks | self._must_end)
