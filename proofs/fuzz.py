"""Damaged and hostile bytes, keys, templates, URLs and journal files, by the million."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from proofs import _fuzz_bytes, _fuzz_journal, _fuzz_text
from proofs._figures import Figure
from proofs._fuzz_bytes import Found
from proofs._workers import spread

CHUNKS = 40  # of each part, for the workers
PARTS: dict[str, tuple[str, int, float | None, str, Callable[[int, int], Found]]] = {
    "damaged": (
        "corrupted envelopes, all codecs",
        1_000_000,
        60.0,
        "0 accepted, 0 foreign exceptions, 0 code executed",
        _fuzz_bytes.damaged,
    ),
    "hostile": (
        "hostile payloads, validly signed",
        100_000,
        None,
        "0 foreign exceptions",
        _fuzz_bytes.hostile,
    ),
    "keys": ("keys of made-up arguments", 100_000, None, "0 shared, 0 foreign exceptions", _fuzz_text.keys),
    "templates": ("made-up templates", 50_000, None, "0 foreign exceptions", _fuzz_text.templates),
    "urls": ("made-up URLs", 20_000, None, "0 secrets told, 0 foreign exceptions", _fuzz_text.urls),
    "journals": (
        "damaged journal files",
        600,
        None,
        "0 writes changed, 0 foreign exceptions",
        _fuzz_journal.journals,
    ),
}


def arguments(parser: ArgumentParser) -> None:
    """Add what this proof can be told."""
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers; 0.01 is a slice")
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 runs it all in this one")
    parser.add_argument("--only", default="", help="parts whose name holds this text")


def run(options: Namespace) -> tuple[list[Figure], dict[str, object]]:
    """Run every part that was asked for."""
    figures = [
        _figure(name, options.scale, options.seed, options.workers) for name in PARTS if options.only in name
    ]
    return figures, {"seed": options.seed, "scale": options.scale}


def _figure(name: str, scale: float, seed: int, workers: int) -> Figure:
    what, count, limit, target, _ = PARTS[name]
    chunks = max(1, min(CHUNKS, round(CHUNKS * scale)))
    each = max(1, round(count * scale / chunks))
    started = time.monotonic()
    found = Found()
    jobs = [(name, seed + chunk, each) for chunk in range(chunks)]
    for one in spread(attempt, jobs, workers, what, [each] * chunks):
        found += one
    for problem, times in found.foreign.most_common(5):
        print(f"{name}: {times} times {problem}")
    return Figure(
        name=f"{what}, seeds {seed} to {seed + chunks - 1}",
        found=f"{found.attempts:,}: {found.accepted} accepted, {found.foreign.total()} foreign,"
        f" {found.executed} executed",
        target=target,
        passed=found.clean,
        seconds=time.monotonic() - started,
        limit=limit,
    )


def attempt(job: tuple[str, int, int]) -> Found:
    """Run one chunk, in a worker."""
    name, seed, count = job
    return PARTS[name][4](seed, count)
