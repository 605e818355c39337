"""Group commit: what arrives while one transaction is written shares the next one's fsync.

Knows nothing of files or SQL: a job is opaque, and `write` makes a list of them durable at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

J = TypeVar("J")


@dataclass(slots=True, eq=False)
class _Line(Generic[J]):
    """Who waits in one loop, and the task that writes for them while there is something to write."""

    loop: asyncio.AbstractEventLoop
    waiting: list[tuple[J, asyncio.Future[None]]] = field(
        default_factory=list[tuple[J, asyncio.Future[None]]]
    )
    writer: asyncio.Task[None] | None = None


class GroupCommit(Generic[J]):
    """Owned by one journal. Loops may take turns: what one that has ended left behind is dropped."""

    def __init__(self, write: Callable[[Sequence[J]], Awaitable[Sequence[Exception | None]]]) -> None:
        self._write = write
        self._line: _Line[J] | None = None

    async def run(self, job: J) -> None:
        """Return once *job* is durable, or raise what became of it.

        Cancelled, the job may or may not have been done; the others are not disturbed."""
        loop = asyncio.get_running_loop()
        line = self._line
        if line is None or line.loop is not loop:
            line = self._line = _Line(loop)
        done: asyncio.Future[None] = loop.create_future()
        line.waiting.append((job, done))
        if line.writer is None:
            line.writer = loop.create_task(self._write_all(line), name="acache journal")
        await done

    async def drain(self) -> None:
        """Wait until nothing is being written."""
        line = self._line
        if line is not None and line.writer is not None and line.loop is asyncio.get_running_loop():
            await asyncio.wait([line.writer])

    async def _write_all(self, line: _Line[J]) -> None:
        group: list[tuple[J, asyncio.Future[None]]] = []
        try:
            while line.waiting:
                group, line.waiting = line.waiting, []
                group = [(job, done) for job, done in group if not done.done()]
                _settle(group, await self._outcomes([job for job, _ in group]))
        finally:
            # Also when somebody cancels this task: nobody may wait for ever.
            line.writer = None
            left, line.waiting = [*group, *line.waiting], []
            if not line.loop.is_closed():
                for _, done in left:
                    done.cancel()

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
