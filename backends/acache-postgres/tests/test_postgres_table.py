"""What tables do beyond the contract: types, keys, triggers, refusals, versions."""

import asyncio
import datetime as dt
import enum
import json
import traceback
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, TypedDict
from uuid import UUID

import asyncpg
import attrs
import msgspec
import pydantic
import pytest

from acache.errors import CacheClosed, ConfigurationError, SourceRefused, SourceUnavailable
from acache.protocols import Saved
from acache.testing import ManualClock
from acache_postgres import PostgresTable

pytestmark = pytest.mark.real

UID = UUID("12345678-1234-5678-1234-567812345678")
UTC = dt.UTC
NOW = dt.datetime(2024, 2, 29, 12, 30, 45, 123456, tzinfo=UTC)


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


# --- keys -------------------------------------------------------------------------------------------

KEYS = [
    ("int", 7, [8, "7", 2**40, -(2**70), None, b"7", 7.5, object()]),
    ("text", "it's", ["its", 7, "a\0b", "\ud800", None, b"it's"]),
    ("uuid", UID, [UUID(int=1), "not one", 7, None]),
    ("date", dt.date(2024, 1, 1), [dt.date(2024, 1, 2), "2024-01-01"]),
    ("numeric", Decimal("1.50"), [Decimal("1.51"), "x"]),
    ("mood", "ok", ["sad", "no such mood", 3]),
    ("bytea", b"\x00", [b"", "\x00"]),
    ("char(4)", "ab", ["b", 5]),
    ("timestamptz", NOW, [NOW + dt.timedelta(microseconds=1), 5]),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "key", "others"), KEYS, ids=lambda part: str(part)[:20])
async def test_a_key_of_any_type_finds_its_row_and_what_cannot_be_a_key_finds_none(
    server, url, kind, key, others
):
    server.psql(f"CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id {kind} PRIMARY KEY, n int)")
    async with PostgresTable(url, "t", columns=["n"]) as table:
        assert await table.save({key: {"n": 1}}) == Saved()
        assert await table.load([*others, key]) == {key: {"n": 1}}
        assert await table.load(others) == {}
        assert await table.remove(others) == Saved()
        assert await table.load([key]) == {key: {"n": 1}}
        assert await table.remove([*others, key]) == Saved()
        assert await table.load([key]) == {}


@pytest.mark.asyncio
async def test_what_cannot_be_a_key_is_refused_when_it_is_saved(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    async with PostgresTable(url, "t", columns=["n"]) as table:
        for key in ("x", 2**40, None):
            with pytest.raises(SourceRefused) as refused:
                await table.save({1: {"n": 1}, key: {"n": 2}, 3: {"n": 3}})
            assert refused.value.keys == (key,)
        assert await table.load([1, 3]) == {}


@pytest.mark.asyncio
async def test_a_composite_key_is_a_tuple_of_all_its_parts(server, url):
    server.psql("CREATE TABLE t (a int, b text, n int, PRIMARY KEY (a, b))")
    async with PostgresTable(url, "t", key=("b", "a"), columns=["n"]) as table:
        await table.save({("x", 1): {"n": 1}, ("x", 2): {"n": 2}, ("y", 1): {"n": 3}})
        assert await table.load([("y", 1), ("x", 3), ("x", 2), ("x", "2")]) == {
            ("y", 1): {"n": 3},
            ("x", 2): {"n": 2},
        }
        for key in ("x", ("x",), ("x", 1, 2), 5):
            with pytest.raises(SourceRefused) as refused:
                await table.load([("x", 1), key])
            assert refused.value.keys == (key,)


@pytest.mark.asyncio
async def test_two_keys_that_are_one_row_to_the_database_are_saved_one_after_the_other(server, url):
    server.psql("CREATE TABLE t (id char(4) PRIMARY KEY, n int)")
    async with PostgresTable(url, "t", columns=["n"]) as table:
        saved = await table.save({"a": {"n": 1}, "a ": {"n": 2}, "b": {"n": 3}})
        assert saved == Saved(rows={"a": {"n": 2}})
        assert await table.load(["a", "a ", "b"]) == {"a": {"n": 2}, "a ": {"n": 2}, "b": {"n": 3}}


@pytest.mark.asyncio
async def test_several_rows_under_one_key_are_refused(server, url):
    server.psql("CREATE TABLE t (id int, n int); INSERT INTO t VALUES (1, 1), (2, 1), (2, 2)")
    async with PostgresTable(url, "t") as table:
        assert await table.load([1]) == {1: {"id": 1, "n": 1}}
        with pytest.raises(SourceRefused, match="several rows") as refused:
            await table.load([1, 2])
        assert refused.value.keys == (2,)


# --- what is written --------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_rows_come_back_where_the_database_made_something_else_of_them(server, url):
    server.psql("""
        CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text,
          made text DEFAULT 'by default', twice text GENERATED ALWAYS AS (name || name) STORED);
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN NEW.name = upper(NEW.name); RETURN NEW; END $$;
        CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION shout();
    """)
    async with PostgresTable(url, "t") as table:
        given = {1: {"name": "a"}, 2: {"id": 2, "name": "B", "made": "by hand", "twice": "BB"}}
        first = {"id": 1, "name": "A", "made": "by default", "twice": "AA"}
        assert await table.save(given) == Saved(rows={1: first})
        assert await table.load([1, 2]) == {1: first, 2: given[2]}
        # What a dict does not name keeps what it holds.
        assert await table.save({2: {"name": "c"}}) == Saved(
            rows={2: {"id": 2, "name": "C", "made": "by hand", "twice": "CC"}}
        )


@pytest.mark.asyncio
async def test_rows_come_back_as_triggers_left_them_that_run_afterwards(server, url):
    server.psql("""
        CREATE TABLE t (id int PRIMARY KEY, name text, n int);
        CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN UPDATE t SET n = 7 WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER count_up AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION count_up();
    """)
    async with PostgresTable(url, "t") as table:
        assert await table.save({1: {"id": 1, "name": "a", "n": 0}}) == Saved(
            rows={1: {"id": 1, "name": "a", "n": 7}}
        )


@pytest.mark.asyncio
async def test_a_row_that_a_trigger_swallowed_is_refused(server, url):
    server.psql("""
        CREATE TABLE t (id int PRIMARY KEY);
        CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION swallow();
    """)
    async with PostgresTable(url, "t") as table:
        assert await table.save({1: {}, 2: {}, 3: {}}) == Saved(
            rows={1: {"id": 1}, 3: {"id": 3}}, refused=(2,)
        )


@pytest.mark.asyncio
async def test_items_may_name_different_columns(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'A', b text DEFAULT 'B')")
    async with PostgresTable(url, "t") as table:
        await table.save({1: {"a": "x"}, 2: {"b": "y"}, 3: {"b": "z", "a": "w"}, 4: {}})
        assert await table.load([1, 2, 3, 4]) == {
            1: {"id": 1, "a": "x", "b": "B"},
            2: {"id": 2, "a": "A", "b": "y"},
            3: {"id": 3, "a": "w", "b": "z"},
            4: {"id": 4, "a": "A", "b": "B"},
        }


@pytest.mark.asyncio
@pytest.mark.parametrize("through", ["view", "partitioned", "unlogged"])
async def test_tables_of_every_kind_can_be_read_and_written(server, url, through):
    server.psql(
        {
            "view": "CREATE TABLE base (id int PRIMARY KEY, n int); CREATE VIEW t AS SELECT * FROM base",
            "partitioned": """CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
            CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10);
            CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (100)""",
            "unlogged": "CREATE UNLOGGED TABLE t (id int PRIMARY KEY, n int)",
        }[through]
    )
    async with PostgresTable(url, "t") as table:
        rows = {1: {"id": 1, "n": 1}, 50: {"id": 50, "n": 2}}
        if through == "view":  # has no unique key of its own
            server.psql("INSERT INTO base VALUES (1, 1), (50, 2)")
        else:
            await table.save(rows)
        assert await table.load([1, 50]) == rows
        await table.remove([1])
        assert await table.load([1, 50]) == {50: rows[50]}


# --- refusals ---------------------------------------------------------------------------------------

REFUSALS = """
CREATE TABLE teams (id int PRIMARY KEY);
INSERT INTO teams VALUES (1);
CREATE TABLE t (id int PRIMARY KEY, name varchar(5) NOT NULL, team int REFERENCES teams,
  age int CHECK (age > 0), email text UNIQUE, uid uuid, boss int REFERENCES t DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN IF NEW.name = 'veto' THEN RAISE EXCEPTION 'vetoed'; END IF; RETURN NEW; END $$;
CREATE TRIGGER veto BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION veto();
INSERT INTO t VALUES (100, 'old', 1, 1, 'taken@secret', NULL, NULL);
"""
POISONS = [
    {"name": None},
    {"name": "secret-too-long"},
    {"name": "a\0b"},
    {"name": "\ud800"},
    {"name": 5},
    {"team": 99},
    {"age": -77777},
    {"age": 2**40},
    {"age": "secret"},
    {"email": "taken@secret"},
    {"boss": 99999},
    {"name": "veto"},
    {"age": object()},
    {"uid": "secret, not a UUID"},
    {"nope": "secret"},
    {"id": 5555},
]


@pytest.mark.asyncio
@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: "".join(poison))
async def test_the_rows_to_blame_are_named_and_nothing_is_written(server, url, poison):
    server.psql(REFUSALS)
    async with PostgresTable(url, "t") as table:
        good = {n: {"name": f"n{n}", "team": 1, "age": 1, "email": f"{n}"} for n in range(1, 40)}
        with pytest.raises(SourceRefused) as refused:
            await table.save(good | {7: good[7] | poison, 23: good[23] | poison})
        assert set(refused.value.keys) == {7, 23}
        assert await table.load(list(good)) == {}
        shown = "".join(traceback.format_exception(refused.value))
        assert not any(secret in shown for secret in ("secret", "77777", "99999", "5555", "Failing row"))
        await table.save(good)
        assert len(await table.load(list(good))) == len(good)


@pytest.mark.asyncio
async def test_of_rows_that_refuse_each_other_the_later_ones_are_to_blame(server, url):
    server.psql(REFUSALS)
    async with PostgresTable(url, "t") as table:
        rows = {n: {"name": "x", "email": f"{n // 2}"} for n in range(2, 8)}
        with pytest.raises(SourceRefused) as refused:
            await table.save(rows)
        assert set(refused.value.keys) == {3, 5, 7}


@pytest.mark.asyncio
async def test_a_row_that_needs_a_later_one_is_not_to_blame(server, url):
    server.psql(REFUSALS)
    async with PostgresTable(url, "t") as table:
        rows = {n: {"name": "x", "boss": n + 1} for n in range(1, 9)} | {9: {"name": "x"}, 20: {"name": None}}
        with pytest.raises(SourceRefused) as refused:
            await table.save(rows)
        assert refused.value.keys == (20,)
        del rows[20]
        await table.save(rows)


@pytest.mark.asyncio
async def test_a_refusal_says_what_was_violated_and_keeps_its_cause(server, url):
    server.psql(REFUSALS)
    async with PostgresTable(url, "t") as table:
        with pytest.raises(
            SourceRefused, match=r"table 't' refused 1 of the rows: .*\"t_age_check\""
        ) as refused:
            await table.save({1: {"name": "x", "age": 0}, 2: {"name": "x"}})
        assert isinstance(refused.value.__cause__, asyncpg.CheckViolationError)
        assert refused.value.__cause__.constraint_name == "t_age_check"


@pytest.mark.asyncio
async def test_a_value_of_another_type_is_refused_before_anything_is_asked(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, name text)")

    @dataclass
    class Row:
        id: int
        name: str
        more: list[int] = field(default_factory=list)

    async with PostgresTable(url, "t", type=Row, columns=["id", "name"]) as table:
        with pytest.raises(SourceRefused, match="must be a Row, not dict") as refused:
            await table.save({1: Row(1, "a"), 2: {"id": 2, "name": "b"}})
        assert refused.value.keys == (2,)


# --- what is set up wrongly -------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("nope", {}, "there is no table 'nope'; there are: 'listed', 'other.t', 't'"),
        ("other.nope", {}, "there is no table 'other.nope'"),
        ("t", {"columns": ["id", "nope"]}, "table 't' has no column 'nope'; it has: 'id', 'name'"),
        ("t", {"key": "nope"}, "has no column 'nope'"),
        ("t", {"version_column": "nope"}, "has no column 'nope'"),
        ("listed", {}, "key='id' of table 'listed' is of type"),
        ("t", {"key": "name"}, "needs it to be the PRIMARY KEY or UNIQUE"),
    ],
)
async def test_what_does_not_exist_is_named_with_what_does(server, url, table, options, message):
    server.psql("""
        DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY);
        CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE listed (id int[] PRIMARY KEY);
        CREATE UNIQUE INDEX ON t (name) WHERE id > 5; CREATE UNIQUE INDEX ON t (lower(name), id);
    """)
    async with PostgresTable(url, table, **options) as source:
        with pytest.raises(ConfigurationError) as wrong:
            await (source.save({1: {"name": "x"}}) if "UNIQUE" in message else source.load([1]))
        assert message in str(wrong.value)
    server.psql("DROP SCHEMA other CASCADE")


@pytest.mark.asyncio
async def test_a_name_that_could_be_two_tables_is_refused(server, url):
    server.psql("""
        DROP SCHEMA IF EXISTS a CASCADE;
        CREATE SCHEMA a; CREATE TABLE a.t (id int); CREATE TABLE "a.t" (id int PRIMARY KEY); CREATE TABLE t (id int);
    """)
    async with PostgresTable(url, "a.t") as table:
        with pytest.raises(ConfigurationError, match="could be 't' in schema 'a', 'a.t' in schema 'public'"):
            await table.load([1])
    async with PostgresTable(url, "public.a.t") as table:
        assert await table.load([1]) == {}
    server.psql("DROP SCHEMA a CASCADE")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("mysql://u:secret@h/d", "t"), {}, "begins with postgresql://, not 'mysql'"),
        ((5, "t"), {}, "database= must be a postgresql:// URL"),
        (("postgresql://h/d", ""), {}, "cannot name"),
        (("postgresql://h/d", "a\0"), {}, "cannot name"),
        (("postgresql://h/d", "t"), {"key": ()}, "key= names no column"),
        (("postgresql://h/d", "t"), {"columns": "id"}, "columns= must be a collection"),
        (("postgresql://h/d", "t"), {"type": int}, "is not a row"),
        (("postgresql://h/d", "t"), {"type": AsStruct, "columns": ["id"]}, "must hold the fields"),
        (("postgresql://h/d", "t"), {"pool_size": 0}, "pool_size="),
    ],
)
def test_nonsense_is_refused_when_it_is_made(arguments, options, message):
    with pytest.raises(ConfigurationError) as wrong:
        PostgresTable(*arguments, **options)
    assert message in str(wrong.value)
    assert "secret" not in str(wrong.value)


def test_a_password_is_shown_nowhere():
    assert "secret" not in repr(PostgresTable("postgresql://u:secret@h/d", "t"))


@pytest.mark.asyncio
async def test_no_permission_is_an_error_of_configuration(server, url, admin):
    server.psql("CREATE TABLE t (id int PRIMARY KEY); GRANT USAGE ON SCHEMA public TO public")
    await admin.execute("SET SESSION AUTHORIZATION pg_monitor")
    with pytest.raises(ConfigurationError, match="permission denied for table t"):
        await PostgresTable(admin, "t").load([1])


@pytest.mark.asyncio
async def test_a_closed_source_says_so_until_it_is_opened_again(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY)")
    table = PostgresTable(url, "t")
    assert await table.load([1]) == {}
    await table.aclose()
    with pytest.raises(CacheClosed):
        await table.load([1])
    async with table:
        assert await table.load([1]) == {}


# --- tables that are altered ------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_table_may_be_altered_while_it_is_used(server, url):
    server.psql("CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'a', 'b')")
    async with PostgresTable(url, "t") as table:
        assert await table.load([1]) == {1: {"id": 1, "a": "a", "b": "b"}}
        server.psql("ALTER TABLE t DROP COLUMN b")
        assert await table.load([1]) == {1: {"id": 1, "a": "a"}}
        server.psql("ALTER TABLE t ADD COLUMN c int DEFAULT 3")
        await table.save({1: {"c": 4}})
        assert await table.load([1]) == {1: {"id": 1, "a": "a", "c": 4}}
        server.psql("ALTER TABLE t ALTER COLUMN id TYPE bigint")
        assert await table.load([1, 2**40]) == {1: {"id": 1, "a": "a", "c": 4}}
        server.psql("ALTER TABLE t ALTER COLUMN a TYPE int USING 5")
        await table.save({1: {"a": 6}})
        assert await table.load([1]) == {1: {"id": 1, "a": 6, "c": 4}}
        server.psql("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, z int)")
        await table.save({1: {"z": 1}})
        assert await table.load([1]) == {1: {"id": 1, "z": 1}}
        server.psql("ALTER TABLE t RENAME TO u")
        with pytest.raises(ConfigurationError, match="there is no table 't'; there are: 'u'"):
            await table.load([1])


@pytest.mark.asyncio
async def test_an_enum_may_be_made_anew_while_it_is_used(server, url):
    server.psql("CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (id int PRIMARY KEY, m mood)")
    async with PostgresTable(url, "t") as table:
        await table.save({1: {"m": "ok"}})
        server.psql("""
            ALTER TABLE t ALTER m TYPE text; DROP TYPE mood; CREATE TYPE mood AS ENUM ('ok', 'new');
            ALTER TABLE t ALTER m TYPE mood USING m::mood
        """)
        await table.save({1: {"m": "new"}})
        assert await table.load([1]) == {1: {"id": 1, "m": "new"}}


# --- versions ---------------------------------------------------------------------------------------

VERSIONED = "CREATE TABLE t (id int PRIMARY KEY, name text, version bigint)"


def versioned(url, **options):
    return PostgresTable(url, "t", columns=["name"], version_column="version", **options)


@pytest.mark.asyncio
async def test_a_removal_and_an_older_save_that_overlap_leave_no_row(server, url):
    server.psql(
        VERSIONED
        + """;
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow();
    """
    )
    async with versioned(url) as table:
        saving = asyncio.create_task(table.save({1: {"name": "late"}}, versions={1: 4}))
        await asyncio.sleep(0.08)  # it is inserting now
        await table.remove([1], versions={1: 5})
        await saving
        assert await table.load([1]) == {}


@pytest.mark.asyncio
async def test_a_removal_without_a_version_outlives_what_it_removed(server, url):
    server.psql(VERSIONED)
    async with versioned(url) as table:
        await table.save({1: {"name": "five"}}, versions={1: 5})
        await table.remove([1])
        assert (await table.save({1: {"name": "late"}}, versions={1: 5})).refused == (1,)
        assert (await table.save({1: {"name": "next"}}, versions={1: 6})).refused == ()


@pytest.mark.asyncio
async def test_tombstones_are_forgotten_after_their_time(server, url, admin):
    server.psql(VERSIONED)
    clock = ManualClock()
    async with versioned(url, keep_tombstones=100, clock=clock) as table:
        await table.remove([1], versions={1: 5})
        clock.advance(99)
        await table.remove([2], versions={2: 5})
        assert (await table.save({1: {"name": "late"}}, versions={1: 4})).refused == (1,)
        clock.advance(2)
        await table.remove([3], versions={3: 5})
        kept = await admin.fetch("SELECT id FROM t__acache_tombstones ORDER BY id")
        assert [row[0] for row in kept] == [2, 3]


@pytest.mark.asyncio
async def test_tombstones_have_room_beside_any_name(server, url):
    name = "ü" * 31  # 62 of PostgreSQL's 63 bytes
    server.psql(
        f'CREATE TABLE "{name}" (version int, removed_at text, PRIMARY KEY (version, removed_at), v bigint)'
    )
    table = PostgresTable(url, name, key=("version", "removed_at"), columns=[], version_column="v")
    async with table:
        await table.remove([(1, "x")], versions={(1, "x"): 5})
        assert (await table.save({(1, "x"): {}}, versions={(1, "x"): 5})).refused == ((1, "x"),)


@pytest.mark.asyncio
async def test_a_version_is_needed_for_every_key(server, url):
    server.psql(VERSIONED)
    async with versioned(url) as table:
        with pytest.raises(ValueError, match="versions= lacks"):
            await table.save({1: {"name": "a"}, 2: {"name": "b"}}, versions={1: 1})


@pytest.mark.asyncio
async def test_a_row_without_a_version_is_older_than_any(server, url):
    server.psql(VERSIONED + "; INSERT INTO t VALUES (1, 'null', NULL), (2, 'null', NULL)")
    async with versioned(url) as table:
        assert await table.save({1: {"name": "one"}}, versions={1: 1}) == Saved()
        assert await table.remove([2], versions={2: 1}) == Saved()
        assert await table.load([1, 2]) == {1: {"name": "one"}}


# --- connections that are lent ----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_lent_connection_is_refused_for_writing_inside_its_owners_transaction(server, url, admin):
    server.psql("CREATE TABLE t (id int PRIMARY KEY)")
    table = PostgresTable(admin, "t")
    async with admin.transaction():
        assert await table.load([1]) == {}
        for write in (table.save({1: {}}), table.remove([1])):
            with pytest.raises(SourceUnavailable, match="inside a transaction"):
                await write
    await table.save({1: {}})
    await table.aclose()
    assert await admin.fetchval("SELECT count(*) FROM t") == 1


@pytest.mark.asyncio
async def test_sources_take_turns_on_one_lent_connection(server, url, admin):
    server.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    tables = [PostgresTable(admin, name) for name in ("t", "u")]
    await asyncio.gather(*(table.save({n: {}}) for n in range(10) for table in tables))
    answers = await asyncio.gather(*(table.load([n]) for n in range(10) for table in tables))
    assert all(answers)


@pytest.mark.asyncio
async def test_a_child_process_opens_connections_of_its_own(server, url, monkeypatch):
    server.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        lent, own = PostgresTable(pool, "t"), PostgresTable(url, "t")
        assert await own.load([1]) == await lent.load([1]) == {1: {"id": 1}}
        parents = own._connections._opened
        [opened] = parents.values()
        with monkeypatch.context() as patched:
            patched.setattr("acache_postgres._connection.os.getpid", lambda: -1)
            assert await own.load([1]) == {1: {"id": 1}}
            with pytest.raises(ConfigurationError, match="after a fork"):
                await lent.load([1])
            await own.aclose()
        assert opened.pool.get_size() == 1  # the parent's, untouched
        await opened.life.aclose()
