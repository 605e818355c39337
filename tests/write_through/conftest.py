"""What the tests of writing through share: a server, two kinds of database, options of processes."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

sys.path.append(str(Path(__file__).parents[2] / "backends/acache-redis/tests"))
sys.path.append(str(Path(__file__).parents[2] / "backends/acache-redis/tests/fleet"))
sys.path.append(str(Path(__file__).parents[2] / "backends/acache-postgres/tests"))

from postgres_server import postgres
from valkey_server import valkey

WORKER = Path(__file__).with_name("write_through_worker.py")
CLAIM = 1.0  # seconds for which the fence of a dead process stands, here
TABLE = "DROP TABLE IF EXISTS users; CREATE TABLE users (id integer PRIMARY KEY, name text)"
ROWS = (1, 2, 3)


@pytest.fixture(scope="session")
def server():
    with valkey() as running:
        yield running


@pytest.fixture(scope="session")
def postgresql():
    with postgres() as running:
        yield running


class Postgres:
    """The rows as the database has them, asked past every cache."""

    def __init__(self, url):
        self.url = url

    async def run(self, statement):
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    async def prepare(self):
        for statement in TABLE.split(";"):
            await self.run(statement)
        await self.run("INSERT INTO users SELECT n, 'old' FROM generate_series(1, 3) n")

    async def names(self):
        return {row["id"]: row["name"] for row in await self.run("SELECT * FROM users")}


class SQLite:
    """The same of a file."""

    def __init__(self, path):
        self.url = str(path)

    async def prepare(self):
        with closing(sqlite3.connect(self.url)) as connection:
            connection.executescript(TABLE)
            connection.executemany("INSERT INTO users VALUES (?, 'old')", [(id,) for id in ROWS])
            connection.commit()

    async def names(self):
        with closing(sqlite3.connect(self.url)) as connection:
            return dict(connection.execute("SELECT id, name FROM users").fetchall())


@pytest_asyncio.fixture(params=["postgresql", "sqlite"])
async def database(request, tmp_path):
    if request.param == "sqlite":
        made = SQLite(tmp_path / "users.db")
    else:
        made = Postgres(request.getfixturevalue("postgresql").url)
    await made.prepare()
    return made


@pytest.fixture
def options(database, request, server):
    """What all processes of one test have in common."""
    return {
        "url": server.url,
        "worker": WORKER,
        "table": database.url,
        "claim": CLAIM,
        "namespace": "".join(filter(str.isalnum, request.node.name))[-60:],
    }
