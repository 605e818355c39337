"""A miss: what is beyond the load itself, which here returns at once, so that nothing hides behind it."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from acache import Cache
from benchmarks import _measure as measure
from benchmarks._peers import SLOW, peers, plain
from benchmarks._table import Row

SUITE = "memory"
TIMES = 2_000


async def run(rounds: int) -> list[Row]:
    """Measure misses one after the other, each of a key that was never read."""
    async with Cache("memory://?max_entries=10000") as cache:

        async def direct(key: int) -> object:
            return await cache.get_or_load(f"d:{key}", lambda: plain(key), ttl=300)

        async def task(key: int) -> object:
            return await asyncio.get_running_loop().create_task(plain(key))

        functions = {"acache": cache.cached("user:{user_id}", ttl=300)(plain), **peers()}
        runs = {
            name: _missing(function, 500 if name in SLOW else TIMES) for name, function in functions.items()
        }
        runs["bare task, no cache"] = _missing(task, TIMES)
        aside = {"acache get_or_load": _missing(direct, TIMES)}
        times = await measure.interleaved({**runs, **aside}, rounds)
    rows = [measure.row(SUITE, f"decorated miss, {name}", times[name], "µs", runs[name]) for name in runs]
    rows.append(measure.row(SUITE, "miss of get_or_load", times["acache get_or_load"], "µs"))
    for rival in ("async_lru", "cashews"):
        ratio, spread = measure.ratios(times["acache"], times[rival])
        rows.append(Row(suite=SUITE, name=f"miss vs {rival}", value=ratio, unit="×", spread=spread))
    return rows


def _missing(read: Callable[[int], Awaitable[object]], times: int) -> measure.Busy:
    keys = count()

    async def work() -> None:
        for _ in range(times):
            await read(next(keys))

    return measure.Busy(work, times)
