"""Tables keep the sources' contract, whatever their rows are and whoever opened the database."""

import asyncio
import dataclasses
import sqlite3

import aiosqlite
import pytest

from acache.testing.contracts.source import SourceContract
from acache_sqlite import SQLiteTable

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER);
CREATE TABLE "odd "" table; --" (
    "left "" key" TEXT COLLATE NOCASE, "right
key" INTEGER, name TEXT NOT NULL, "ver'sion" INTEGER, PRIMARY KEY ("left "" key", "right
key")
);
"""


@dataclasses.dataclass
class User:
    id: int
    name: str


class TablePlan(SourceContract):
    @pytest.fixture(autouse=True)
    def database(self, tmp_path):
        self.path = tmp_path / "test.db"
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.close()


class TestDicts(TablePlan):
    def open(self):
        return SQLiteTable(self.path, "users", columns=["id", "name"], version_column="version")


class TestTypedRows(TablePlan):
    def open(self):
        return SQLiteTable(f"sqlite:///{self.path}", "users", type=User, version_column="version")

    def item(self, number, text=""):
        return number, User(number, text)

    def poison(self, number):
        return number, User(number, None)


class TestHostileNamesAndCompositeKeys(TablePlan):
    def open(self):
        return SQLiteTable(
            self.path,
            'odd " table; --',
            key=('left " key', "right\nkey"),
            columns=["name"],
            version_column="ver'sion",
        )

    def item(self, number, text=""):
        return (f"key '{number}\0", -number), {"name": text}

    def poison(self, number):
        return (f"key '{number}\0", -number), {"name": None}


class TestWithoutVersions(TablePlan):
    versioned = False

    def open(self):
        return SQLiteTable(self.path, "users", columns=["id", "name"])


class TestALentConnection(TablePlan):
    def open(self):
        return SQLiteTable(self.lent, "users", columns=["id", "name"], version_column="version")

    async def around(self, test):
        async with aiosqlite.connect(self.path) as self.lent:
            self.lent.row_factory = lambda cursor, row: {"its owner's business": row}
            await super().around(test)
            await self.lent.execute("SELECT 1")  # not closed by the source

    @pytest.mark.skip("a lent connection is its owner's, and so is its loop")
    def test_loops_may_take_turns(self): ...


class TestALentConnectionOnEveryLoop(TestALentConnection):
    """The same on the loop that a web server may run."""

    def run(self, main):
        with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
            runner.run(main)
