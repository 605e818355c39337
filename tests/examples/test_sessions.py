"""The example that keeps sessions behind a journal."""

import subprocess
import sys
from importlib import util
from pathlib import Path

import aiosqlite
import pytest

from acache import Cache

PATH = Path(__file__).parents[2] / "examples" / "sessions.py"


@pytest.fixture(scope="module")
def example():
    spec = util.spec_from_file_location("sessions_example", PATH)
    module = sys.modules[spec.name] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.asyncio
@pytest.mark.one_loop
async def test_touches_are_seen_at_once_and_reach_the_table(example, tmp_path):
    async with Cache() as cache, example.sessions_in(tmp_path, cache) as sessions:
        session = await sessions.open(42)
        gone = await sessions.open(43)
        assert (await sessions.touch(session.id)).pages == 1
        assert (await sessions.touch(session.id)).pages == 2
        await sessions.close(gone.id)
        assert await sessions.touch(gone.id) is None
    async with aiosqlite.connect(tmp_path / "sessions.db") as connection:
        rows = await connection.execute_fetchall("SELECT user_id, pages FROM sessions")
    assert [tuple(row) for row in rows] == [(42, 2)]


@pytest.mark.real
def test_it_runs_as_it_stands():
    done = subprocess.run([sys.executable, PATH], capture_output=True, text=True, check=True, timeout=120)
    assert "in the table: sessions, pages = (1000, 3000)" in done.stdout
