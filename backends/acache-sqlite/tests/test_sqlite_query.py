"""Hand-written SQL keeps the sources' contract, as far as its statements do."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass

import aiosqlite
import pytest

from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved
from acache.testing.contracts.source import SourceContract
from acache_sqlite import QuerySource

SCHEMA = """
CREATE TABLE teams (id INTEGER PRIMARY KEY, title TEXT);
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, team INTEGER, version INTEGER);
INSERT INTO teams VALUES (1, 'blue');
"""
LOAD = "SELECT id, name FROM users WHERE id IN (SELECT value FROM json_each(:keys))"
SAVE = "INSERT INTO users (id, name) VALUES (:id, :name) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
REMOVE = "DELETE FROM users WHERE id = :id"
GUARDED = """
INSERT INTO users (id, name, version) VALUES (:id, :name, :version) ON CONFLICT (id)
DO UPDATE SET name = excluded.name, version = excluded.version WHERE version < excluded.version
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "test.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.close()
    return path


class TestStatements(SourceContract):
    versioned = False  # its statements have no guard

    @pytest.fixture(autouse=True)
    def database(self, path):
        self.path = path

    def open(self):
        return QuerySource(self.path, load=LOAD, save=SAVE, remove=REMOVE)


class TestStatementsForReadingOnly(SourceContract):
    writable = False

    @pytest.fixture(autouse=True)
    def database(self, path):
        self.path = path

    def open(self):
        return QuerySource(self.path, load=LOAD)

    async def fill(self, items):
        async with QuerySource(self.path, load=LOAD, save=SAVE) as writer:
            await writer.save(items)

    @pytest.mark.skip("its methods are there and say that they have no statement")
    def test_the_source_offers_the_protocol_that_it_declares(self): ...


@dataclass
class Member:
    name: str
    team: str | None


@pytest.mark.asyncio
async def test_a_join_loads_many_typed_rows_at_once(path):
    async with QuerySource(path, load=LOAD, save=SAVE) as users:
        await users.save({1: {"name": "Ann"}, 2: {"name": "Bob"}})
    async with aiosqlite.connect(path) as connection:
        await connection.execute("UPDATE users SET team = 1 WHERE id = 1")
        await connection.commit()
        query = """
            WITH asked AS (SELECT value AS id FROM json_each(:keys))
            SELECT users.id, name, title AS team FROM asked JOIN users USING (id)
            LEFT JOIN teams ON teams.id = team
        """
        members = QuerySource(connection, load=query, type=Member)
        assert await members.load([2, 1, 3, "1"]) == {1: Member("Ann", "blue"), 2: Member("Bob", None)}


@pytest.mark.asyncio
async def test_composite_keys_arrive_as_arrays(path):
    query = """
        SELECT users.id, name, team FROM users
        JOIN json_each(:keys) AS k ON users.id = k.value ->> 0 AND name = k.value ->> 1
    """
    async with QuerySource(path, load=LOAD, save=SAVE) as users:
        await users.save({1: {"name": "Ann"}, 2: {"name": "Bob"}})
    async with QuerySource(path, load=query, key=("id", "name")) as users:
        assert await users.load([(1, "Ann"), (2, "Ann"), (2, "Bob")]) == {
            (1, "Ann"): {"id": 1, "name": "Ann", "team": None},
            (2, "Bob"): {"id": 2, "name": "Bob", "team": None},
        }


@pytest.mark.asyncio
async def test_a_key_that_json_cuts_short_is_not_another_key(path):
    execute = sqlite3.connect(path)
    execute.executescript("CREATE TABLE t (id TEXT PRIMARY KEY); INSERT INTO t VALUES ('a')")
    execute.close()
    query = "SELECT id FROM t WHERE id IN (SELECT value FROM json_each(:keys))"
    async with QuerySource(path, load=query) as things:
        assert await things.load(["a\0b", "a'b", 'a"']) == {}
        with pytest.raises(SourceRefused) as refused:
            await things.load(["a", b"a"])
        assert refused.value.keys == (b"a",)


@pytest.mark.asyncio
async def test_a_statement_that_changes_nothing_refuses_a_version(path):
    remove = "DELETE FROM users WHERE id = :id AND version < :version"
    async with QuerySource(path, load=LOAD, save=GUARDED, remove=remove) as users:
        items = {1: {"id": 1, "name": "five"}, 2: {"id": 2, "name": "five"}}
        assert await users.save(items, versions={1: 5, 2: 5}) == Saved()
        newer = {1: {"id": 1, "name": "x"}, 2: {"id": 2, "name": "x"}}
        assert await users.save(newer, versions={1: 4, 2: 6}) == Saved(refused=(1,))
        assert await users.load([1, 2]) == {1: items[1], 2: newer[2]}
        assert await users.remove([1, 2, 3], versions={1: 9, 2: 3, 3: 1}) == Saved(refused=(2,))
        assert await users.load([1, 2]) == {2: newer[2]}


@pytest.mark.asyncio
async def test_what_the_statement_made_of_a_row_is_returned(path):
    shout = "INSERT INTO users (id, name) VALUES (:id, upper(:name)) RETURNING id"
    async with QuerySource(path, load=LOAD, save=shout) as users:
        saved = await users.save({1: {"id": 1, "name": "ann"}, 2: {"id": 2, "name": "BOB"}})
        assert saved == Saved(rows={1: {"id": 1, "name": "ANN"}})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ({"load": "SELECT nope FROM users"}, "nope"),
        ({"load": "SELECT 1; SELECT 2"}, "one statement"),
        ({"load": "SELECT name FROM users"}, "returns no column 'id'; it returns: 'name'"),
        ({"load": "SELECT id FROM users", "type": Member}, "returns no column 'name'"),
        ({"load": LOAD}, "save="),
        ({"load": LOAD, "save": "INSERT nonsense"}, "syntax"),
    ],
)
async def test_a_statement_that_cannot_work_says_so(path, statements, message):
    async with QuerySource(path, **statements) as users:
        with pytest.raises(ConfigurationError, match=message):
            await (users.save({1: {"name": "x"}}) if statements["load"] is LOAD else users.load([1]))


@pytest.mark.asyncio
async def test_a_row_that_lacks_what_the_statement_names_is_refused(path):
    async with QuerySource(path, load=LOAD, save=SAVE) as users:
        with pytest.raises(SourceRefused) as refused:
            await users.save({1: {"name": "x"}, 2: {}})
        assert refused.value.keys == (2,)
        assert await users.load([1]) == {}


@pytest.mark.asyncio
async def test_a_query_that_returns_two_rows_of_a_key_is_refused(path):
    async with QuerySource(path, load="SELECT 1 AS id, 1 AS n UNION ALL SELECT 1, 2") as users:
        with pytest.raises(SourceRefused, match="several rows"):
            await users.load([1])
        assert await users.load([2]) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "key", "other"),
    [("INTEGER", 1, True), ("INTEGER", 1, 1.0), ("REAL", 1.0, 1), ("TEXT COLLATE NOCASE", "ann", "Ann")],
)
async def test_only_the_very_key_of_a_row_finds_writes_or_removes_it(path, kind, key, other):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY, n INTEGER)")
    async with QuerySource(
        path,
        load="SELECT id, n FROM t WHERE id IN (SELECT value FROM json_each(:keys))",
        save="INSERT INTO t VALUES (:id, :n) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
        remove="DELETE FROM t WHERE id = :id",
    ) as things:
        await things.save({key: {"n": 1}})
        assert await things.load([other]) == {}
        with pytest.raises(SourceRefused):
            await things.save({other: {"n": 2}})
        await things.remove([other])
        assert await things.load([key]) == {key: {"id": key, "n": 1}}
        await things.remove([key])
        assert await things.load([key]) == {}
