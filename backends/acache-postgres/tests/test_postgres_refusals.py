"""What a table refuses: the rows to blame by name, and what was set up wrongly."""

import traceback
from dataclasses import dataclass, field

import asyncpg
import msgspec
import pytest

from acache.errors import CacheClosed, ConfigurationError, SourceRefused
from acache_postgres import PostgresTable

pytestmark = pytest.mark.real


class Named(msgspec.Struct):
    id: int
    name: str


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
        (("postgresql://h/d", "t"), {"type": Named, "columns": ["id"]}, "must hold the fields"),
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
