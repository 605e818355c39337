"""Kill a process that writes behind, again and again, and look at what reached the database.

    python crash_runner.py --kills 200 --seed 1

Each round forks a child that writes behind with a SQLite journal and reports what was acknowledged;
it is killed with -9 at a random instant, its backlog larger than a batch. A second child recovers; every
third one of these is killed as well, and a third finishes. Then every acknowledged write must be in the
database, or a later one of its key, and no row may ever have gone back."""

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from acache import Cache, WriteBehind
from acache.protocols import Saved
from acache_sqlite import SQLiteJournal, SQLiteTable

KEYS = 40
BATCH = 8
SCHEMA = """
CREATE TABLE rows (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE went_back (id INTEGER, old INTEGER, new INTEGER);
CREATE TRIGGER watch AFTER UPDATE ON rows WHEN new.value < old.value
BEGIN INSERT INTO went_back VALUES (new.id, old.value, new.value); END;
"""


class SlowTable(SQLiteTable):
    """A table whose statements take a while, so that a backlog builds up."""

    async def save(self, items, *, versions=None) -> Saved:
        """Save after a pause."""
        await asyncio.sleep(0.004)
        return await super().save(items, versions=versions)


def pattern(folder: Path, table: SQLiteTable) -> WriteBehind:
    """Return the pattern under test."""
    journal = SQLiteJournal(folder / "journal")
    options = {"batch_size": BATCH, "max_delay": 0.002, "max_backlog": 10_000}
    return WriteBehind(Cache(), table, key="row:{}", ttl=60, journal=journal, **options)


async def write(folder: Path, first: int, report: int) -> None:
    """Write ever greater values for ever, reporting each one that was acknowledged."""
    async with SlowTable(str(folder / "rows.db"), "rows", key="id") as table, pattern(folder, table) as rows:

        async def one(key: int) -> None:
            value = first
            while True:
                value += 1
                await rows.put(key, {"id": key, "value": value})
                os.write(report, f"{key} {value} {rows.backlog.pending}\n".encode())

        await asyncio.gather(*map(one, range(KEYS)))


async def recover(folder: Path) -> None:
    """Flush what an earlier process left."""
    async with SlowTable(str(folder / "rows.db"), "rows", key="id") as table, pattern(folder, table) as rows:
        await rows.flush()


def fork(work: Callable[[], Awaitable[None]]) -> int:
    """Run *work* in a child; return its pid."""
    child = os.fork()
    if child:
        return child
    try:
        asyncio.run(work())
    except BaseException as error:
        sys.stderr.write(f"child failed: {error!r}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def acknowledged(data: bytes) -> tuple[dict[int, int], int]:
    """Return the last value that was acknowledged for each key, and the deepest backlog."""
    last: dict[int, int] = {}
    deepest = 0
    for line in data.decode().splitlines():
        if len(fields := line.split()) == 3:
            key, value, pending = map(int, fields)
            last[key] = max(last.get(key, 0), value)
            deepest = max(deepest, pending)
    return last, deepest


def kill_after(child: int, seconds: float) -> None:
    """Kill *child* with -9 after a while."""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def round_of(folder: Path, number: int, rng: random.Random) -> dict[str, int]:
    """Kill a writer, recover, and return what was found."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    writer = fork(lambda: write(folder, number * 1_000_000, writing))
    os.close(writing)
    data = os.read(reading, 1 << 16)  # the first acknowledgement: it is at work
    kill_after(writer, rng.uniform(0.001, 0.06))
    while more := os.read(reading, 1 << 16):
        data += more
    os.close(reading)
    if number % 3 == 0:
        kill_after(fork(lambda: recover(folder)), rng.uniform(0.001, 0.03))
    _, status = os.waitpid(fork(lambda: recover(folder)), 0)
    last, deepest = acknowledged(data)
    with sqlite3.connect(folder / "rows.db") as database:
        rows = dict(database.execute("SELECT id, value FROM rows"))
        back = database.execute("SELECT count(*) FROM went_back").fetchone()[0]
    database.close()
    lost = sum(rows.get(key, 0) < value for key, value in last.items())
    failed = int(status != 0)
    return {
        "acknowledged": len(data.splitlines()),
        "deepest": deepest,
        "lost": lost,
        "back": back,
        "failed": failed,
    }


def main() -> int:
    """Run the rounds and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    total = {"kills": 0, "acknowledged": 0, "deepest": 0, "lost": 0, "back": 0, "failed": 0, "batch": BATCH}
    with tempfile.TemporaryDirectory() as folder:
        with sqlite3.connect(Path(folder) / "rows.db") as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(SCHEMA)
        database.close()
        for number in range(1, options.kills + 1):
            found = round_of(Path(folder), number, rng)
            total["kills"] += 1 + (number % 3 == 0)
            total["deepest"] = max(total["deepest"], found["deepest"])
            total["back"] = found["back"]
            for name in ("acknowledged", "lost", "failed"):
                total[name] += found[name]
    sys.stdout.write(f"{json.dumps(total)}\n")
    return 1 if total["lost"] or total["back"] or total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
