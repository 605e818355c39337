"""What tables do beyond the contract: keys, triggers, alterations, connections that are lent."""

import asyncio
import datetime as dt
import enum
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec
import pytest

from acache import Cache, WriteThrough
from acache.errors import ConfigurationError, SourceRefused, SourceUnavailable
from acache.protocols import Saved
from acache_postgres import PostgresTable

pytestmark = pytest.mark.real

UID = UUID("12345678-1234-5678-1234-567812345678")
NOW = dt.datetime(2024, 2, 29, 12, 30, 45, 123456, tzinfo=dt.UTC)


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


class Mood(enum.Enum):
    SAD = "sad"
    OK = "ok"


class Rank(enum.IntEnum):
    FIRST = 1


ALIASES = [
    ("int", 1, [True, Rank.FIRST]),
    ("numeric", Decimal("1.50"), [Decimal("1.5"), 1.5]),
    ("numeric", Decimal(1), [1, True, 1.0]),
    ("numeric", Decimal(10000), [10000, Decimal("1E+4"), Decimal("10000.0")]),
    ("float8", 1.0, [1, True]),
    ("bool", True, [1]),
    ("text", str(UID), [UID]),
    ("uuid", UID, [str(UID)]),
    ("char(4)", "ab", ["ab ", "ab  "]),
    ("timestamptz", NOW, [NOW.astimezone(dt.timezone(dt.timedelta(hours=1)))]),
    ("mood", "ok", [Mood.OK]),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("composite", [False, True])
@pytest.mark.parametrize(("kind", "key", "others"), ALIASES, ids=lambda part: str(part)[:20])
async def test_only_the_very_key_of_a_row_finds_writes_or_removes_it(
    server, url, composite, kind, key, others
):
    server.psql(f"""
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE t (id {kind} PRIMARY KEY, place text, n int, v bigint, UNIQUE (id, place));
    """)
    names, shown = (("id", "place"), lambda id: (id, "x")) if composite else ("id", lambda id: id)
    row = {"n": 1} if composite else {"n": 1, "place": "x"}
    columns = ["n"] if composite else ["n", "place"]
    async with (
        PostgresTable(url, "t", key=names, columns=columns, version_column="v") as table,
        PostgresTable(url, "t", key=names, columns=columns) as plain,
    ):
        await table.save({shown(key): row}, versions={shown(key): 1})
        for other in map(shown, others):
            assert await table.load([other]) == {}
            assert [repr(found) for found in await table.load([shown(key)])] == [repr(shown(key))]
            with pytest.raises(SourceRefused) as refused:
                await table.save({other: row | {"n": 2}}, versions={other: 2})
            assert list(map(repr, refused.value.keys)) == [repr(other)]
            assert await table.remove([other], versions={other: 9}) == Saved()
            assert await plain.remove([other]) == Saved()
        assert await table.load([shown(key)]) == {shown(key): row}
        assert await table.save({shown(key): row}, versions={shown(key): 3}) == Saved()


@pytest.mark.asyncio
async def test_the_key_is_what_the_driver_gives_whatever_the_type_of_the_row(server, url):
    server.psql("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id mood PRIMARY KEY, n int)")

    class Tone(msgspec.Struct):
        id: Mood
        n: int

    async with PostgresTable(url, "t", type=Tone) as table:
        assert await table.save({"ok": Tone(Mood.OK, 1)}) == Saved()
        assert await table.load(["ok", Mood.OK]) == {"ok": Tone(Mood.OK, 1)}


@pytest.mark.asyncio
async def test_a_uuid_of_the_driver_is_a_uuid(server, url):
    server.psql("CREATE TABLE t (id uuid PRIMARY KEY, n int)")
    async with PostgresTable(url, "t") as table:
        await table.save({UID: {"n": 1}})
        assert await table.load([asyncpg.pgproto.pgproto.UUID(str(UID))]) == {UID: {"id": UID, "n": 1}}


@pytest.mark.asyncio
async def test_no_stale_row_is_read_by_an_equal_id(server, url):
    server.psql(f"CREATE TABLE t (id uuid PRIMARY KEY, n int); INSERT INTO t VALUES ('{UID}', 1)")
    async with PostgresTable(url, "t", columns=["n"]) as table, Cache() as cache:
        rows = WriteThrough(cache, table, key="t:{}", ttl=60)
        assert [await rows.get(id) for id in (UID, str(UID))] == [{"n": 1}, None]
        await rows.put(UID, {"n": 2})
        assert [await rows.get(id) for id in (UID, str(UID))] == [{"n": 2}, None]


@pytest.mark.asyncio
async def test_two_keys_that_are_one_row_to_the_database_are_not_saved_together(server, url):
    server.psql("CREATE TABLE t (id char(4) PRIMARY KEY, n int)")
    async with PostgresTable(url, "t", columns=["n"]) as table:
        with pytest.raises(SourceRefused) as refused:
            await table.save({"a": {"n": 1}, "a ": {"n": 2}, "b": {"n": 3}})
        assert refused.value.keys == ("a ",)
        assert await table.load(["a", "b"]) == {}


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
