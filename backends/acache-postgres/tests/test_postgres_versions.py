"""What versions and tombstones guard beyond the contract."""

import asyncio

import pytest

from acache.protocols import Saved
from acache.testing import ManualClock
from acache_postgres import PostgresTable

pytestmark = pytest.mark.real


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
