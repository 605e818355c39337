"""What a table does beyond the contract: rows of any type, hostile names, SQLite's own pitfalls."""

import asyncio
import datetime as dt
import decimal
import enum
import os
import sqlite3
import uuid
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import aiosqlite
import attrs
import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acache.errors import CacheClosed, ConfigurationError, SourceRefused, SourceUnavailable
from acache.protocols import Saved
from acache_sqlite import SQLiteTable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


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
        with pytest.raises(SourceRefused, match="as another type") as refused:
            await numbers.save({"1": {}, 3: {}})
        assert refused.value.keys == ("1",)
        assert rows(path, "SELECT id FROM n") == [(1,), (2,)]


@pytest.mark.asyncio
async def test_the_tombstone_of_a_key_guards_no_key_of_another_type(path):
    execute(path, "CREATE TABLE n (id INTEGER PRIMARY KEY, v INTEGER)")
    async with table(path, "n", columns=["id"], version_column="v") as numbers:
        await numbers.remove(["1", b"1", 2.0], versions={"1": 9, b"1": 9, 2.0: 9})
        assert await numbers.save({1: {"id": 1}, 2: {}}, versions={1: 5, 2: 5}) == Saved(refused=(2,))


@pytest.mark.asyncio
async def test_the_column_decides_which_texts_are_equal(path):
    execute(
        path,
        "CREATE TABLE u (mail TEXT COLLATE NOCASE PRIMARY KEY, n INTEGER, v INTEGER);"
        "INSERT INTO u VALUES ('a@b', 1, 1);",
    )
    async with table(path, "u", key="mail", columns=["n"], version_column="v") as users:
        assert await users.load(["A@B", "a@b", "x"]) == {"A@B": {"n": 1}, "a@b": {"n": 1}}
        await users.remove(["A@b"], versions={"A@b": 5})
        assert (await users.save({"a@B": {"n": 2}}, versions={"a@B": 4})).refused == ("a@B",)


@pytest.mark.asyncio
async def test_the_answer_has_the_very_objects_that_were_asked_for(path):
    execute(path, "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER)")
    key = uuid.uuid4()
    async with table(path, "t") as things:
        await things.save({key: {"n": 1}})
        (found,) = await things.load([key])
        assert found is key


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


# --- types ------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Data:
    id: int
    flag: bool
    when: dt.datetime
    day: dt.date | None = None
    price: decimal.Decimal = decimal.Decimal(0)
    token: uuid.UUID | None = None
    colour: Colour = Colour.RED
    raw: bytes = b""
    tags: list[str] = field(default_factory=list)
    more: dict[str, int] | None = None


class Record(msgspec.Struct, rename="camel", omit_defaults=True):
    id: int
    first_name: str = "nobody"


class Typed(TypedDict):
    id: int
    first: str


class Named(NamedTuple):
    id: int
    flag: bool


@attrs.define
class Attrs:
    id: int
    first: str


class Part(pydantic.BaseModel):
    n: int


class Model(pydantic.BaseModel):
    id: int
    first: str = pydantic.Field(alias="First")
    when: dt.datetime
    tags: list[str] = []
    part: Part | None = None


NOON = dt.datetime(2024, 1, 2, 12, 30, 0, 5, tzinfo=dt.UTC)
FULL = Data(
    1,
    True,
    NOON,
    dt.date(2024, 1, 2),
    decimal.Decimal("12.340"),
    uuid.UUID(int=7),
    Colour.RED,
    b"\0\xff",
    ["a", "b\0'"],
    {"x": 1},
)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "value",
    [
        FULL,
        Data(1, False, NOON.replace(tzinfo=None)),
        Record(1, "Ann"),
        Record(1),
        Named(1, True),
        Attrs(1, "Ann"),
        Model(id=1, First="Ann", when=NOON, tags=["a"], part=Part(n=3)),
        Model(id=1, First="Ann", when=NOON),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_row_of_any_type_comes_back_as_it_was_saved(path, value):
    kind = type(value)
    names = {
        Data: "flag, 'when' TEXT, day, price TEXT, token, colour, raw, tags, more",
        Record: "firstName",
        Named: "flag",
        Attrs: "first",
        Model: "'First', 'when', tags, part",
    }[kind]
    execute(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, {names})")
    async with table(path, "t", type=kind) as things:
        await things.save({1: value})
        assert await things.save({1: value}) == Saved()
        (found,) = (await things.load([1])).values()
        assert found == value
        assert type(found) is kind


@pytest.mark.asyncio
async def test_a_typed_dict_has_the_columns_of_its_fields(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, first TEXT, secret TEXT DEFAULT 'x')")
    async with table(path, "t", type=Typed) as things:
        await things.save({1: {"id": 1, "first": "Ann"}})
        assert await things.load([1]) == {1: {"id": 1, "first": "Ann"}}
        with pytest.raises(SourceRefused) as refused:
            await things.save({2: {"first": object()}})
        assert refused.value.keys == (2,)


@pytest.mark.asyncio
async def test_text_that_reads_null_stays_text(path):
    @dataclass
    class Word:
        id: int
        word: str | None

    execute(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT); INSERT INTO t VALUES (1, 'null'), (2, NULL)",
    )
    async with table(path, "t", type=Word) as words:
        assert await words.load([1, 2]) == {1: Word(1, "null"), 2: Word(2, None)}


@pytest.mark.asyncio
@pytest.mark.parametrize("columns", [None, ("id", "name")])
async def test_a_dict_has_all_columns_or_those_asked_for(path, columns):
    execute(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, secret TEXT);"
        "INSERT INTO t VALUES (1, 'Ann', 's')",
    )
    async with table(path, "t", columns=columns) as things:
        expected = {"id": 1, "name": "Ann", "secret": "s"}
        assert (await things.load([1]))[1] == {name: expected[name] for name in columns or expected}


@pytest.mark.asyncio
async def test_a_column_that_is_added_later_is_seen(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    async with table(path, "t") as things:
        assert await things.load([1]) == {1: {"id": 1}}
        execute(path, "ALTER TABLE t ADD COLUMN name TEXT DEFAULT 'new'")
        assert await things.load([1]) == {1: {"id": 1, "name": "new"}}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "key"), [(Data, 1), (Data, 2), (Data, 3), (Model, 1), (Model, 2), (Named, 1)]
)
async def test_a_row_that_does_not_fit_is_named_without_its_values(path, kind, key):
    columns = "flag, 'when', day, price, token, colour, raw, tags, more, 'First', part"
    execute(
        path,
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns});"
        "INSERT INTO t(id, flag, 'when', 'First', colour, tags, price, raw) VALUES "
        "(1, 'hunter2', 'hunter2', 'A', 'hunter2', '[]', 1, x''), "
        "(2, 1, '2024-01-01', 'A', 'hunter2', 'hunter2', 1, x''), "
        "(3, 1, '2024-01-01 10:00:00', 'hunter2', 'hunter2', '[]', 1, x'')",
    )
    async with table(path, "t", type=kind) as things:
        with pytest.raises(SourceRefused, match=f"does not fit {kind.__name__}|JSON") as refused:
            await things.load([key])
        assert refused.value.keys == (key,)
        error = refused.value
        while error is not None:
            assert "hunter2" not in str(error)
            error = error.__cause__


@pytest.mark.parametrize("kind", [int, str, list, object, dict[str, int], int | None])
def test_a_type_that_is_no_row_is_refused_at_once(kind):
    with pytest.raises(ConfigurationError, match="dataclass"):
        SQLiteTable("x.db", "t", type=kind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "id"}, "columns="),
        ({"columns": ["id"], "type": Typed}, "'first', 'id'"),
        ({"columns": ["id", "first", "more"], "type": Typed}, "'first', 'id'"),
        ({"columns": ["flag", "id"], "type": Named}, "'id', 'flag'"),
        ({"key": ()}, "key="),
        ({"key": ""}, "cannot name"),
        ({"key": "i\0d"}, "cannot name"),
        ({"version_column": "a\0"}, "cannot name"),
        ({"columns": ["a\0"]}, "cannot name"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SQLiteTable("x.db", "t", **options)


# --- names ------------------------------------------------------------------------------------------

NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: not name.lower().startswith("sqlite_"))


@given(name=NAMES, key=NAMES, column=NAMES, version=NAMES, value=st.text().filter(str.isprintable))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_is_only_a_name(tmp_path, name, key, column, version, value):
    if len({key.lower(), column.lower(), version.lower()}) < 3:
        return
    path = tmp_path / "names.db"
    path.unlink(missing_ok=True)

    def quote(text):
        return '"' + text.replace('"', '""') + '"'

    columns = f"{quote(key)} TEXT PRIMARY KEY, {quote(column)}, {quote(version)}"
    execute(
        path,
        "CREATE TABLE victim (id); INSERT INTO victim VALUES (1);"
        f"CREATE TABLE {quote(name + '_')} ({columns})",
    )

    async def use():
        async with table(path, name + "_", key=key, columns=[key, column], version_column=version) as things:
            row = {key: value, column: value}
            assert await things.save({value: row}, versions={value: 1}) == Saved()
            assert await things.load([value]) == {value: row}
            await things.remove([value], versions={value: 2})
            assert (await things.save({value: row}, versions={value: 1})).refused == (value,)
            assert await things.load([value]) == {}

    asyncio.run(use())
    assert rows(path, "SELECT * FROM victim") == [(1,)]


@pytest.mark.asyncio
async def test_a_column_that_is_missing_is_named_with_those_that_exist(path):
    # Unqualified, SQLite would take the quoted name for a string and return it from every row.
    execute(path, "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'x')")
    for options, missing in [
        ({"columns": ["id", "nmae"]}, "nmae"),
        ({"key": "uid"}, "uid"),
        ({"version_column": "rev"}, "rev"),
        ({"type": Attrs}, "first"),
    ]:
        async with table(path, "users", **options) as users:
            with pytest.raises(ConfigurationError, match=f"no column '{missing}'; it has: 'id', 'name'"):
                await users.load([1])


@pytest.mark.asyncio
async def test_a_table_or_file_that_is_missing_is_named(path):
    execute(path, "CREATE TABLE users (id INTEGER PRIMARY KEY); CREATE VIEW names AS SELECT 1")
    async with table(path, "usres") as users:
        with pytest.raises(ConfigurationError, match="no table 'usres'; there are: 'names', 'users'"):
            await users.load([1])
    async with table(path.with_name("other.db"), "users") as users:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"other\.db.*no such file"):
                await users.load([1])
        assert not path.with_name("other.db").exists()
        execute(path.with_name("other.db"), "CREATE TABLE users (id INTEGER PRIMARY KEY)")
        assert await users.load([1]) == {}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "database="),
        ("a\0b", "database="),
        ("sqlite://host/x.db", "absolute/path"),
        ("sqlite:x.db", "absolute/path"),
        ("sqlite:///x.db?mode=ro", "no parameters"),
    ],
)
def test_a_database_that_cannot_be_one_is_refused_at_once(url, message):
    with pytest.raises(ConfigurationError, match=message):
        SQLiteTable(url, "t")


@pytest.mark.asyncio
async def test_a_url_is_relative_with_three_slashes_and_absolute_with_four(path, monkeypatch):
    odd = path.with_name("od d%?#.db")
    execute(odd, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    monkeypatch.chdir(path.parent)
    quoted = "od%20d%25%3F%23.db"
    for url in (
        f"sqlite:///{quoted}",
        f"sqlite:///{path.parent}/{quoted}",
        f"sqlite+aiosqlite:///{quoted}",
        odd,
    ):
        async with table(url, "t") as things:
            assert await things.load([1]) == {1: {"id": 1}}


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


# --- the connection ---------------------------------------------------------------------------------


@contextmanager
def locked(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.close()


@pytest.mark.asyncio
async def test_a_locked_database_is_unavailable_and_free_again_later(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    async with table(path, "t", timeout=0.01) as things:
        with locked(path):
            for call in (things.load([1]), things.save({1: {}}), things.remove([1])):
                with pytest.raises(SourceUnavailable, match="locked") as unavailable:
                    await call
                assert isinstance(unavailable.value.__cause__, sqlite3.OperationalError)
        assert await things.load([1]) == {1: {"id": 1}}
        await things.save({2: {}})


@pytest.mark.asyncio
async def test_a_file_that_is_no_database_is_unavailable(path):
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    async with table(path, "t") as things:
        with pytest.raises(SourceUnavailable, match="not a database"):
            await things.load([1])


@pytest.mark.asyncio
async def test_a_closed_source_says_so_and_opens_again(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    things = SQLiteTable(path, "t")
    async with things:
        await things.load([1])
    with pytest.raises(CacheClosed, match="async with"):
        await things.load([1])
    async with things:
        await things.load([1])


@pytest.mark.asyncio
async def test_a_cancelled_close_closes_all_the_same(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    things = SQLiteTable(path, "t")
    await things.load([1])
    executor = things._connection._executor
    closing = asyncio.ensure_future(things.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    executor.shutdown(wait=True)
    assert things._connection._connection is None


@pytest.mark.asyncio
async def test_a_lent_connection_is_not_written_to_inside_its_owners_transaction(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    async with aiosqlite.connect(path) as connection:
        await connection.execute("INSERT INTO t VALUES (1)")
        async with table(connection, "t") as things:
            for call in (things.save({2: {}}), things.remove([1])):
                with pytest.raises(SourceUnavailable, match="commit first"):
                    await call
            await connection.rollback()
            await things.save({2: {}})
            await connection.rollback()
            assert await things.load([1, 2]) == {2: {"id": 2}}


@pytest.mark.asyncio
async def test_a_lent_connection_that_is_closed_is_unavailable(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    async with aiosqlite.connect(path) as connection:
        pass
    async with table(connection, "t") as things:
        with pytest.raises(SourceUnavailable, match="not open"):
            await things.load([1])


@pytest.mark.asyncio
async def test_a_database_in_memory_can_be_lent():
    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n)")
        async with table(connection, "t") as things:
            await things.save({1: {"n": 1}})
            assert await things.load([1]) == {1: {"id": 1, "n": 1}}


@pytest.mark.real
def test_a_child_opens_a_connection_of_its_own_and_the_parents_end_costs_it_nothing(path):
    execute(path, "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)")
    things = SQLiteTable(path, "t")
    asyncio.run(things.save({1: {}}))
    (heard, say), (wait, let_go) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(let_go)
            asyncio.run(things.load([1]))
            os.write(say, b"loaded")
            os.read(wait, 1)
            # Had the parent's connection crossed the fork, its end would have deleted the log that
            # this goes to.
            asyncio.run(things.save({2: {}}))
        finally:
            os._exit(0)
    os.close(say)
    assert os.read(heard, 6) == b"loaded"
    asyncio.run(things.load([1]))
    asyncio.run(things.aclose())
    os.close(let_go)
    os.waitpid(child, 0)
    assert rows(path, "SELECT id FROM t") == [(1,), (2,)]
    os.close(heard)
    os.close(wait)


def forked():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def test_a_fork_waits_for_the_batch_that_is_being_written(path):
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, n)")
    things: SQLiteTable[int, dict[str, Any]] = SQLiteTable(path, "t")

    async def write():
        saving = asyncio.ensure_future(things.save({n: {"n": n} for n in range(5_000)}))
        await asyncio.sleep(0)
        forked()
        await saving
        assert len(await things.load(range(5_000))) == 5_000
        await things.aclose()

    asyncio.run(write())
