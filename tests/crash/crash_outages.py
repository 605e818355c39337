"""What a process writes to fails under it: PostgreSQL is killed, the journal's disk is full."""

import asyncio
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from crash_figures import Figures
from crash_steps import (
    BACKENDS,
    ROWS,
    compare,
    database_in,
    finished,
    heard,
    kill_soon,
    launcher,
    recover,
    slow_table,
    write_rows,
)
from crash_world import Slow, SlowTable, Teller, Worker, Write, pattern

from acache.errors import JournalFailed
from acache.protocols import WritableSource
from acache_postgres import PostgresTable

POSTGRES = BACKENDS / "acache-postgres/tests/postgres_server.py"
KEYS = 40
PADDING = "x" * 4_000


class SlowPostgres(Slow, PostgresTable):
    """A slow table in PostgreSQL."""


def postgres(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Kill PostgreSQL under the flusher and start it again; then kill the process, and recover."""
    figures = Figures()
    with launcher(POSTGRES).postgres(fsync="on") as server:
        server.psql(ROWS.format(key="bigint"))

        def open_() -> WritableSource:
            return SlowPostgres(server.url, "rows", columns=["id", "value"])

        worker = Worker(folder, partial(write_rows, folder, open_, range(KEYS), rng.random()))
        worker.wait_until_it_works()
        for _ in range(max(kills - 1, 1)):
            time.sleep(rng.uniform(0.05, 0.2))
            server.kill()
            figures.kills += 1
            time.sleep(rng.uniform(0.0, 0.1))
            server.start()
        kill_soon(worker, rng, 0.2, figures)
        writes = heard(worker, figures)
        recover(folder, open_, rng, figures, share=0.0)
        lines = server.psql("SELECT id, value FROM rows").splitlines()
        figures.compare(writes, dict(tuple(map(int, line.split("|"))) for line in lines), ())
    return finished(figures, folder)


# --- the disk is full -----------------------------------------------------------------------------------


def full_disk(folder: Path, rng: random.Random, kills: int) -> Figures:
    """Write until the journal's disk is full, go on, kill the process, make room, and recover."""
    figures = Figures()
    path = database_in(folder)
    while figures.kills < kills and not figures.skipped:
        with _small_disk(folder / "journal") as room:
            if room is None:
                figures.skipped = "skipped: only root can mount a small disk"
                return figures
            worker = Worker(folder, partial(_fill, folder, path))
            # Or far more than the disk can hold: then nothing was refused, and much will be lost.
            worker.wait_until(lambda report: report.resumed > 10 or len(report.writes) > 3_000)
            kill_soon(worker, rng, 0.1, figures)
            writes = heard(worker, figures)
            room("64m")
            recover(folder, partial(slow_table, path, "padding"), rng, figures, share=0.0)
            compare(figures, writes, path)
            finished(figures, folder, path)
    return figures


async def _fill(folder: Path, path: Path, tell: Teller) -> None:
    """Write many keys for as long as it lasts; what is refused is told and tried again."""
    SlowTable.pause = 0.02
    async with slow_table(path, "padding") as table, pattern(folder, table) as rows:

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
