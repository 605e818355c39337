"""Every Python block of the backends' READMEs runs, with real servers in place of those that it names.

What a reader has anyway, such as a pool or the type of a row, is given here."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TypedDict

import aiosqlite
import asyncpg
import pytest
from python_blocks import run_blocks
from redis.asyncio import Redis

sys.path.append(str(Path(__file__).parents[2] / "backends/acache-postgres/tests"))
sys.path.append(str(Path(__file__).parents[2] / "backends/acache-redis/tests"))

from postgres_server import postgres
from valkey_server import valkey

from acache import WriteBehind
from acache_sqlite import SQLiteTable

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.real, pytest.mark.one_loop]


class User(TypedDict):
    id: int
    name: str


class Member(User):
    team: str | None


GIVEN = {"User": User, "Member": Member, "user": {"id": 42, "name": "Ada"}, "name": "Grace"}


@pytest.fixture
def runner():
    with asyncio.Runner(debug=True) as runner:
        yield runner


@pytest.fixture(scope="module")
def server():
    with valkey() as server:
        yield server


async def opened(make, *arguments, **options):
    return await make(*arguments, **options)


async def close(namespace, *names):
    for name in names:
        await namespace[name].aclose()


def test_of_postgresql(runner, server):
    tables = """
        CREATE TABLE users (id int PRIMARY KEY, name text, team int); CREATE SCHEMA sales;
        CREATE TABLE sales.orders (id int PRIMARY KEY, user_id int)"""
    with postgres() as database:
        database.psql(tables)
        pool = runner.run(opened(asyncpg.create_pool, database.url, min_size=1))
        count, made = run_blocks(
            ROOT / "backends/acache-postgres/README.md",
            runner,
            namespace={**GIVEN, "pool": pool, "url": database.url},
            replace={"postgresql://localhost/shop": database.url, "redis://localhost": server.url},
        )
        assert count == 4
        assert database.psql("SELECT name FROM users") == "Grace"
        runner.run(close(made, "users", "members", "cache"))
        runner.run(pool.close())


def test_of_redis(runner, server):
    lent = Redis.from_url(server.url)
    count, made = run_blocks(
        ROOT / "backends/acache-redis/README.md",
        runner,
        namespace={
            **GIVEN,
            "client": lent,
            "WriteBehind": WriteBehind,
            "table": SQLiteTable(":memory:", "t"),
        },
        replace={"redis://localhost:6379": server.url.removesuffix("/0")},
    )
    assert count == 3

    async def use():
        await made["cache"].set("k", 1, ttl=60)
        assert await made["cache"].get("k", type=int) == 1
        await close(made, "users", "cache")
        await lent.aclose()

    runner.run(use())


def test_of_sqlite(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as made:
        made.executescript(
            """CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, team INTEGER, version INTEGER);
               CREATE TABLE teams (id INTEGER PRIMARY KEY, title TEXT);
               INSERT INTO users VALUES (42, 'Ada', NULL, NULL)"""
        )
    connection = runner.run(opened(aiosqlite.connect, "shop.db"))
    count, made = run_blocks(
        ROOT / "backends/acache-sqlite/README.md", runner, namespace={**GIVEN, "connection": connection}
    )
    assert count == 3

    async def use():
        assert await made["members"].load([42]) == {42: {"id": 42, "name": "Grace", "team": None}}
        async with made["users"] as users:
            await users.put(7, {"id": 7, "name": "Tony"})
            await users.flush()
        await close(made, "members", "table", "cache")
        await connection.close()

    runner.run(use())
