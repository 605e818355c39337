"""Group commit: what arrives while one transaction is written shares the next one's fsync.

Knows nothing of files or SQL: a job is opaque, and `write` makes a list of them durable at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

J = TypeVar("J")


class GroupCommit(Generic[J]):
    """Owned by one journal. One task writes while there is something to write, then ends.

    Loops may take turns: what a loop that has ended left behind is dropped."""

    def __init__(self, write: Callable[[Sequence[J]], Awaitable[Sequence[Exception | None]]]) -> None:
        self._write = write
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[J, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def run(self, job: J) -> None:
        """Return once *job* is durable, or raise what became of it.

        Cancelled, the job may or may not have been done; the others are not disturbed."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._waiting, self._writer = loop, [], None
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((job, done))
        if self._writer is None:
            self._writer = loop.create_task(self._write_all(), name="acache journal")
        await done

    async def drain(self) -> None:
        """Wait until nothing is being written."""
        if self._writer is not None and self._loop is asyncio.get_running_loop():
            await asyncio.wait([self._writer])

    async def _write_all(self) -> None:
        group: list[tuple[J, asyncio.Future[None]]] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                group = [(job, done) for job, done in group if not done.done()]
                _settle(group, await self._outcomes([job for job, _ in group]))
        finally:
            # Also when the loop is shut down and cancels this task: nobody may wait for ever.
            self._writer = None
            for _, done in (*group, *self._waiting):
                done.cancel()
            self._waiting = []

    async def _outcomes(self, jobs: Sequence[J]) -> Sequence[Exception | None]:
        if not jobs:
            return []
        try:
            return await self._write(jobs)
        except Exception as error:  # noqa: BLE001 - every waiter raises it
            return [error] * len(jobs)


def _settle(
    group: Sequence[tuple[object, asyncio.Future[None]]], outcomes: Sequence[Exception | None]
) -> None:
    for (_, done), outcome in zip(group, outcomes, strict=True):
        if done.done():
            continue
        if outcome is None:
            done.set_result(None)
        else:
            done.set_exception(outcome)
