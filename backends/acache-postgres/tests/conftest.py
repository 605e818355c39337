"""One PostgreSQL for all tests, and an empty database for each."""

import asyncpg
import pytest
import pytest_asyncio
from postgres_heard import Heard
from postgres_server import postgres


@pytest.fixture(scope="session")
def server():
    with postgres() as server:
        yield server


@pytest.fixture
def url(server):
    """The URL of a database without tables."""
    server.psql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return server.url


@pytest_asyncio.fixture
async def admin(url):
    """A connection of its own, for what other programs do."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
def heard():
    """A cache of which only the names that are invalidated matter."""
    return Heard()
