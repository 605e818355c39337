"""Real servers behind a bad network, killed, stopped and restarted: the reliability table."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from proofs import _crowds, _faults, _outages, _soak
from proofs._figures import Figure
from proofs._servers import ROOT, postgres, valkey

BLOCKED = 0.020  # seconds for which the loop may be blocked
GROWTH = 0.05  # share that memory may grow: an allocator's noise
SERVERS = 5
SCENARIO = "one process"
KILLS = 400  # of which this scenario gets its third, and half as many again of those who recover
P99 = 2 * _outages.TIMEOUT  # seconds: one timeout, and the load


def arguments(parser: ArgumentParser) -> None:
    """Add what this proof can be told."""
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers and times; 0.05 is a slice")
    parser.add_argument("--seed", type=int, default=0, help="of the network's and the readers' chance")
    parser.add_argument("--only", default="", help="parts whose name holds this text")


def run(options: Namespace) -> tuple[list[Figure], dict[str, object]]:
    """Run every part that was asked for."""
    logging.disable(logging.CRITICAL)  # each outage would be told
    figures: list[Figure] = []
    try:
        for name, part in PARTS.items():
            if options.only in name:
                print(f"{name} ...", file=sys.stderr, flush=True)
                figures += part(options.scale, options.seed)
    finally:
        logging.disable(logging.NOTSET)
    return figures, {"seed": options.seed, "scale": options.scale}


def _figure(name: str, found: str, target: str, started: float, limit: float | None, *, good: bool) -> Figure:
    took = time.monotonic() - started
    return Figure(name=name, found=found, target=target, passed=good, seconds=took, limit=limit)


def _some(count: float, scale: float, *, least: int = 1) -> int:
    return max(least, round(count * scale))


# --- parts ------------------------------------------------------------------------------------------


def faults_of_valkey(scale: float, seed: int) -> Iterator[Figure]:
    """Every operation of a cache under every fault."""
    del seed  # each cell has its own
    with valkey() as server:
        yield from _cells("cache over Valkey", lambda: _faults.cache_cells(server.port, every=_every(scale)))


def faults_of_postgres(scale: float, seed: int) -> Iterator[Figure]:
    """Every operation of a source under every fault."""
    del seed
    with postgres(tcp=True) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        yield from _cells(
            "sources over PostgreSQL",
            lambda: _faults.source_cells(server.url, port, every=_every(scale)),
        )


def _every(scale: float) -> int:
    return 1 if scale >= 1 else max(1, round(0.25 / scale))


def _cells(what: str, work: Callable[[], Awaitable[_faults.Cells]]) -> Iterator[Figure]:
    started = time.monotonic()
    cells = asyncio.run(work())
    for problem in cells.problems[:20]:
        print(problem)
    yield _figure(
        f"{what}: operations under faults",
        f"{cells.run}, {len(cells.problems)} problems; slowest {cells.slowest:.2f} s,"
        f" healed in {cells.slowest_healing:.1f} s at most",
        "each ends in time, answers right, heals",
        started,
        None,
        good=not cells.problems and cells.run > 0,
    )


def killed_server(scale: float, seed: int) -> Iterator[Figure]:
    """Kill -9 under load: some servers side by side, because a cache looks again a second after a failure."""

    async def side_by_side() -> _outages.Load:
        work = [
            _outages.kills(server, _some(100 / SERVERS, scale), seed=seed + number)
            for number, server in enumerate(servers)
        ]
        load = _outages.Load()
        for other in await asyncio.gather(*work):
            load += other
        return load

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(valkey()) for _ in range(SERVERS)]
        started = time.monotonic()
        load = asyncio.run(side_by_side())
        yield _outage("kill -9 of Valkey under load, stale allowed", load, started, 30.0)


def stopped_server(scale: float, seed: int) -> Iterator[Figure]:
    """SIGSTOP under load."""
    with valkey() as server:
        started = time.monotonic()
        load = asyncio.run(_outages.stops(server, _some(10, scale, least=2), seed=seed))
        yield _outage("SIGSTOP of Valkey under load, stale allowed", load, started, None)


def _outage(what: str, load: _outages.Load, started: float, limit: float | None) -> Figure:
    for failed in load.failed[:5]:
        print(failed)
    p99, worst = load.quantile(0.99), max(load.latencies)
    return _figure(
        f"{what}: {load.outages}",
        f"{len(load.failed)} of {len(load.latencies):,} reads failed, {load.wrong} wrong;"
        f" p99 {p99 * 1e3:.1f} ms, slowest {worst * 1e3:.0f} ms; found again {load.reconnected} times",
        f"0 failed, 0 wrong, p99 <= {P99 * 1e3:.0f} ms",
        started,
        limit,
        good=not load.failed and not load.wrong and p99 <= P99 and load.reconnected > 0,
    )


def cancelled_reads(scale: float, seed: int) -> Iterator[Figure]:
    """Cancel reads in flight."""
    with valkey() as server:
        count = _some(10_000, scale)
        started = time.monotonic()
        crowd = asyncio.run(_crowds.cancelled_reads(server.port, count, seed=seed))
        yield _figure(
            "reads cancelled in flight through a delaying proxy",
            f"{crowd.cancelled:,} cancelled, {crowd.wrong} of {crowd.answered:,} answers wrong",
            "0 wrong",
            started,
            60.0,
            good=not crowd.wrong and crowd.cancelled >= count,
        )


def misses(scale: float, seed: int) -> Iterator[Figure]:
    """Miss one key, ten thousand at once."""
    del seed
    count = _some(10_000, scale)
    with valkey() as server:
        for where, url in (("here", None), ("over Valkey", server.url)):
            started = time.monotonic()
            loads = asyncio.run(_crowds.misses_of_one_key(url, count))
            name = f"concurrent misses of one key {where}: {count:,}"
            yield _figure(name, f"{loads} load", "1 load", started, 10.0, good=loads == 1)


def crashed_writers(scale: float, seed: int) -> Iterator[Figure]:
    """Kill a process that writes behind, with a journal in SQLite; `nox -s crash` has more of these."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "figures.json")
        shared_out = ["--only", SCENARIO, f"--kills={_some(KILLS, scale, least=4)}"]
        done = subprocess.run(
            [
                sys.executable,
                ROOT / "tests/crash/crash_runner.py",
                *shared_out,
                f"--seed={seed}",
                "--json",
                told,
            ],
            check=False,
            stdout=subprocess.DEVNULL,
        )
        found = json.loads(told.read_text(encoding="utf-8"))["scenarios"][SCENARIO] if told.exists() else {}
    lost, back, deepest = (found.get(name, -1) for name in ("lost", "back", "deepest"))
    yield _figure(
        f"kill -9 of a process writing behind (SQLite journal): {found.get('kills', 0)}",
        f"{lost} of {found.get('acknowledged', 0):,} acknowledged writes lost, {back} out of order;"
        f" backlog up to {deepest}, batch {found.get('batch', 0)}",
        "0 lost, 0 out of order",
        started,
        60.0,
        good=done.returncode == 0 and lost == back == 0 and deepest > found["batch"],
    )


def soaked(scale: float, seed: int) -> Iterator[Figure]:
    """Run at capacity for a minute."""
    with valkey("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as server:
        started = time.monotonic()
        found = asyncio.run(_soak.soak(server.url, max(3.0, 60.0 * scale), seed=seed))
    grown = found.growth(found.memory)
    steady = abs(found.growth(found.tasks)) <= 0.2 and found.growth(found.descriptors) <= 0
    yield _figure(
        f"soak at capacity, {found.reads:,} reads, {found.evictions:,} evictions",
        f"growth: tasks {found.growth(found.tasks):+.1%} ({found.tasks[-1]}), descriptors"
        f" {found.growth(found.descriptors):+.1%} ({found.descriptors[-1]}), memory {grown:+.2%}"
        f" ({found.memory[-1] / 2**20:.0f} MiB); {found.wrong} wrong",
        f"no growth (memory <= {GROWTH:.0%})",
        started,
        None,
        good=steady and grown <= GROWTH and not found.wrong and found.evictions > 0,
    )
    yield Figure(
        name="soak: event loop blocked",
        found=f"{found.blocked * 1e3:.1f} ms of CPU (late by {found.late * 1e3:.0f} ms on this machine)",
        target=f"<= {BLOCKED * 1e3:.0f} ms",
        passed=found.blocked <= BLOCKED,
    )


PARTS: dict[str, Callable[[float, int], Iterator[Figure]]] = {
    "faults of a cache over Valkey": faults_of_valkey,
    "faults of sources over PostgreSQL": faults_of_postgres,
    "killed server": killed_server,
    "stopped server": stopped_server,
    "cancelled reads": cancelled_reads,
    "misses": misses,
    "crashed writers": crashed_writers,
    "soak": soaked,
}
