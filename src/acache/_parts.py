"""Do in parts what would hold the loop too long in one go. Knows nothing of caching."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

T = TypeVar("T")

PART: Final = 1_000  # keys, each some microseconds


def parts(items: Iterable[T], size: int = PART) -> Iterator[list[T]]:
    """Return *items* in lists of at most *size*."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run *works* at the same time, one begun in each tick, and return what they return.

    The first error comes out, and ends the others as cancelling does; no task is left."""
    tasks: list[asyncio.Task[T]] = []
    try:
        for work in works:
            tasks.append(asyncio.create_task(work))
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)
    finally:
        left = [task for task in tasks if not task.done() and task.cancel()]
        if left:
            await asyncio.wait(left)
