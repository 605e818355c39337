"""Make one request of all that are asked for in one tick of the loop.

A batch runs in a task of its own, so that no caller's cancellation harms another. Who asks is not
called back one by one: a batch lands once, with all who asked. An item can be joined until its
batch departs; afterwards it starts another."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextvars import Context
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar, final

from msgspec import field

from acache._singleflight import INSIDE, Node

A = TypeVar("A", bound="Asker")
K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Asker(Protocol):
    """Who asks for an item."""

    key: str  # what it calls the item


@final
class Batch(Node, Generic[K, A, R], eq=False, kw_only=True):
    """The requests of one tick."""

    carrier: "Carrier[K, A, R]"
    asked: dict[K, A] = field(default_factory=dict[K, A])
    again: list[A] = field(default_factory=list[A])  # who asked for an item that another had asked for
    waiting: int = 0
    task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Show how many are asked for, and nothing that may be secret."""
        return f"<Batch of {len(self.asked)}>"

    def __iter__(self) -> Iterator[A]:
        """Go through all who asked."""
        return chain(self.asked.values(), self.again)

    def leave(self) -> None:
        """Note that one of those who asked no longer wants an answer; cancel when none does."""
        self.waiting -= 1
        if self.waiting <= 0 and self.task is not None:
            self.task.cancel()

    def land(self, answer: R | None, error: Exception | None) -> None:
        """Hand the answer to all who asked; only the first landing counts."""
        if not self.over:
            self.over = True
            self.carrier.land(self, answer, error)


class Carrier(Protocol[K, A, R]):
    """Makes the request of a batch and hands out the answer."""

    def carry(self, batch: Batch[K, A, R], items: Sequence[K]) -> Coroutine[Any, Any, R]:
        """Make the request for all *items* of *batch*."""
        ...

    def land(self, batch: Batch[K, A, R], answer: R | None, error: Exception | None) -> None:
        """Take the answer, or the error; neither if the request was cancelled. Must not raise."""
        ...


class Batcher(Generic[K, A, R]):
    """Collects items during a tick, per group, and has each group carried together."""

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
        self._open: dict[Hashable, Batch[K, A, R]] = {}

    def add(self, group: Hashable, carrier: Carrier[K, A, R], item: K, who: A) -> Batch[K, A, R]:
        """Ask, on behalf of *who*, for *item* in this tick's batch of *group*.

        *carrier*: makes the request, and hands the answer to all who asked, if it is the first here.
        Items that are equal but of different keys, 1 and True, go into different batches: one mapping
        could not answer both."""
        batch = self._open.get(group)
        if batch is None or len(batch.asked) >= self._max_items or batch.asked.get(item, who).key != who.key:
            batch = self._open[group] = Batch(carrier=carrier)
            self._loop.call_soon(self._depart, group, batch)
        if batch.asked.setdefault(item, who) is not who:
            batch.again.append(who)
        batch.waiting += 1
        return batch

    def _depart(self, group: Hashable, batch: Batch[K, A, R]) -> None:
        if self._open.get(group) is batch:
            del self._open[group]
        if batch.waiting <= 0 or batch.over:
            batch.over = True
            return
        context = self._context()
        context.run(INSIDE.set, batch)
        task = batch.task = self._loop.create_task(_run(batch), context=context)
        if not task.done():
            self._keep(task)
            task.add_done_callback(lambda _: batch.land(None, None))

    def close(self) -> None:
        """Cancel the batches that have not departed."""
        batches, self._open = self._open, {}
        for batch in batches.values():
            batch.land(None, None)


async def _run(batch: Batch[K, A, R]) -> None:
    try:
        answer = await batch.carrier.carry(batch, list(batch.asked))
    except Exception as error:  # noqa: BLE001 - it goes to those who asked
        batch.land(None, error)
    else:
        batch.land(answer, None)
