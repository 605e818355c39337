"""Concurrent readers of hits, and what they read. Knows no cache."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter, thread_time

KEYS = 1_000  # distinct, spread over all readers
READERS = (1, 10, 100, 1_000)
Read = Callable[[int], Awaitable[object]]


def user(user_id: int) -> dict[str, int | str]:
    """Return a row of ten fields."""
    return {"id": user_id, "name": f"user {user_id}", **{f"field{n}": n * 1_000 for n in range(8)}}


class Readers:
    """A number of concurrent readers of one contestant; keeps CPU seconds beside wall seconds."""

    def __init__(self, read: Read, count: int, reads: int) -> None:
        """Share *reads* reads between *count* readers."""
        self._read = read
        self._count = count
        self._each = max(1, reads // count)
        self.cpu: list[float] = []

    async def __call__(self) -> float:
        """Return the wall seconds of a read."""
        began, cpu = perf_counter(), thread_time()
        await asyncio.gather(*(self._reader(number) for number in range(self._count)))
        total = self._count * self._each
        self.cpu.append((thread_time() - cpu) / total)
        return (perf_counter() - began) / total

    async def _reader(self, number: int) -> None:
        for turn in range(self._each):
            await self._read((number + turn * self._count) % KEYS)
