"""Hand-written SQL keeps the sources' contract, as far as its statements do."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import pytest

from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved
from acache.testing.contracts.source import SourceContract
from acache_postgres import QuerySource
from acache_postgres._named import statement

pytestmark = pytest.mark.real

SCHEMA = """
CREATE TABLE teams (id int PRIMARY KEY, title text);
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, team int, version bigint);
INSERT INTO teams VALUES (1, 'blue');
"""
LOAD = "SELECT id, name FROM users WHERE id = ANY(:keys)"
SAVE = "INSERT INTO users (id, name) VALUES (:id, :name) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
REMOVE = "DELETE FROM users WHERE id = :id"
GUARDED = """
INSERT INTO users (id, name, version) VALUES (:id, :name, :version) ON CONFLICT (id)
DO UPDATE SET name = excluded.name, version = excluded.version WHERE users.version < excluded.version
"""


@pytest.fixture
def users(server, url):
    server.psql(SCHEMA)
    return url


class TestStatements(SourceContract):
    versioned = False  # its statements have no guard

    @pytest.fixture(autouse=True)
    def database(self, users):
        self.url = users

    def open(self):
        return QuerySource(self.url, load=LOAD, save=SAVE, remove=REMOVE)


class TestStatementsForReadingOnly(SourceContract):
    writable = False

    @pytest.fixture(autouse=True)
    def database(self, users):
        self.url = users

    def open(self):
        return QuerySource(self.url, load=LOAD)

    async def fill(self, items):
        async with QuerySource(self.url, load=LOAD, save=SAVE) as writer:
            await writer.save(items)

    @pytest.mark.skip("its methods are there and say that they have no statement")
    def test_the_source_offers_the_protocol_that_it_declares(self): ...


@dataclass
class Member:
    name: str
    team: str | None


@pytest.mark.asyncio
async def test_a_join_loads_many_typed_rows_at_once(server, users):
    server.psql("INSERT INTO users VALUES (1, 'Ann', 1), (2, 'Bob', NULL)")
    query = """
        SELECT users.id, name, title AS team FROM unnest(:keys::int[]) AS asked(id) JOIN users USING (id)
        LEFT JOIN teams ON teams.id = team  -- it's :not a parameter
    """
    async with QuerySource(users, load=query, type=Member) as members:
        assert await members.load([2, 1, 3, "1", 1.5, 2**40, None]) == {
            1: Member("Ann", "blue"),
            2: Member("Bob", None),
        }


@pytest.mark.asyncio
async def test_composite_keys_arrive_as_an_array_for_each_column(server, users):
    server.psql("INSERT INTO users VALUES (1, 'Ann', 1), (2, 'Bob', NULL)")
    query = """
        SELECT u.* FROM users u JOIN unnest(:name::text[], :id::int[]) AS k(name, id) USING (id, name)
    """
    async with QuerySource(users, load=query, key=("id", "name")) as source:
        assert await source.load([(1, "Ann"), (2, "Ann"), (2, "Bob"), (1, "a\0b")]) == {
            (1, "Ann"): {"id": 1, "name": "Ann", "team": 1, "version": None},
            (2, "Bob"): {"id": 2, "name": "Bob", "team": None, "version": None},
        }
        server.psql("ALTER TABLE users DROP COLUMN team; ALTER TABLE users ADD COLUMN z int")
        assert await source.load([(1, "Ann")]) == {
            (1, "Ann"): {"id": 1, "name": "Ann", "version": None, "z": None}
        }


@pytest.mark.asyncio
async def test_json_arrays_and_uuids_are_what_they_mean(server, users):
    server.psql("CREATE TABLE t (id uuid PRIMARY KEY, doc jsonb, tags text[])")
    load = "SELECT * FROM t WHERE id = ANY(:keys)"
    save = "INSERT INTO t VALUES (:id, :doc, :tags)"
    key = UUID(int=7)
    async with QuerySource(users, load=load, save=save) as source:
        row = {"id": key, "doc": {"a": [1, "b"]}, "tags": ["x", None]}
        assert await source.save({key: row}) == Saved()
        found = await source.load([key])
        assert found == {key: row}
        assert type(found[key]["id"]) is UUID


@pytest.mark.asyncio
async def test_a_statement_that_changes_nothing_refuses_a_version(users):
    remove = "DELETE FROM users WHERE id = :id AND version < :version"
    async with QuerySource(users, load=LOAD, save=GUARDED, remove=remove) as source:
        items = {1: {"id": 1, "name": "five"}, 2: {"id": 2, "name": "five"}}
        assert await source.save(items, versions={1: 5, 2: 5}) == Saved()
        newer = {1: {"id": 1, "name": "x"}, 2: {"id": 2, "name": "x"}}
        assert await source.save(newer, versions={1: 4, 2: 6}) == Saved(refused=(1,))
        assert await source.load([1, 2]) == {1: items[1], 2: newer[2]}
        assert await source.remove([1, 2, 3], versions={1: 9, 2: 3, 3: 1}) == Saved(refused=(2,))
        assert await source.load([1, 2]) == {2: newer[2]}


@pytest.mark.asyncio
async def test_a_removal_takes_nothing_but_its_keys(server, users):
    server.psql("INSERT INTO users VALUES (1, 'a'), (7, 'b')")
    async with QuerySource(users, load=LOAD, remove=REMOVE) as source:
        assert await source.remove([7.5, "1", None, 2**70]) == Saved()
        assert (await source.load([1, 7])).keys() == {1, 7}


@pytest.mark.asyncio
async def test_what_the_statement_made_of_a_row_is_returned(users):
    shout = "INSERT INTO users (id, name) VALUES (:id, upper(:name))"
    async with QuerySource(users, load=LOAD, save=shout) as source:
        saved = await source.save({1: {"id": 1, "name": "ann"}, 2: {"id": 2, "name": "BOB"}})
        assert saved == Saved(rows={1: {"id": 1, "name": "ANN"}})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ({"load": "SELECT nope FROM users"}, 'column "nope" does not exist'),
        ({"load": "SELECT 1; SELECT 2"}, "multiple commands"),
        ({"load": "SELECT name FROM users"}, "returns no column 'id'; it returns: 'name'"),
        ({"load": "SELECT id FROM users", "type": Member}, "returns no column 'name'"),
        ({"load": "SELECT id FROM users WHERE id = :keys"}, "it has to take an array"),
        ({"load": "SELECT id FROM users WHERE id = ANY(:id)"}, "the keys are in :keys"),
        ({"load": LOAD}, "save="),
        ({"load": LOAD, "save": "INSERT nonsense"}, "syntax"),
    ],
)
async def test_a_statement_that_cannot_work_says_so(users, statements, message):
    async with QuerySource(users, **statements) as source:
        with pytest.raises(ConfigurationError) as wrong:
            await (source.save({1: {"name": "x"}}) if statements["load"] is LOAD else source.load([1]))
        assert message in str(wrong.value)


@pytest.mark.asyncio
async def test_the_rows_that_a_statement_refuses_are_named_and_nothing_is_written(users):
    async with QuerySource(users, load=LOAD, save=SAVE) as source:
        good = {n: {"name": f"n{n}"} for n in range(20)}
        for poison in ({"name": None}, {"name": "a\0b"}, {"name": 5}, {}):
            with pytest.raises(SourceRefused) as refused:
                await source.save(good | {7: poison, 13: poison})
            assert set(refused.value.keys) == {7, 13}
            assert await source.load(list(good)) == {}


@pytest.mark.asyncio
async def test_a_query_that_returns_two_rows_of_a_key_is_refused(users):
    load = "SELECT k AS id, n FROM unnest(:keys::int[]) k, (VALUES (1), (2)) AS v(n) WHERE k = 1"
    async with QuerySource(users, load=load) as source:
        with pytest.raises(SourceRefused, match="several rows"):
            await source.load([1])
        assert await source.load([2]) == {}


@pytest.mark.asyncio
async def test_a_load_that_fails_over_its_own_data_is_refused(users):
    async with QuerySource(users, load="SELECT k AS id, 1 / k AS n FROM unnest(:keys::int[]) k") as source:
        assert await source.load([1]) == {1: {"id": 1, "n": 1}}
        with pytest.raises(SourceRefused, match="DivisionByZeroError"):
            await source.load([0, 1])


# --- named parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbered", "names"),
    [
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT :a::int[], '::x'", "SELECT $1::int[], '::x'", ("a",)),
        ("SELECT ':a', 'it''s :a', E'\\':a', :b", "SELECT ':a', 'it''s :a', E'\\':a', $1", ("b",)),
        (
            'SELECT ":a", x[1:2], x[n:m], (f(x))[a:b] + :b',
            'SELECT ":a", x[1:2], x[n:m], (f(x))[a:b] + $1',
            ("b",),
        ),
        ("SELECT $$ :a $$, $q$ :a $$ :b $q$, :c", "SELECT $$ :a $$, $q$ :a $$ :b $q$, $1", ("c",)),
        ("SELECT 1 -- :a\n, :b /* :c */", "SELECT 1 -- :a\n, $1 /* :c */", ("b",)),
        ("CALL p(x := 1, y=>:y)", "CALL p(x := 1, y=>$1)", ("y",)),
        ("SELECT 1", "SELECT 1", ()),
    ],
)
def test_a_name_is_a_parameter_only_where_it_can_be_one(text, numbered, names):
    made = statement(text)
    assert (made.text, made.names) == (numbered, names)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "key", "other"),
    [
        ("int", 1, True),
        ("numeric", Decimal(1), 1),
        ("uuid", UUID(int=7), str(UUID(int=7))),
        ("char(4)", "a", "a "),
    ],
)
async def test_only_the_very_key_of_a_row_finds_writes_or_removes_it(server, url, kind, key, other):
    server.psql(f"CREATE TABLE t (id {kind} PRIMARY KEY, n int)")
    async with QuerySource(
        url,
        load="SELECT id, n FROM t WHERE id = ANY(:keys)",
        save="INSERT INTO t VALUES (:id, :n) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
        remove="DELETE FROM t WHERE id = :id",
    ) as things:
        await things.save({key: {"n": 1}})
        assert await things.load([other]) == {}
        with pytest.raises(SourceRefused):
            await things.save({other: {"n": 2}})
        await things.remove([other])
        assert [row["n"] for row in (await things.load([key])).values()] == [1]
        await things.remove([key])
        assert await things.load([key]) == {}
