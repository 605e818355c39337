"""Hit ratios: of the memory store, of LRU, and of the best that any cache of that size could reach."""

import gzip
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate, chain
from pathlib import Path
from random import Random
from statistics import fmean

from acache._entry import Entry
from acache._memory import MemoryStore
from benchmarks._table import Row, at_least

SUITE = "eviction"
CAPACITIES = {
    "multi1": (200, 500, 1000),
    "multi3": (500, 1000, 3000),
    "sprite": (100, 500, 1000),
    "cpp": (50, 100, 500),
    "web12": (500, 2000, 6000),
    "loop": (250, 500, 1000),
    "zigzag": (500, 1000),
}
CLASSIC = {"loop", "zigzag"}  # made to break policies: beside the mean
Trace = Sequence[str]


def run(folder: Path | None) -> list[Row]:
    """Return the rows of the made patterns, and of the traces in *folder*."""
    rows = list(chain.from_iterable(patterns()))
    return rows + traces(folder) if folder else rows


def acache_hits(trace: Trace, capacity: int) -> int:
    """Return how many reads of *trace* find their key."""
    store, hits = MemoryStore(capacity), 0
    for key in trace:
        entry = store.lookup(key)
        if entry is None:
            store.put(key, Entry.of(key))
        else:
            entry.used = True
            hits += 1
    return hits


def lru_hits(trace: Trace, capacity: int) -> int:
    """Return how many reads of *trace* would find their key in an LRU cache."""
    order: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in order:
            order.move_to_end(key)
            hits += 1
        else:
            if len(order) >= capacity:
                order.popitem(last=False)
            order[key] = None
    return hits


def opt_hits(trace: Trace, capacity: int) -> int:
    """Return how many hits the best possible cache has, which must keep each key that it reads.

    Belady (1966): what is read again last goes first, as only the future knows."""
    following = [len(trace)] * len(trace)
    seen: dict[str, int] = {}
    for place in range(len(trace) - 1, -1, -1):
        following[place] = seen.get(trace[place], len(trace))
        seen[trace[place]] = place
    held: dict[str, int] = {}  # when each is read again
    latest: list[tuple[int, str]] = []  # of those that are or were held
    hits = 0
    for place, key in enumerate(trace):
        if key in held:
            hits += 1
        elif len(held) >= capacity:
            while True:
                when, victim = heappop(latest)
                if held.get(victim) == -when:
                    del held[victim]
                    break
        held[key] = following[place]
        heappush(latest, (-following[place], key))
    return hits


def compared(name: str, trace: Trace, capacity: int, *, at_most_below: float) -> list[Row]:
    """Return how many points of hit ratio acache is above LRU, and the ratios themselves."""
    title = f"{name}@{capacity}"
    ratios = {
        whose: 100 * hits(trace, capacity) / len(trace)
        for whose, hits in (("acache", acache_hits), ("LRU", lru_hits), ("OPT", opt_hits))
    }
    above = ratios["acache"] - ratios["LRU"]
    return [
        *(
            Row(suite=SUITE, name=f"hit ratio, {title}, {who}", value=n, unit="%")
            for who, n in ratios.items()
        ),
        at_least(SUITE, f"{title}: above LRU", above, -at_most_below, unit="points"),
    ]


def _told(what: str, ratios: Mapping[str, float]) -> list[Row]:
    return [
        Row(suite=SUITE, name=f"hit ratio, {what}, {whose}", value=ratio, unit="%")
        for whose, ratio in ratios.items()
    ]


def traces(folder: Path) -> list[Row]:
    """Compare on every trace at every capacity, and on the mean over the real ones.

    A trace is a file `NAME.txt.gz`, one key per line."""
    rows: list[Row] = []
    real: list[list[float]] = []
    for name, capacities in CAPACITIES.items():
        trace = gzip.decompress((folder / f"{name}.txt.gz").read_bytes()).decode().split()
        for capacity in capacities:
            found = compared(name, trace, capacity, at_most_below=5 if name == "zigzag" else 2)
            rows += found
            if name not in CLASSIC:
                real.append([row.value for row in found])
    means = dict(zip(("acache", "LRU", "OPT", "above"), map(fmean, zip(*real, strict=True)), strict=True))
    above = means.pop("above")
    what = f"mean of {len(real)} real rows"
    return [
        *rows,
        *_told(what, means),
        at_least(SUITE, f"{what}: above LRU", above, 2, unit="points"),
    ]


def zipf(reads: int, keys: int, seed: int = 1) -> list[str]:
    """Return reads of *keys* keys, the n-th most popular with a weight of 1/n."""
    rng = Random(seed)
    names = [f"user:{number}" for number in rng.sample(range(keys), keys)]
    weights = list(accumulate(1 / rank for rank in range(1, keys + 1)))
    return [names[bisect_left(weights, rng.random() * weights[-1])] for _ in range(reads)]


def patterns() -> Iterator[list[Row]]:
    """Compare on patterns that are known to break one policy or another."""
    popular = zipf(300_000, 100_000)
    yield compared("zipf(1.0)", popular, 10_000, at_most_below=2)
    scans = chain.from_iterable((key, f"scan:{number}") for number, key in enumerate(popular[:100_000]))
    yield compared("zipf beside a scan", list(scans), 5_000, at_most_below=2)
    for gap in (50, 500, 900):
        twice = [f"{number}" for n in range(50_000) for number in (n, n - gap)]
        yield compared(f"every key twice, {gap} apart", twice, 2_000, at_most_below=2)
    yield compared("loop over 1,100", [f"{n % 1_100}" for n in range(100_000)], 1_000, at_most_below=2)
    turning = [*range(2_000), *range(1_999, -1, -1)]
    yield compared("zigzag over 2,000", [f"{n}" for n in turning * 20], 1_000, at_most_below=5)
