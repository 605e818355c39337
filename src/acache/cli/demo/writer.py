"""The process that the demo kills: it writes behind for ever and says what was acknowledged.

    python -m acache.cli.demo.writer DIRECTORY

A line on standard output for each put that has returned: its session and its page count."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from acache import Cache, WriteBehind
from acache_sqlite import SQLiteJournal, SQLiteTable

SESSIONS: Final = 400
Session = dict[str, Any]


def table_in(directory: Path) -> SQLiteTable[int, Session]:
    """Return the table of sessions."""
    return SQLiteTable[int, Session](directory / "sessions.db", "sessions")


@asynccontextmanager
async def written_behind(directory: Path) -> AsyncGenerator[WriteBehind[int, Session]]:
    """Open the sessions, written behind a journal in *directory*; what the journal holds is recovered."""
    journal = SQLiteJournal(directory / "journal")
    async with (
        Cache("memory://") as cache,
        table_in(directory) as table,
        WriteBehind(cache, table, key="session:{}", ttl=1800, journal=journal) as rows,
    ):
        yield rows


async def write(directory: Path) -> None:
    """Touch session after session until killed."""
    async with written_behind(directory) as rows:

        async def touch(lane: int) -> None:
            for turn in count(1):
                session = (lane + turn * 20) % SESSIONS
                await rows.put(session, {"id": session, "last_seen": 0.0, "pages": turn})
                os.write(sys.stdout.fileno(), f"{session} {turn}\n".encode())

        await asyncio.gather(*map(touch, range(20)))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
