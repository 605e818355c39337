"""Steps that the scenarios share: write, kill, recover, compare, and what must not be there at the end."""

import asyncio
import importlib.util
import random
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from crash_figures import Figures
from crash_world import SlowTable, Teller, Worker, Write, pattern, write_for_ever

from acache.protocols import Journal, WritableSource
from acache_sqlite import SQLiteJournal

SHARED = 80  # keys of four processes
WORKERS = 4
BACKENDS = Path(__file__).parents[2] / "backends"
ROWS = "CREATE TABLE rows (id {key} PRIMARY KEY, value bigint NOT NULL, version bigint, padding text)"
WATCH = """
PRAGMA journal_mode = WAL;
CREATE TABLE went_back (id INTEGER, old INTEGER, new INTEGER);
CREATE TRIGGER watch AFTER UPDATE ON rows WHEN new.value < old.value
BEGIN INSERT INTO went_back VALUES (new.id, old.value, new.value); END;
"""
Open = Callable[[], WritableSource]


async def write_rows(folder: Path, open_: Open, keys: range, seed: float, tell: Teller) -> None:
    async with open_() as table, pattern(folder, table) as rows:
        await write_for_ever(rows, keys, tell, random.Random(seed))


async def flush_rows(folder: Path, open_: Open, tell: Teller) -> None:
    """Flush what an earlier process left."""
    del tell
    async with open_() as table, pattern(folder, table) as rows:
        await rows.flush()


def recover(folder: Path, open_: Open, rng: random.Random, figures: Figures, *, share: float) -> None:
    """Recover; each attempt is killed with the chance *share* and made again."""
    while rng.random() < share:
        kill_soon(Worker(folder, partial(flush_rows, folder, open_)), rng, 0.04, figures)
    figures.failed += not Worker(folder, partial(flush_rows, folder, open_)).join()


def finished(
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
    return await count_dead(SQLiteJournal(folder / "journal"))


async def count_dead(journal: Journal) -> int:
    try:
        return sum([1 async for _ in journal.dead()])
    finally:
        await journal.aclose()


def kill_soon(worker: Worker, rng: random.Random, seconds: float, figures: Figures) -> None:
    time.sleep(rng.uniform(0.001, seconds))
    worker.kill()
    figures.kills += 1


def heard(worker: Worker, figures: Figures) -> list[Write]:
    report = worker.report()
    figures.add(report)
    return report.writes


def compare(figures: Figures, writes: list[Write], path: Path, ends: Sequence[int] = ()) -> list[Write]:
    """Compare with the table; return the newest write of each key, which is what later rounds need."""
    with closing(sqlite3.connect(path)) as database:
        figures.compare(writes, dict(database.execute("SELECT id, value FROM rows")), ends)
    return list({write.key: write for write in sorted(writes, key=lambda write: write.began)}.values())


def database_in(folder: Path) -> Path:
    path = folder / "rows.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(ROWS.format(key="INTEGER") + ";" + WATCH)
    return path


def slow_table(path: Path, *more: str, version_column: str | None = None) -> SlowTable:
    return SlowTable(path, "rows", columns=["id", "value", *more], version_column=version_column)


def launcher(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
