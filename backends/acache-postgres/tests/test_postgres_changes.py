"""What other programs write is heard of, and what was made of it is invalidated."""

import asyncio
import time
from decimal import Decimal

import pytest
from postgres_heard import USERS, listening, until

from acache import Cache
from acache.errors import ConfigurationError, InvalidTemplate
from acache_postgres import PostgresChanges
from acache_postgres._watched import watched

# --- with a server ----------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.asyncio
async def test_what_psql_writes_is_not_served_a_second_later(server, url, admin):
    server.psql(USERS + "; INSERT INTO users VALUES (1, 'old', 'a')")
    async with Cache() as cache:

        @cache.cached("user:{user_id}", ttl=None, tags=["users"])
        async def name_of(user_id: int) -> str | None:
            return await admin.fetchval("SELECT name FROM users WHERE id = $1", user_id)

        async with listening(url, cache, {"users": "user:{id}"}):
            assert await name_of(1) == "old"
            assert await name_of(2) is None
            server.psql(
                "UPDATE users SET name = 'new' WHERE id = 1; INSERT INTO users VALUES (2, 'two', 'a')"
            )
            start = time.monotonic()
            while (await name_of(1), await name_of(2)) != ("new", "two"):
                await asyncio.sleep(0.001)
                assert time.monotonic() - start < 1


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_row_stands_for_its_names_before_and_after_the_change(server, url, heard):
    server.psql(USERS + "; INSERT INTO users VALUES (1, 'a', 'red'), (2, 'b', 'red'), (3, 'c', 'blue')")
    tables = {"users": ["user:{id}", "name:{team}:{name}"]}
    async with listening(url, heard, tables, tags={"users": ["team:{team}", "users"]}):
        heard.forget()
        cases = [
            ("INSERT INTO users VALUES (4, 'd', 'green')", {"user:4", "name:green:d"}, {"team:green"}),
            (
                "UPDATE users SET team = 'blue' WHERE id = 1",
                {"user:1", "name:red:a", "name:blue:a"},
                {"team:red", "team:blue"},
            ),
            ("UPDATE users SET id = 9 WHERE id = 2", {"user:2", "user:9", "name:red:b"}, {"team:red"}),
            ("DELETE FROM users WHERE id = 3", {"user:3", "name:blue:c"}, {"team:blue"}),
            (
                "INSERT INTO users VALUES (1, 'x', 'y'), (5, 'e', NULL) ON CONFLICT (id) DO UPDATE SET name = 'z'",
                {"user:1", "user:5", "name:blue:a", "name:blue:z", "name:None:e"},
                {"team:blue", "team:None"},
            ),
        ]
        for statement, keys, tags in cases:
            server.psql(statement)
            await until(lambda keys=keys: heard.keys >= keys)
            assert (heard.keys, heard.tags) == (keys, tags | {"users"})
            heard.forget()
        server.psql("BEGIN; DELETE FROM users; ROLLBACK; UPDATE users SET name = 'n' WHERE id = 777")
        server.psql("DELETE FROM users WHERE id = 5")
        await until(lambda: heard.keys)
        assert heard.keys == {
            "user:5",
            "name:None:e",
        }  # neither what was rolled back nor what changed nothing


@pytest.mark.real
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "value", "key"),
    [
        ("bigint", "42", 42),
        ("text", "'42'", "42"),
        ("text", "'it''s {\"}: \\ ü'", "it's {\"}: \\ ü"),
        ("uuid", "'12345678-1234-5678-1234-567812345678'", None),
        ("numeric(8, 2)", "1.50", None),
        ("timestamptz", "'2024-02-29 12:30:45.5+02'", None),
        ("timestamp", "'2024-02-29 12:30:45.5'", None),
        ("date", "'2024-02-29'", None),
        ("bool", "true", True),
        ("double precision", "0.1", 0.1),
        ("bytea", "'\\x00ff'", b"\x00\xff"),
        ("mood", "'ok'", "ok"),
        ("numeric", "10000", Decimal(10000)),
        ("real", "0.1", None),
        ("char(4)", "'ab'", "ab"),
        ("inet", "'10.0.0.1'", None),
        ("inet", "'10.0.0.1/8'", None),
        ("cidr", "'10.0.0.0/8'", None),
        ("timetz", "'12:30:45+02'", None),
        ("date", "'infinity'", None),
        ("timestamptz", "'-infinity'", None),
        ("oid", "5", None),
    ],
)
async def test_the_names_are_those_that_the_application_builds(server, url, heard, admin, kind, value, key):
    server.psql(f"CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (id {kind} PRIMARY KEY)")
    async with listening(url, heard, {"t": "t:{id}"}):
        heard.forget()
        server.psql(f"SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; INSERT INTO t VALUES ({value})")
        await until(lambda: heard.keys)
        asked = key if key is not None else await admin.fetchval("SELECT id FROM t")
        assert heard.keys == {heard.key("t:{id}", asked)}


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_row_whose_name_cannot_be_told_stands_for_the_whole_table(server, url, heard):
    server.psql("CREATE TABLE t (id interval PRIMARY KEY)")
    async with listening(url, heard, {"t": "t:{id}"}):
        heard.forget()
        server.psql("INSERT INTO t VALUES ('1 day 01:00')")
        await until(lambda: heard.cleared)


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_bulk_update_is_a_few_messages_and_a_huge_one_is_the_whole_table(server, url, heard):
    server.psql(
        USERS + "; INSERT INTO users SELECT n, repeat('x', 20), 't' || n % 7 FROM generate_series(1, 30000) n"
    )
    async with listening(url, heard, {"users": "user:{id}"}, tags={"users": ["team:{team}"]}):
        heard.forget()
        server.psql("UPDATE users SET name = 'y' WHERE id <= 3000")
        await until(lambda: len(heard.keys) == 3000)
        assert heard.tags == {f"team:t{n}" for n in range(7)}
        assert heard.calls < 40
        heard.forget()
        server.psql("UPDATE users SET name = 'z'")
        await until(lambda: heard.cleared)
        assert (heard.cleared, heard.keys) == (1, set())
        heard.forget()
        server.psql("TRUNCATE users")
        await until(lambda: heard.cleared)


@pytest.mark.real
@pytest.mark.asyncio
async def test_whatever_is_in_a_row_its_writer_is_never_disturbed(server, url, heard):
    server.psql("CREATE TABLE t (id text, n float8, at timestamptz, j json)")
    async with listening(url, heard, {"t": "t:{id}:{n}:{at}:{j}"}, tags={"t": "ts"}):
        heard.forget()
        server.psql("""
            INSERT INTO t VALUES (repeat('x', 1000000), 'NaN', 'infinity', '{"a": 1}'), (NULL, NULL, NULL, NULL)
        """)
        await until(lambda: heard.tags)  # too long for a key, so the whole table is meant
        heard.forget()
        server.psql("INSERT INTO t SELECT repeat('x', 1400) || n FROM generate_series(1, 9) n")
        await until(lambda: len(heard.keys) == 9)
        heard.forget()
        server.psql("INSERT INTO t VALUES ('y', '-inf', '-infinity', '[]')")
        await until(lambda: heard.keys)


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_role_without_any_rights_beyond_the_table_may_write(server, url, heard):
    server.psql(
        USERS
        + """;
        DROP ROLE IF EXISTS writer; CREATE ROLE writer;
        GRANT USAGE ON SCHEMA public TO writer; GRANT INSERT ON users TO writer;
    """
    )
    async with listening(url, heard, {"users": "user:{id}"}):
        server.psql("SET ROLE writer; SET search_path = pg_temp; INSERT INTO public.users VALUES (5)")
        await until(lambda: "user:5" in heard.keys)


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_writer_cannot_put_other_functions_in_place_of_those_that_tell(server, url, heard):
    server.psql(
        USERS
        + """;
        DROP SCHEMA IF EXISTS evil CASCADE; CREATE SCHEMA evil;
        CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT';
    """
    )
    async with listening(url, heard, {"users": "user:{id}"}):
        server.psql("SET search_path = evil, pg_catalog; INSERT INTO public.users VALUES (5)")
        await until(lambda: "user:5" in heard.keys)
    server.psql("DROP SCHEMA evil CASCADE")


@pytest.mark.real
@pytest.mark.asyncio
async def test_hostile_and_qualified_names(server, url, heard):
    server.psql("""
        DROP SCHEMA IF EXISTS "odd.one" CASCADE; CREATE SCHEMA "odd.one";
        CREATE TABLE "odd.one"."it's ""a"" $acache$ table; --" (id int PRIMARY KEY, "SELECT" text);
        CREATE TABLE "it's ""a"" $acache$ table; --" (id int PRIMARY KEY);
    """)
    name = 'odd.one.it\'s "a" $acache$ table; --'
    async with listening(url, heard, {name: "odd:{id}:{SELECT}"}) as changes:
        heard.forget()
        server.psql("""INSERT INTO "odd.one"."it's ""a"" $acache$ table; --" VALUES (1, 'x')""")
        server.psql("""INSERT INTO "it's ""a"" $acache$ table; --" VALUES (2)""")
        await until(lambda: heard.keys)
        assert heard.keys == {"odd:1:x"}
        await changes.uninstall()
    server.psql('DROP SCHEMA "odd.one" CASCADE')


@pytest.mark.real
@pytest.mark.asyncio
async def test_partitions_are_watched_those_too_that_come_later(server, url, heard):
    server.psql("""
        CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10);
    """)
    async with listening(url, heard, {"t": "t:{id}"}):
        server.psql("INSERT INTO t VALUES (1); INSERT INTO low VALUES (2)")
        await until(lambda: heard.keys == {"t:1", "t:2"})
        server.psql(
            "CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20); INSERT INTO high VALUES (11)"
        )
        await until(lambda: heard.cleared > 1)  # it was there before its triggers were
        await until(lambda: triggers(server) == 12)
        for number in range(12, 20):
            name, cleared = f"t:{number}", heard.cleared
            server.psql(f"INSERT INTO high VALUES ({number})")
            # What is changed while the triggers are installed is covered by the whole cache.
            await until(lambda name=name, cleared=cleared: name in heard.keys or heard.cleared > cleared)
            if name in heard.keys:
                break
        assert name in heard.keys


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_table_that_was_made_anew_is_watched_again(server, url, heard):
    server.psql(USERS)
    async with listening(url, heard, {"users": "user:{id}"}):
        heard.forget()
        server.psql(f"DROP TABLE users; {USERS}")
        await until(lambda: heard.cleared >= 2 and triggers(server) == 4)
        server.psql("INSERT INTO users VALUES (5)")
        await until(lambda: "user:5" in heard.keys)


def triggers(server):
    return int(server.psql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'acache%'"))


@pytest.mark.real
@pytest.mark.asyncio
async def test_triggers_are_installed_once_and_leave_nothing_behind(server, url, heard):
    server.psql(USERS)
    changes = [listening(url, heard, {"users": "user:{id}"}) for _ in range(4)]
    await asyncio.gather(*(each.install() for each in changes))  # as processes that start together do
    assert triggers(server) == 4
    other = listening(url, heard, {"users": "user:{id}:{team}"})
    await other.install()
    assert triggers(server) == 8
    await changes[0].uninstall()
    await changes[0].uninstall()
    assert triggers(server) == 4
    await other.uninstall()
    assert triggers(server) == 0
    assert server.psql("SELECT count(*) FROM pg_proc WHERE proname LIKE 'acache%'") == "0"


@pytest.mark.real
@pytest.mark.asyncio
async def test_uninstalled_while_it_listens_it_stays_uninstalled(server, url, heard):
    server.psql(USERS)
    async with listening(url, heard, {"users": "user:{id}"}) as changes:
        await changes.uninstall()
        await asyncio.sleep(0.5)
        assert triggers(server) == 0


@pytest.mark.real
@pytest.mark.asyncio
async def test_without_the_right_to_install_what_is_installed_serves(server, url, heard):
    server.psql(
        USERS
        + "; DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA public TO reader"
    )
    reader = listening(url.replace("postgres@", "reader@"), heard, {"users": "user:{id}"})
    with pytest.raises(
        ConfigurationError, match="'users': this role may not install triggers; it needs TRIGGER"
    ):
        await reader.install()
    with pytest.raises(ConfigurationError, match="may not install"):
        async with reader:
            pytest.fail("it listens to nothing")
    await listening(url, heard, {"users": "user:{id}"}).install()
    async with reader:
        server.psql("INSERT INTO users VALUES (5)")
        await until(lambda: "user:5" in heard.keys)


@pytest.mark.real
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"nope": "u:{id}"}, "there is no table 'nope'; there are: 'users', 'v'"),
        ({"users": "u:{nope}"}, "table 'users' has no column 'nope'; it has: 'id', 'name', 'team'"),
        ({"v": "u:{id}"}, "tables='v' is a view or foreign table"),
    ],
)
async def test_what_does_not_exist_is_named_with_what_does(server, url, heard, tables, message):
    server.psql(USERS + "; CREATE VIEW v AS SELECT * FROM users")
    with pytest.raises(ConfigurationError) as wrong:
        async with listening(url, heard, tables):
            pytest.fail("it listens to nothing")
    assert message in str(wrong.value)


# --- without a server -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "tags", "error", "message"),
    [
        ({}, {}, ConfigurationError, "name at least one"),
        ({"t": "user:{}"}, {}, ConfigurationError, "must name columns"),
        ({"t": "user:{a.b}"}, {}, ConfigurationError, "must name columns"),
        ({"t": "user:{id"}, {}, ConfigurationError, "must name columns"),
        ({"t": 5}, {}, TypeError, "iterable"),
        ({"t": "{a}{b}"}, {}, InvalidTemplate, "ambiguous"),
        ({}, {"t": "{a}{b}"}, InvalidTemplate, "ambiguous"),
    ],
)
def test_templates_that_cannot_be_are_refused_when_it_is_made(tables, tags, error, message):
    with pytest.raises(error, match=message):
        PostgresChanges("postgresql://h/d", Cache(), tables, tags=tags)


def test_only_a_url_or_a_pool_will_do():
    with pytest.raises(ConfigurationError, match="url_or_pool="):
        PostgresChanges(5, Cache(), {"t": "u:{id}"})


@pytest.mark.parametrize(
    ("tables", "tags", "everything", "names"),
    [
        ({"t": "u:{id}"}, {}, True, set()),
        ({"t": "u:{id}"}, {"t": ["t:{id}"]}, True, set()),
        ({"t": "u:{id}"}, {"t": ["t:{id}", "ts"]}, False, {"ts"}),
        ({"t": "settings"}, {}, False, {"settings"}),
        ({"t": ["settings", "u:{id}"]}, {}, True, {"settings"}),
        ({}, {"t": "ts"}, False, {"ts"}),
    ],
)
def test_a_whole_table_is_its_tags_without_a_field_or_else_everything(tables, tags, everything, names):
    [each] = watched(tables, tags)
    whole = each.whole()
    assert (whole.everything, whole.keys | whole.tags) == (everything, names)


@pytest.mark.parametrize("message", ["*", "", "nonsense", "[[1, 2]]", "[5]", "{}", '[["x", 1, 2]]', "5"])
def test_a_message_that_cannot_be_read_stands_for_the_whole_table(message):
    [each] = watched({"t": "u:{id}"}, {"t": "ts"})
    names = each.names(message, Cache(), {"id": "int4"})
    assert names == each.whole()
