"""What is killed when: one process, four on a table, the recovery, PostgreSQL, and a disk that is full."""

import asyncio
import importlib.util
import itertools
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

from crash_figures import Figures
from crash_world import Slow, SlowTable, Teller, Worker, Write, behind, pattern, write_for_ever

from acache import Cache, WriteBehind
from acache.errors import JournalFailed
from acache.protocols import Journal, WritableSource
from acache_postgres import PostgresTable
from acache_redis import RedisJournal, RedisStore
from acache_sqlite import SQLiteJournal

KEYS = 40
SHARED = 80  # by four processes
WORKERS = 4
PADDING = "x" * 4_000
BACKENDS = Path(__file__).parents[2] / "backends"
POSTGRES = BACKENDS / "acache-postgres/tests/postgres_server.py"
VALKEY = BACKENDS / "acache-redis/tests/valkey_server.py"
ROWS = "CREATE TABLE rows (id {key} PRIMARY KEY, value bigint NOT NULL, version bigint, padding text)"
WATCH = """
PRAGMA journal_mode = WAL;
CREATE TABLE went_back (id INTEGER, old INTEGER, new INTEGER);
CREATE TRIGGER watch AFTER UPDATE ON rows WHEN new.value < old.value
BEGIN INSERT INTO went_back VALUES (new.id, old.value, new.value); END;
"""
Scenario = Callable[[Path, random.Random, int], Figures]
Open = Callable[[], WritableSource]


# --- one process ----------------------------------------------------------------------------------------


def alone(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Kill one process at random instants, and every other recovery too."""
    figures = Figures()
    path = _database(folder)
    writes: list[Write] = []
    while figures.kills < kills:
        worker = Worker(folder, partial(_write, folder, partial(_table, path), range(KEYS), rng.random()))
        worker.wait_until_it_works()
        _kill_soon(worker, rng, 0.2, figures)
        writes += _heard(worker, figures)
        _recover(folder, partial(_table, path), rng, figures, share=0.5)
        writes = _compare(figures, writes, path)
    return _finished(figures, folder, path)


# --- four processes -------------------------------------------------------------------------------------


def fleet(folder: Path, rng: random.Random, kills: int, *, versioned: bool) -> Figures:
    """Kill four processes that write to one table, one after the other, and every other recovery.

    With versions all of them write the same keys; without, each has keys of its own."""
    figures = Figures()
    path = _database(folder)
    open_ = partial(_table, path, version_column="version" if versioned else None)
    share = SHARED // WORKERS
    writes: list[Write] = []
    ends: list[int] = []
    ended: dict[tuple[int, int], int] = {}
    while figures.kills < kills:
        keys = [range(SHARED) if versioned else range(n * share, (n + 1) * share) for n in range(WORKERS)]
        workers = [Worker(folder, partial(_write, folder, open_, mine, rng.random())) for mine in keys]
        for worker in workers:
            worker.wait_until_it_works()
        for worker in rng.sample(workers, WORKERS):
            _kill_soon(worker, rng, 0.06, figures)
        ends.append(time.monotonic_ns())
        for worker in workers:
            writes += _heard(worker, figures)
        ended |= {(write.key, write.value): write.ended for write in writes}
        _recover(folder, open_, rng, figures, share=0.5)
        writes = _compare(figures, writes, path, ends)
    return _finished(figures, folder, path, ended if versioned else None)


# --- four processes, one journal ------------------------------------------------------------------------


def shared(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Kill processes that share a journal in a server, and now and then the server; the others go on.

    Each has keys of its own, which it also reads, and all write some keys together."""
    figures = Figures()
    path = _database(folder)
    open_ = partial(_table, path, version_column="version")
    share = SHARED // (WORKERS + 1)
    lanes = itertools.cycle(range(n * share, (n + 1) * share) for n in range(WORKERS))
    common = range(WORKERS * share, SHARED)
    with _launcher(VALKEY).valkey("--appendonly", "yes", "--appendfsync", "always") as server:

        def start() -> Worker:
            seed = rng.random()
            return Worker(folder, partial(_write_shared, server.url, open_, next(lanes), common, seed))

        workers = [start() for _ in range(WORKERS)]
        dead: list[Worker] = []
        while figures.kills < kills:
            for worker in workers:
                worker.wait_until_it_works()
            if figures.kills % 6 == 5:
                server.kill()
                server.start()
                figures.kills += 1
            dead.append(workers.pop(0))
            _kill_soon(dead[-1], rng, 0.2, figures)
            workers.append(start())
        for worker in workers:
            _kill_soon(worker, rng, 0.03, figures)
        end = time.monotonic_ns()
        recovery = Worker(folder, partial(_flush_shared, server.url, open_))
        figures.failed += not recovery.join()
        writes = [write for worker in (*dead, *workers) for write in _heard(worker, figures)]
        _compare(figures, writes, path, [end])
        figures.dead += asyncio.run(_count_dead(RedisJournal(server.url)))
        return _finished(figures, folder, path, {(each.key, each.value): each.ended for each in writes})


@asynccontextmanager
async def _sharing(url: str, open_: Open) -> AsyncIterator[WriteBehind]:
    """Open the pattern over the journal in the server; what a dead process had claimed is free soon."""
    journal = RedisJournal(url, timeout=20)
    cache = Cache(RedisStore(url, timeout=20))
    async with cache, open_() as table, behind(cache, table, journal=journal, claim_ttl=0.5) as rows:
        yield rows


async def _write_shared(url: str, open_: Open, keys: range, common: range, seed: float, tell: Teller) -> None:
    """Write for ever, whatever becomes of the server; read back what nobody else writes."""
    rng = random.Random(seed)
    last = dict.fromkeys(keys, 0)

    async def writer(key: int) -> None:
        while True:
            began = time.monotonic_ns()
            try:
                await rows.put(key, {"id": key, "value": began})
            except JournalFailed:
                tell.refused()
                await asyncio.sleep(0.01)
                continue
            if key in last:
                last[key] = began
            tell.acknowledged(Write(key, began, began, time.monotonic_ns()), rows.backlog.pending)

    async def reader() -> None:
        while True:
            key = rng.choice(keys)
            floor = last[key]
            try:
                found = await rows.get(key)
            except JournalFailed:
                await asyncio.sleep(0.01)
                continue
            if (found["value"] if found else 0) < floor:
                tell.stale()
            await asyncio.sleep(0.001)

    async with _sharing(url, open_) as rows:
        await asyncio.gather(*map(writer, (*keys, *common)), reader())


async def _flush_shared(url: str, open_: Open, tell: Teller) -> None:
    """Flush what all of them left, once their claims have ended."""
    del tell
    async with _sharing(url, open_) as rows:
        await rows.flush()


# --- the database is killed -----------------------------------------------------------------------------


class SlowPostgres(Slow, PostgresTable):
    """A slow table in PostgreSQL."""


def postgres(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Kill PostgreSQL under the flusher and start it again; then kill the process, and recover."""
    figures = Figures()
    with _launcher(POSTGRES).postgres(fsync="on") as server:
        server.psql(ROWS.format(key="bigint"))

        def open_() -> WritableSource:
            return SlowPostgres(server.url, "rows", columns=["id", "value"])

        worker = Worker(folder, partial(_write, folder, open_, range(KEYS), rng.random()))
        worker.wait_until_it_works()
        for _ in range(max(kills - 1, 1)):
            time.sleep(rng.uniform(0.05, 0.2))
            server.kill()
            figures.kills += 1
            time.sleep(rng.uniform(0.0, 0.1))
            server.start()
        _kill_soon(worker, rng, 0.2, figures)
        writes = _heard(worker, figures)
        _recover(folder, open_, rng, figures, share=0.0)
        lines = server.psql("SELECT id, value FROM rows").splitlines()
        figures.compare(writes, dict(tuple(map(int, line.split("|"))) for line in lines), ())
    return _finished(figures, folder)


# --- the disk is full -----------------------------------------------------------------------------------


def full_disk(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Write until the journal's disk is full, go on, kill the process, make room, and recover."""
    figures = Figures()
    path = _database(folder)
    while figures.kills < kills and not figures.skipped:
        with _small_disk(folder / "journal") as room:
            if room is None:
                figures.skipped = "skipped: only root can mount a small disk"
                return figures
            worker = Worker(folder, partial(_fill, folder, path))
            # Or far more than the disk can hold: then nothing was refused, and much will be lost.
            worker.wait_until(lambda report: report.resumed > 10 or len(report.writes) > 3_000)
            _kill_soon(worker, rng, 0.1, figures)
            writes = _heard(worker, figures)
            room("64m")
            _recover(folder, partial(_table, path, "padding"), rng, figures, share=0.0)
            _compare(figures, writes, path)
            _finished(figures, folder, path)
    return figures


async def _fill(folder: Path, path: Path, tell: Teller) -> None:
    """Write many keys for as long as it lasts; what is refused is told and tried again."""
    SlowTable.pause = 0.02
    async with _table(path, "padding") as table, pattern(folder, table) as rows:

        async def writer(lane: int) -> None:
            turn = 0
            while True:
                turn += 1
                key = lane * 1_000 + turn % 200
                began = time.monotonic_ns()
                try:
                    await rows.put(key, {"id": key, "value": began, "padding": PADDING})
                except JournalFailed:
                    tell.refused()
                    await asyncio.sleep(0.01)
                else:
                    write = Write(key, began, began, time.monotonic_ns())
                    tell.acknowledged(write, rows.backlog.pending)

        await asyncio.gather(*map(writer, range(20)))


@contextmanager
def _small_disk(place: Path) -> Iterator[Callable[[str], None] | None]:
    """Mount a disk of 14 MiB at *place*; yield what changes its size, None if that is not allowed."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


# --- what they share ------------------------------------------------------------------------------------


async def _write(folder: Path, open_: Open, keys: range, seed: float, tell: Teller) -> None:
    async with open_() as table, pattern(folder, table) as rows:
        await write_for_ever(rows, keys, tell, random.Random(seed))


async def _flush(folder: Path, open_: Open, tell: Teller) -> None:
    """Flush what an earlier process left."""
    del tell
    async with open_() as table, pattern(folder, table) as rows:
        await rows.flush()


def _recover(folder: Path, open_: Open, rng: random.Random, figures: Figures, *, share: float) -> None:
    """Recover; each attempt is killed with the chance *share* and made again."""
    while rng.random() < share:
        _kill_soon(Worker(folder, partial(_flush, folder, open_)), rng, 0.04, figures)
    figures.failed += not Worker(folder, partial(_flush, folder, open_)).join()


def _finished(
    figures: Figures,
    folder: Path,
    path: Path | None = None,
    ended: Mapping[tuple[int, int], int] | None = None,
) -> Figures:
    """Count what must not be there at the end: dead letters, and rows that went back in time.

    Of several writers of a key, a value may follow one that began later unless it had *ended* by then."""
    figures.dead += asyncio.run(_dead_letters(folder))
    if path is not None:
        with closing(sqlite3.connect(path)) as database:
            for key, old, new in database.execute("SELECT id, old, new FROM went_back"):
                figures.back += ended is None or ended.get((key, new), old) < old
    return figures


async def _dead_letters(folder: Path) -> int:
    return await _count_dead(SQLiteJournal(folder / "journal"))


async def _count_dead(journal: Journal) -> int:
    try:
        return sum([1 async for _ in journal.dead()])
    finally:
        await journal.aclose()


def _kill_soon(worker: Worker, rng: random.Random, seconds: float, figures: Figures) -> None:
    time.sleep(rng.uniform(0.001, seconds))
    worker.kill()
    figures.kills += 1


def _heard(worker: Worker, figures: Figures) -> list[Write]:
    report = worker.report()
    figures.add(report)
    return report.writes


def _compare(figures: Figures, writes: list[Write], path: Path, ends: Sequence[int] = ()) -> list[Write]:
    """Compare with the table; return the newest write of each key, which is what later rounds need."""
    with closing(sqlite3.connect(path)) as database:
        figures.compare(writes, dict(database.execute("SELECT id, value FROM rows")), ends)
    return list({write.key: write for write in sorted(writes, key=lambda write: write.began)}.values())


def _database(folder: Path) -> Path:
    path = folder / "rows.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(ROWS.format(key="INTEGER") + ";" + WATCH)
    return path


def _table(path: Path, *more: str, version_column: str | None = None) -> SlowTable:
    return SlowTable(path, "rows", columns=["id", "value", *more], version_column=version_column)


def _launcher(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "one process": (alone, 76),
    "four processes, versions": (partial(fleet, versioned=True), 60),
    "four processes, own keys": (partial(fleet, versioned=False), 60),
    "four processes, one journal": (shared, 24),
    "PostgreSQL killed": (postgres, 4),
    "full disk": (full_disk, 2),
}
"""By name: what runs, and how many of the 200 kills are its."""
