"""Names of tables, columns and files are only names, and a wrong one is named."""

import asyncio

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_file import execute, rows, table

from acache.errors import ConfigurationError
from acache.protocols import Saved
from acache_sqlite import SQLiteTable

# --- names ------------------------------------------------------------------------------------------


@attrs.frozen
class Person:
    id: int
    first: str


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
        ({"type": Person}, "first"),
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
