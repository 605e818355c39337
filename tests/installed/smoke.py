"""Uses every distribution as whoever installed them would; run by `nox -s dist` in an empty environment.

Needs nothing of the repository and no server."""

import asyncio
import subprocess
import sys
import tempfile
from importlib.metadata import distribution, entry_points
from importlib.resources import files
from pathlib import Path

import acache
import acache_postgres
import acache_redis
import acache_sqlite
from acache import Cache, WriteBehind
from acache.errors import ConfigurationError
from acache.observe import opentelemetry, prometheus

NAMES = {
    "acache-core": acache,
    "acache-redis": acache_redis,
    "acache-sqlite": acache_sqlite,
    "acache-postgres": acache_postgres,
}


def installed():
    """Look at what the files say of themselves."""
    versions = {distribution(name).version for name in NAMES}
    assert len(versions) == 1, versions
    for name, module in NAMES.items():
        place = Path(module.__file__)
        assert place.is_relative_to(sys.prefix), f"{name} is used from {place}"
        assert files(module).joinpath("py.typed").is_file(), f"{name} is not typed"
        assert distribution(name).metadata["License-Expression"], f"{name} names no license"
        assert any(path.name == "LICENSE" for path in distribution(name).files), f"{name} brings no license"
        for public in getattr(module, "__all__", ()):
            getattr(module, public)
    for group, number in (("acache.stores", 8), ("acache.journals", 4)):
        found = entry_points(group=group)
        assert len(found) >= number, f"{group}: {found}"
        for point in found:
            point.load()
    assert prometheus
    assert opentelemetry


async def used(folder):
    """Cache something, write something behind, and ask for what is not there."""
    loads = []
    cache = Cache("memory://?max_entries=10")

    @cache.cached("user:{user_id}", ttl=60)
    async def user(user_id: int) -> dict[str, int]:
        loads.append(user_id)
        return {"id": user_id}

    async with cache:
        assert [await user(1), await user(1)] == [{"id": 1}] * 2
        assert loads == [1]
    import aiosqlite

    database = folder / "shop.db"
    async with aiosqlite.connect(database) as connection:
        await connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
        await connection.commit()
    table = acache_sqlite.SQLiteTable(database, "users", key="id")
    journal = acache_sqlite.SQLiteJournal(folder / "journal")
    async with (
        Cache("memory://") as behind,
        WriteBehind(behind, table, key="user:{}", ttl=60, journal=journal) as users,
    ):
        await users.put(1, {"id": 1, "name": "Ada"})
        assert (await users.get(1))["name"] == "Ada"
    async with aiosqlite.connect(database) as connection:
        [row] = await connection.execute_fetchall("SELECT name FROM users")
        assert row == ("Ada",)
    away = Cache("redis://127.0.0.1:1?timeout=0.2")
    async with away:
        assert await away.get("k", default="nothing") == "nothing", "a server that is away is no error"
    try:
        Cache("unknown://")
    except ConfigurationError as error:
        assert "redis" in str(error)
    else:
        raise AssertionError("an unknown scheme is refused")


def told():
    """Ask the command what it can do."""
    command = [str(Path(sys.executable).with_name("acache")), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    for word in ("demo", "inspect", "simulate", "journal", "dashboard"):
        assert word in said, said


if __name__ == "__main__":
    installed()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(used(Path(folder)))
    told()
    print(f"acache {distribution('acache-core').version}: every distribution was installed and used")
