"""Values and rows of every type come back from a table as they were."""

import datetime as dt
import enum
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, TypedDict
from uuid import UUID

import asyncpg
import attrs
import msgspec
import pydantic
import pytest

from acache.errors import SourceRefused
from acache.protocols import Saved
from acache_postgres import PostgresTable

pytestmark = pytest.mark.real


UID = UUID("12345678-1234-5678-1234-567812345678")
NOW = dt.datetime(2024, 2, 29, 12, 30, 45, 123456, tzinfo=dt.UTC)


# --- values -----------------------------------------------------------------------------------------

VALUES = [
    ("bool", True),
    ("smallint", -32768),
    ("bigint", 2**63 - 1),
    ("real", 0.5),
    ("double precision", 0.1),
    ("double precision", float("inf")),
    ("numeric", Decimal("12345678901234567890.123456789")),
    ("numeric(6, 2)", Decimal("1.50")),
    ("text", 'it\'s "quoted" \\ \n ünïcode'),
    ("varchar(10)", ""),
    ("bytea", b"\x00\xff"),
    ("date", dt.date(2024, 2, 29)),
    ("time", dt.time(1, 2, 3)),
    ("timestamp", dt.datetime(2024, 2, 29, 12)),
    ("timestamptz", NOW),
    ("interval", dt.timedelta(days=3, seconds=5)),
    ("uuid", UID),
    ("jsonb", {"a": [1, 2.5, None, {"b": "c"}], "ü": True}),
    ("jsonb", "just text"),
    ("jsonb", [12345678901234567890123]),
    ("json", {"a": 1}),
    ("mood", "ok"),
    ("posint", 5),
    ("document", {"deep": [1]}),
    ("point2", {"x": 1, "label": "a"}),
    ("int[]", [1, None, 3]),
    ("int[]", []),
    ("int[]", [[1, 2], [3, 4]]),
    ("text[]", ["a,b", '"', "{}", "", None, "NULL"]),
    ("uuid[]", [UID, None]),
    ("jsonb[]", [{"a": [1]}, None, "text", []]),
    ("mood[]", ["ok", "sad"]),
    ("taglist", ["x", "y"]),
    ("int4range", asyncpg.Range(1, 5)),
    ("bigint", None),
    ("jsonb", None),
    ("text[]", None),
]
TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE point2 AS (x int, label text);
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN document AS jsonb;
CREATE DOMAIN taglist AS text[];
"""


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "value"), VALUES, ids=lambda part: str(part)[:30])
async def test_a_value_of_every_type_comes_back_as_it_was(server, url, kind, value):
    server.psql(
        "DROP TYPE IF EXISTS mood, point2 CASCADE; DROP DOMAIN IF EXISTS posint, document, taglist" + ""
    )
    server.psql(f"{TYPES} CREATE TABLE t (id int PRIMARY KEY, v {kind})")
    async with PostgresTable(url, "t") as table:
        rows = {1: {"id": 1, "v": value}, 2: {"id": 2, "v": value}}
        assert await table.save(rows) == Saved()  # nothing differs, types count
        assert await table.load([1, 2]) == rows
        held = (await table.load([1]))[1]["v"]
        assert type(held) is type(value)


class Mood(enum.Enum):
    SAD = "sad"
    OK = "ok"


class Inner(msgspec.Struct):
    n: int


@dataclass
class AsDataclass:
    id: int
    mood: Mood
    tags: list[str]
    doc: Inner
    notes: list[int]
    price: Decimal
    at: dt.datetime
    uid: UUID
    labels: frozenset[str] = frozenset()


class AsStruct(msgspec.Struct):
    id: int
    mood: Mood
    tags: list[str]
    doc: Inner
    notes: list[int]
    price: Decimal
    at: dt.datetime
    uid: UUID
    labels: frozenset[str] = frozenset()


class AsTypedDict(TypedDict):
    id: int
    mood: Mood
    tags: list[str]
    doc: Inner
    notes: list[int]
    price: Decimal
    at: dt.datetime
    uid: UUID
    labels: frozenset[str]


class AsNamedTuple(NamedTuple):
    id: int
    mood: Mood
    tags: list[str]
    doc: Inner
    notes: list[int]
    price: Decimal
    at: dt.datetime
    uid: UUID
    labels: frozenset[str] = frozenset()


@attrs.define
class AsAttrs:
    id: int
    mood: Mood
    tags: list[str]
    doc: Inner
    notes: list[int]
    price: Decimal
    at: dt.datetime
    uid: UUID
    labels: frozenset[str] = frozenset()


class InnerModel(pydantic.BaseModel):
    n: int


class AsModel(pydantic.BaseModel):
    id: int
    mood: Mood
    tags: list[str]
    doc: InnerModel
    notes: list[int]
    price: Decimal
    at: dt.datetime
    uid: UUID
    labels: frozenset[str] = frozenset()


TYPED = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE typed (id int PRIMARY KEY, mood mood, tags text[], doc jsonb, notes text, price numeric(8, 2),
  at timestamptz, uid uuid, labels text[], other text)
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [AsDataclass, AsStruct, AsTypedDict, AsNamedTuple, AsAttrs, AsModel])
async def test_a_typed_row_comes_back_as_it_was(server, url, kind):
    server.psql(TYPED)
    values = {
        n: kind(
            id=n,
            mood=Mood.OK,
            tags=["a", "b"],
            doc=InnerModel(n=n) if kind is AsModel else Inner(n),
            notes=[1, 2],  # JSON in a column of text
            price=Decimal("1.25"),
            at=NOW,
            uid=UID,
            labels=frozenset({"x", "y"}),
        )
        for n in (1, 2)
    }
    async with PostgresTable(url, "typed", type=kind) as table:
        assert await table.save(values) == Saved()
        found = await table.load([1, 2, 3])
        assert found == values
        assert type(found[1]) is (dict if kind is AsTypedDict else kind)


@pytest.mark.asyncio
async def test_rows_that_do_not_fit_the_type_are_named_without_their_values(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a'), (2, NULL)")

    @dataclass
    class Row:
        id: int
        name: str

    async with PostgresTable(url, "t", type=Row) as table:
        assert await table.load([1]) == {1: Row(1, "a")}
        with pytest.raises(SourceRefused, match="Expected `str`, got `null`") as refused:
            await table.load([1, 2])
        assert refused.value.keys == (2,)


@pytest.mark.asyncio
async def test_a_lenders_own_codecs_for_json_are_respected(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, a json, b jsonb, c jsonb[])")

    async def init(connection):
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)

    row = {"id": 1, "a": {"x": 1}, "b": "text", "c": ["text", {"x": 1}]}
    async with asyncpg.create_pool(url, min_size=1, max_size=1, init=init) as pool:
        table = PostgresTable(pool, "t")
        assert await table.save({1: row}) == Saved()
        assert await table.load([1]) == {1: row}
