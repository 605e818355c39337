"""Rows of every type come back from a table as they were."""

import datetime as dt
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from sqlite_file import execute, table

from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved
from acache_sqlite import SQLiteTable

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
