"""Tables keep the sources' contract, whatever their rows are and whoever opened the database."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass

import asyncpg
import pytest
from postgres_server import VERSIONS, postgres

from acache.testing.contracts.source import SourceContract
from acache_postgres import PostgresTable

SCHEMA = """
DROP SCHEMA IF EXISTS public CASCADE;
DROP SCHEMA IF EXISTS "odd.one" CASCADE;
CREATE SCHEMA public;
CREATE SCHEMA "odd.one";
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, version bigint);
CREATE TABLE "odd.one"."odd "" table; --" (
    "left "" key" text, "right
key" int, name text NOT NULL, "ver'sion" bigint, tags text[], PRIMARY KEY ("left "" key", "right
key")
);
"""
pytestmark = pytest.mark.real


@dataclass
class User:
    id: int
    name: str


@pytest.fixture(scope="module")
def servers():
    with ExitStack() as stack:
        yield {version: stack.enter_context(postgres(version=version)) for version in VERSIONS}


class TablePlan(SourceContract):
    version = 16

    @pytest.fixture(autouse=True)
    def database(self, servers):
        servers[self.version].psql(SCHEMA)
        self.url = servers[self.version].url


class TestDicts(TablePlan):
    def open(self):
        return PostgresTable(self.url, "users", columns=["id", "name"], version_column="version")


class TestTypedRows(TablePlan):
    version = 18

    def open(self):
        return PostgresTable(self.url, "public.users", type=User, version_column="version")

    def item(self, number, text=""):
        return number, User(number, text)

    def poison(self, number):
        return number, User(number, None)


class TestHostileNamesAndCompositeKeys(TablePlan):
    version = 18

    def open(self):
        return PostgresTable(
            self.url,
            'odd.one.odd " table; --',
            key=('left " key', "right\nkey"),
            columns=["name"],
            version_column="ver'sion",
        )

    def item(self, number, text=""):
        return (f"key '{number}\x01\"", -number), {"name": text}

    def poison(self, number):
        return (f"key '{number}\x01\"", -number), {"name": None}


class TestRowsThatAreSentOneByOne(TestHostileNamesAndCompositeKeys):
    """An array cannot travel in an array."""

    def open(self):
        table = super().open()
        return PostgresTable(
            self.url,
            'odd.one.odd " table; --',
            key=('left " key', "right\nkey"),
            columns=["name", "tags"],
            version_column=table.version_column,
        )

    def item(self, number, text=""):
        key, value = super().item(number, text)
        return key, value | {"tags": [text, None, 'a,"}']}


class TestWithoutVersions(TablePlan):
    versioned = False

    def open(self):
        return PostgresTable(self.url, "users", columns=["id", "name"])


class TestALentPool(TablePlan):
    def open(self):
        return PostgresTable(self.lent, "users", columns=["id", "name"], version_column="version")

    async def around(self, test):
        async with asyncpg.create_pool(self.url, min_size=1, max_size=3) as self.lent:
            await super().around(test)
            assert await self.lent.fetchval("SELECT 1") == 1  # not closed by the source

    @pytest.mark.skip("a lent pool is its owner's, and so is its loop")
    def test_loops_may_take_turns(self): ...


class TestALentConnection(TablePlan):
    def open(self):
        return PostgresTable(self.lent, "users", columns=["id", "name"], version_column="version")

    async def around(self, test):
        self.lent = await asyncpg.connect(self.url)
        try:
            await super().around(test)
            assert await self.lent.fetchval("SELECT 1") == 1  # not closed by the source
        finally:
            await self.lent.close()

    @pytest.mark.skip("a lent connection is its owner's, and so is its loop")
    def test_loops_may_take_turns(self): ...


class TestEveryLoop(TestDicts):
    """The same on the loop that a web server may run."""

    def run(self, main):
        with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
            runner.run(main)
