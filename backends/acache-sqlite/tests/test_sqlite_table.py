"""What a table does beyond the contract: keys and writes, by SQLite's own rules."""

import enum
import sqlite3
import uuid

import aiosqlite
import msgspec
import pytest
from sqlite_file import execute, rows, table

from acache import Cache, WriteThrough
from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved

# --- keys -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_key_of_another_type_is_another_key(path):
    execute(
        path,
        "CREATE TABLE n (id INTEGER PRIMARY KEY); CREATE TABLE t (id TEXT PRIMARY KEY);"
        "INSERT INTO n VALUES (1), (2); INSERT INTO t VALUES ('1'), ('2.0');",
    )
    async with table(path, "n") as numbers, table(path, "t") as texts:
        assert await numbers.load([1, "1", "2", b"2"]) == {1: {"id": 1}}
        assert await texts.load([1, "1", 2.0, b"1"]) == {"1": {"id": "1"}}
        assert await numbers.remove(["1", b"2", None]) == Saved()
        assert await numbers.load([1, 2]) == {1: {"id": 1}, 2: {"id": 2}}
        with pytest.raises(SourceRefused, match="as another type or text") as refused:
            await numbers.save({"1": {}, 3: {}})
        assert refused.value.keys == ("1",)
        assert rows(path, "SELECT id FROM n") == [(1,), (2,)]


ALIASES = [
    ("INTEGER", 1, [True, 1.0, "1"]),
    ("INT", 1, [True, 1.0, "1"]),
    ("NUMERIC", 1, [True, 1.0, "1"]),
    ("NUMERIC", 1.5, ["1.5"]),
    ("REAL", 1.0, [True, 1, "1.0"]),
    ("REAL", 0.0, [-0.0, 0, False]),
    ("", 1, [True, 1.0]),
    ("", 1.0, [True, 1]),
    ("TEXT", "1", [True, 1]),
    ("TEXT COLLATE NOCASE", "ann", ["Ann", "ANN"]),
    ("TEXT COLLATE RTRIM", "ann", ["ann "]),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("composite", [False, True])
@pytest.mark.parametrize(("kind", "key", "others"), ALIASES, ids=repr)
async def test_only_the_very_key_of_a_row_finds_writes_or_removes_it(path, composite, kind, key, others):
    execute(path, f"CREATE TABLE t (id {kind}, place TEXT, n INTEGER, v INTEGER, PRIMARY KEY (id, place))")
    execute(path, "CREATE UNIQUE INDEX one ON t (id)")
    names, shown = (("id", "place"), lambda id: (id, "x")) if composite else ("id", lambda id: id)
    row = {"n": 1} if composite else {"n": 1, "place": "x"}
    columns = ["n"] if composite else ["n", "place"]
    async with table(path, "t", key=names, columns=columns, version_column="v") as things:
        await things.save({shown(key): row}, versions={shown(key): 1})
        for other in map(shown, others):
            assert await things.load([other]) == {}
            assert [repr(found) for found in await things.load([shown(key)])] == [repr(shown(key))]
            with pytest.raises(SourceRefused) as refused:
                await things.save({other: row | {"n": 2}}, versions={other: 2})
            assert list(map(repr, refused.value.keys)) == [repr(other)]
            assert await things.remove([other], versions={other: 9}) == Saved()
            assert await things.remove([other]) == Saved()
        assert await things.load([shown(key)]) == {shown(key): row}
        assert await things.save({shown(key): row}, versions={shown(key): 3}) == Saved()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "key", "other"),
    [
        ("INTEGER", 1, "1"),
        ("INTEGER", 1, b"1"),
        ("INTEGER", 1, True),
        ("INTEGER", 1, 1.0),
        ("REAL", 1.0, 1),
        ("TEXT COLLATE NOCASE", "ann", "Ann"),
    ],
)
async def test_the_tombstone_of_a_key_guards_no_other_key(path, kind, key, other):
    execute(path, f"CREATE TABLE n (id {kind} PRIMARY KEY, v INTEGER)")
    async with table(path, "n", columns=["id"], version_column="v") as things:
        await things.remove([other], versions={other: 9})
        await things.remove([key], versions={key: 4})
        assert (await things.save({key: {}}, versions={key: 3})).refused == (key,)
        assert (await things.save({key: {}}, versions={key: 5})).refused == ()


class Thing(msgspec.Struct):
    id: uuid.UUID
    n: int


class Flag(msgspec.Struct):
    id: bool
    n: int


class Colour(enum.Enum):
    RED = "red"


class Tinted(msgspec.Struct):
    id: Colour
    n: int


@pytest.mark.asyncio
async def test_what_sqlite_has_no_type_for_is_a_key_where_the_type_of_the_row_says_so(path):
    execute(path, "CREATE TABLE t (id PRIMARY KEY, n INTEGER)")
    key = uuid.UUID(int=5)
    for kind, id, stored in ((Thing, key, str(key)), (Flag, True, 1), (Tinted, Colour.RED, "red")):
        async with table(path, "t", type=kind) as typed, table(path, "t") as plain:
            assert await typed.save({id: kind(id, 1)}) == Saved()
            (found,) = await typed.load([id, stored])
            assert found is id
            assert await plain.load([stored]) == {stored: {"id": stored, "n": 1}}
            assert await typed.remove([id]) == Saved()
            assert await plain.load([stored]) == {}
    async with table(path, "t") as plain:
        for work in (plain.load([key]), plain.save({key: {"n": 1}}), plain.remove([key])):
            with pytest.raises(SourceRefused, match="a field of that type") as refused:
                await work
            assert refused.value.keys == (key,)


@pytest.mark.asyncio
async def test_no_stale_row_is_read_by_an_equal_id(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO t VALUES (1, 1)")
    async with table(path, "t", columns=["n"]) as things, Cache() as cache:
        rows = WriteThrough(cache, things, key="t:{}", ttl=60)
        for id in (True, 1.0, "1", 1):
            await rows.get(id)
        await rows.put(1, {"n": 2})
        assert [await rows.get(id) for id in (True, 1.0, "1", 1)] == [None, None, None, {"n": 2}]


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [2**63, -(2**63) - 1, "\ud800", object(), ("a",), ["a"], {"a": 1}.items()])
async def test_a_key_that_cannot_be_stored_is_named_and_the_database_is_not_asked(path, key):
    async with table(path, "missing") as things:
        with pytest.raises((SourceRefused, TypeError)) as refused:
            await things.load([1, key])
        if refused.type is SourceRefused:
            assert refused.value.keys == (key,)


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [1, (1,), (1, 2, 3), [1, 2]])
async def test_a_composite_key_needs_a_tuple_of_its_length(path, key):
    async with table(path, "missing", key=("a", "b")) as things:
        with pytest.raises((SourceRefused, TypeError)):
            await things.load([key])


@pytest.mark.asyncio
async def test_more_keys_than_a_statement_may_bind_are_asked_for_in_parts(path):
    execute(
        path,
        "CREATE TABLE t (a INTEGER, b INTEGER, PRIMARY KEY (a, b));"
        "WITH n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 99)"
        "INSERT INTO t SELECT i, -i FROM n;",
    )
    async with aiosqlite.connect(path) as connection:
        await connection._execute(connection._conn.setlimit, sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 14)
        async with table(connection, "t", key=("a", "b"), columns=["a"]) as things:
            found = await things.load([(i, -i) for i in range(120)])
            assert found == {(i, -i): {"a": i} for i in range(100)}


@pytest.mark.asyncio
async def test_rows_that_share_a_key_are_refused(path):
    execute(path, "CREATE TABLE t (id INTEGER, n INTEGER); INSERT INTO t VALUES (1, 1), (1, 2), (2, 3)")
    async with table(path, "t") as things:
        assert await things.load([2]) == {2: {"id": 2, "n": 3}}
        with pytest.raises(SourceRefused, match="several rows") as refused:
            await things.load([1, 2])
        assert refused.value.keys == (1,)
        with pytest.raises(ConfigurationError, match="PRIMARY KEY or UNIQUE"):
            await things.save({3: {"n": 1}})


# --- writes -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_save_returns_the_rows_that_came_out_otherwise(path):
    execute(
        path,
        """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'anon', n INTEGER,
            twice AS (n * 2), seen INTEGER
        );
        CREATE TRIGGER later AFTER INSERT ON t WHEN new.name = 'trigger'
            BEGIN UPDATE t SET seen = 7 WHERE id = new.id; END;
    """,
    )
    async with table(path, "t", columns=["id", "name", "n", "seen"]) as things:
        saved = await things.save(
            {
                1: {"id": 1, "name": "same", "n": 1, "seen": None},
                2: {"n": 2},
                3: {"id": 3, "name": "trigger", "n": 3, "seen": None},
                4: {"id": 4, "name": "x", "n": "4", "seen": None},
                5: {"id": 5, "name": "x", "n": True, "seen": None},
            }
        )
        assert saved.rows == {
            2: {"id": 2, "name": "anon", "n": 2, "seen": None},
            3: {"id": 3, "name": "trigger", "n": 3, "seen": 7},
            4: {"id": 4, "name": "x", "n": 4, "seen": None},
            5: {"id": 5, "name": "x", "n": 1, "seen": None},
        }
        assert type(saved.rows[5]["n"]) is int
    async with table(path, "t") as whole:
        row = {"id": 6, "name": "y", "n": 6, "twice": 0, "seen": 1}
        saved = await whole.save({6: row})
        assert saved.rows == {6: row | {"twice": 12}}


@pytest.mark.asyncio
async def test_a_dict_may_name_some_columns_and_the_others_stay(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES (1, 'a', 'b')")
    async with table(path, "t") as things:
        saved = await things.save({1: {"a": "new"}, 2: {"b": "only"}, 3: {}})
        assert saved.rows == {
            1: {"id": 1, "a": "new", "b": "b"},
            2: {"id": 2, "a": None, "b": "only"},
            3: {"id": 3, "a": None, "b": None},
        }


@pytest.mark.asyncio
async def test_every_record_to_blame_is_named_and_no_value(path):
    execute(
        path,
        """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, mail TEXT UNIQUE, n INTEGER CHECK (n > 0), j TEXT CHECK (json(j))
        );
        INSERT INTO t VALUES (1, 'hunter2', 1, NULL);
    """,
    )
    fine = {"mail": "x", "n": 1}
    bad = {
        2: {"mail": "hunter2"},
        3: {"n": -5},
        4: {"n": 2**64},
        5: {"mail": "\ud800"},
        6: {"j": "{hunter2"},
    }
    async with table(path, "t") as things:
        for key, row in bad.items():
            with pytest.raises(SourceRefused) as refused:
                await things.save({7: fine, key: row, 8: {"n": 2}})
            assert refused.value.keys == (key,)
            assert "hunter2" not in str(refused.value)
        with pytest.raises(SourceRefused) as refused:
            await things.save(
                {key: {"mail": None, "n": None, "j": None} | row for key, row in bad.items()} | {7: fine}
            )
        assert set(refused.value.keys) == bad.keys()
        for key, row in {
            2: {"nope": 1},
            3: {"id": 4},
            4: {1: 2},
            None: {"n": 3},
            5: [1],
            6: {"n": [1]},
        }.items():
            with pytest.raises(SourceRefused) as refused:
                await things.save({7: fine, key: row})
            assert refused.value.keys == (key,)
    assert rows(path, "SELECT id FROM t") == [(1,)]


@pytest.mark.asyncio
async def test_a_constraint_that_is_checked_at_commit_refuses_the_batch(path):
    execute(
        path,
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY,"
        "p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    )
    async with aiosqlite.connect(path) as connection:
        await connection.execute("PRAGMA foreign_keys = ON")
        async with table(connection, "t") as things:
            with pytest.raises(SourceRefused, match="FOREIGN KEY") as refused:
                await things.save({1: {"p": None}, 2: {"p": 9}})
            assert refused.value.keys == (1, 2)
            assert await things.load([1, 2]) == {}


@pytest.mark.asyncio
async def test_a_removal_without_a_version_outlives_what_it_removed(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, n, v INTEGER)")
    async with table(path, "t", columns=["id"], version_column="v") as things:
        await things.save({1: {}, 2: {}}, versions={1: 5, 2: 5})
        await things.remove([1, 2])
        assert (await things.save({1: {}, 2: {}}, versions={1: 5, 2: 6})).refused == (1,)


@pytest.mark.asyncio
async def test_a_save_without_a_version_is_obeyed_and_leaves_the_guard_standing(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, n, v INTEGER)")
    async with table(path, "t", columns=["id", "n"], version_column="v") as things:
        await things.save({1: {"n": 1}}, versions={1: 5})
        await things.remove([1], versions={1: 8})
        await things.save({1: {"n": 2}})
        assert await things.load([1]) == {1: {"id": 1, "n": 2}}
        assert (await things.save({1: {"n": 3}}, versions={1: 7})).refused == (1,)
        assert (await things.save({1: {"n": 4}}, versions={1: 9})).refused == ()


@pytest.mark.asyncio
async def test_every_record_of_a_guarded_batch_needs_a_version(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)")
    async with table(path, "t", version_column="v") as things:
        with pytest.raises(ValueError, match="versions="):
            await things.save({1: {}, 2: {}}, versions={1: 1})


class Wall:
    def __init__(self):
        self.now = 1e9

    def time(self):
        return self.now


@pytest.mark.asyncio
async def test_tombstones_stand_for_as_long_as_asked(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, version INTEGER)")
    wall = Wall()
    async with table(path, "t", version_column="version", keep_tombstones=100, clock=wall) as things:
        await things.remove([1], versions={1: 5})
        wall.now += 99
        await things.remove([2], versions={2: 5})
        assert len(rows(path, "SELECT * FROM t__acache_tombstones")) == 2
        wall.now += 2
        await things.remove([3], versions={3: 5})
        assert [key for key, *_ in rows(path, "SELECT * FROM t__acache_tombstones")] == [2, 3]


@pytest.mark.asyncio
async def test_no_side_table_is_made_before_it_is_needed(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)")
    async with table(path, "t", version_column="v") as things:
        await things.save({1: {}}, versions={1: 5})
        await things.load([1])
        await things.save({1: {}}, versions={1: 4})
        assert rows(path, "SELECT name FROM sqlite_schema") == [("t",)]
