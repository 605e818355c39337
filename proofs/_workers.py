"""Spread work over processes, and show how far it is. Knows no proof."""

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def processor_time() -> float:
    """Return the seconds of CPU that this process and its ended workers took: what a busy machine keeps."""
    return sum(os.times()[:4])


def spread(
    work: Callable[[T], R], items: Sequence[T], workers: int, what: str, sizes: Sequence[int]
) -> Iterator[R]:
    """Yield what *work* makes of each item, in whatever order; *sizes* is how many of *what* each is."""
    total, done, told = sum(sizes), 0, 0
    for size, result in _results(work, list(zip(sizes, items, strict=True)), workers):
        done += size
        yield result
        if total and done * 10 // total > told:
            told = done * 10 // total
            print(f"{done:,} of {total:,} {what}", file=sys.stderr, flush=True)


def _results(work: Callable[[T], R], items: Sequence[tuple[int, T]], workers: int) -> Iterator[tuple[int, R]]:
    if not workers:
        yield from ((size, work(item)) for size, item in items)
        return
    # A seed replays only where sets are ordered alike, and where no single seed was asked for.
    os.environ["PYTHONHASHSEED"] = "0"
    os.environ.pop("ACACHE_SEED", None)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_quiet) as pool:
        pending = {pool.submit(work, item): size for size, item in items}
        for future in as_completed(pending):
            yield pending[future], future.result()


def _quiet() -> None:
    """Log nothing: each outage that a scenario makes would be told."""
    logging.disable(logging.CRITICAL)
