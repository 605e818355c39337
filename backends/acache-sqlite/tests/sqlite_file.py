"""A database file as other programs see it, past every source."""

import sqlite3
from contextlib import asynccontextmanager

from acache_sqlite import SQLiteTable


def execute(path, script):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.executescript(script)
    connection.close()


def rows(path, query):
    connection = sqlite3.connect(path)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


@asynccontextmanager
async def table(path, *args, **options):
    async with SQLiteTable(path, *args, **options) as opened:
        yield opened
