"""Make one request of all that are asked for in one tick of the loop.

A batch runs in a task of its own, so that no caller's cancellation harms another. It takes
callbacks, not futures: a thousand reads that hit cost no task and no future of ours. An item can
be joined until its batch departs; afterwards it starts another."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar, final

from msgspec import field

from acache._singleflight import INSIDE, Node

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

Landed = Callable[[R | None, Exception | None], None]
"""Takes the answer of the whole batch, or its error; neither if it was cancelled. Must not raise."""


@final
class Batch(Node, Generic[K, R], eq=False):
    """The requests of one tick."""

    items: dict[K, list[Landed[R]]] = field(default_factory=dict[K, list[Landed[R]]])
    names: dict[K, str] = field(default_factory=dict[K, str])  # what those who ask call each item
    waiting: int = 0
    task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Show how many are asked for, and nothing that may be secret."""
        return f"<Batch of {len(self.items)}>"

    def leave(self) -> None:
        """Note that one of those who asked no longer wants an answer; cancel when none does."""
        self.waiting -= 1
        if self.waiting <= 0 and self.task is not None:
            self.task.cancel()


Send = Callable[["Batch[K, R]", Sequence[K]], Awaitable[R]]
"""Makes the request for all items of a batch."""


class Batcher(Generic[K, R]):
    """Collects items during a tick, per group, and sends each group together."""

    __slots__ = ("_context", "_keep", "_loop", "_max_items", "_open")

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        keep: Callable[[asyncio.Task[Any]], object],
        context: Callable[[], Context],
        max_items: int = 1_000,
    ) -> None:
        """*keep* owns the task of a batch, which runs in what *context* returns."""
        self._loop = loop
        self._keep = keep
        self._context = context
        self._max_items = max_items
        self._open: dict[Hashable, Batch[K, R]] = {}

    def add(
        self, group: Hashable, send: Send[K, R], item: K, landed: Landed[R], *, name: str = ""
    ) -> Batch[K, R]:
        """Ask for *item* in this tick's batch of *group*, which the first asker's *send* requests.

        *landed* is called once with the answer. Items that are equal but of different *name*, 1 and
        True, go into different batches: one mapping could not answer both."""
        batch = self._open.get(group)
        if batch is None or len(batch.items) >= self._max_items or batch.names.setdefault(item, name) != name:
            batch = self._open[group] = Batch()
            batch.names[item] = name
            self._loop.call_soon(self._depart, group, batch, send)
        batch.items.setdefault(item, []).append(landed)
        batch.waiting += 1
        return batch

    def _depart(self, group: Hashable, batch: Batch[K, R], send: Send[K, R]) -> None:
        if self._open.get(group) is batch:
            del self._open[group]
        if batch.waiting <= 0 or batch.over:
            batch.over = True
            return
        context = self._context()
        context.run(INSIDE.set, batch)
        task = batch.task = self._loop.create_task(_run(batch, send), context=context)
        if not task.done():
            self._keep(task)
            task.add_done_callback(lambda _: _land(batch, None, None))

    def close(self) -> None:
        """Cancel the batches that have not departed."""
        batches, self._open = self._open, {}
        for batch in batches.values():
            _land(batch, None, None)


async def _run(batch: Batch[K, R], send: Send[K, R]) -> None:
    try:
        answer = await send(batch, list(batch.items))
    except Exception as error:  # noqa: BLE001 - it goes to those who asked
        _land(batch, None, error)
    else:
        _land(batch, answer, None)


def _land(batch: Batch[K, R], answer: R | None, error: Exception | None) -> None:
    if batch.over:
        return
    batch.over = True
    for landed in [landed for asked in batch.items.values() for landed in asked]:
        landed(answer, error)
