"""Web sessions with a last-seen time, written behind: the classic use.

Every request touches its session, so a database that took each write at once would do little else.
Here a touch is acknowledged once it is in the journal, read back at once, and reaches the table in
batches; the process may be killed at any instant.

    python examples/sessions.py
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import time

import aiosqlite

from acache import Cache, WriteBehind
from acache_sqlite import SQLiteJournal, SQLiteTable

SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, user_id INTEGER NOT NULL, last_seen REAL NOT NULL, pages INTEGER NOT NULL
)
"""


@dataclass(frozen=True)
class Session:
    """Who is there, and since when we have heard of them."""

    id: str
    user_id: int
    last_seen: float
    pages: int = 0


class Sessions:
    """The sessions of one web process."""

    def __init__(self, rows: WriteBehind[str, Session]) -> None:
        """Keep sessions in *rows*."""
        self.rows = rows

    async def open(self, user_id: int) -> Session:
        """Begin a session."""
        session = Session(secrets.token_urlsafe(16), user_id, time())
        await self.rows.put(session.id, session)
        return session

    async def touch(self, session_id: str) -> Session | None:
        """Note one more page; None if there is no such session."""
        if await self.rows.get(session_id) is None:
            return None

        def seen(session: Session | None) -> Session:
            if session is None:
                raise LookupError(session_id)
            return replace(session, last_seen=time(), pages=session.pages + 1)

        return await self.rows.update(session_id, seen)

    async def close(self, session_id: str) -> None:
        """End a session."""
        await self.rows.remove(session_id)


@asynccontextmanager
async def sessions_in(folder: Path, cache: Cache) -> AsyncIterator[Sessions]:
    """Open the sessions kept in *folder*; at the end what is pending is flushed."""
    async with aiosqlite.connect(folder / "sessions.db") as connection:
        await connection.execute(SCHEMA)
        await connection.commit()
    table = SQLiteTable(str(folder / "sessions.db"), "sessions", key="id", type=Session)
    journal = SQLiteJournal(folder / "journal")
    async with (
        table,
        WriteBehind(cache, table, key="session:{}", type=Session, ttl=1800, journal=journal) as rows,
    ):
        yield Sessions(rows)


async def main() -> None:
    """Touch a thousand sessions a few times and show what reached the table."""
    with tempfile.TemporaryDirectory() as folder:
        async with Cache("memory://") as cache, sessions_in(Path(folder), cache) as sessions:
            opened = await asyncio.gather(*(sessions.open(user) for user in range(1000)))
            for _ in range(3):
                await asyncio.gather(*(sessions.touch(session.id) for session in opened))
            print(f"acknowledged 4,000 writes; still on their way: {sessions.rows.backlog}")
        async with aiosqlite.connect(Path(folder) / "sessions.db") as connection:
            [row] = await connection.execute_fetchall("SELECT count(*), sum(pages) FROM sessions")
            print("in the table: sessions, pages =", tuple(row))


if __name__ == "__main__":
    asyncio.run(main())
