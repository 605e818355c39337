"""The example of several workers over real HTTP: two uvicorn workers, one Valkey, clients pinned to each."""

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import util
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.real]


@pytest.fixture(scope="module")
def launcher():
    path = ROOT / "backends/acache-redis/tests/valkey_server.py"
    spec = util.spec_from_file_location("example_valkey_server", path)
    made = sys.modules[spec.name] = util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def server(launcher):
    with launcher.valkey() as server:
        yield server


@pytest.fixture(scope="module")
def port(launcher, server, tmp_path_factory):
    """The port of uvicorn with two workers, which share the server and a database."""
    directory, port = tmp_path_factory.mktemp("wiki"), launcher.free_port()
    command = [sys.executable, "-m", "uvicorn", "fastapi_redis:app", "--app-dir", str(ROOT / "examples")]
    command += ["--workers", "2", "--port", str(port), "--log-level", "error"]
    surroundings = {
        **launcher.environment(),
        "WIKI_DATABASE": str(directory / "wiki.db"),
        "WIKI_CACHE": f"{server.url}?timeout=20",
    }
    with (directory / "log").open("wb") as log:
        workers = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log)
    try:
        yield port
    finally:
        workers.terminate()
        workers.wait(timeout=60)
        assert (directory / "log").read_text() == ""


@asynccontextmanager
async def connected(port):
    """Yield a client with one connection that stays open: all its requests go to one worker."""
    limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(
        base_url=url, trust_env=False, timeout=30, limits=limits, verify=False
    ) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(port):
    """A client for each of the two workers."""
    found = {}
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        while len(found) < 2:
            client = await stack.enter_async_context(connected(port))
            try:
                found.setdefault((await client.get("/cache")).headers["worker"], client)
            except httpx.TransportError:  # not up yet
                await asyncio.sleep(0.05)
        yield list(found.values())


async def both(workers, path):
    answers = [await client.get(path) for client in workers]
    assert len({answer.headers["worker"] for answer in answers}) == 2
    return [answer.json() for answer in answers]


async def loads(workers):
    return sum(answer["loads"] for answer in await both(workers, "/cache"))


async def test_one_worker_loads_for_both_and_then_each_serves_its_near_copy(workers, server):
    before = await loads(workers)
    requests = [client.get("/articles/2") for client in workers for _ in range(20)]
    answers = await asyncio.gather(*requests)
    assert [answer.json()["title"] for answer in answers] == ["Coffee"] * 40
    assert await loads(workers) == before + 1
    async with Redis.from_url(server.url) as redis:
        asked = (await redis.info("commandstats"))["cmdstat_mget"]["calls"]
        assert (await both(workers, "/articles/2"))[0]["text"] == "Grind late."
        assert (await redis.info("commandstats"))["cmdstat_mget"]["calls"] == asked


async def test_a_change_by_one_worker_is_seen_in_both(workers):
    one, other = workers
    await both(workers, "/titles")
    for number in range(10):
        writer, reader = (one, other) if number % 2 else (other, one)
        await both(workers, "/articles/1")
        draft = {"title": f"Tea {number}", "text": "..."}
        assert (await writer.put("/articles/1", json=draft)).status_code == 200
        assert (await writer.get("/articles/1")).json()["title"] == f"Tea {number}"
        async with asyncio.timeout(10):  # at most max_staleness, mostly well under a millisecond
            while (await reader.get("/articles/1")).json()["title"] != f"Tea {number}":
                pass
        assert [answer["1"] for answer in await both(workers, "/titles")] == [f"Tea {number}"] * 2


async def test_what_does_not_exist_is_a_404_until_somebody_writes_it(workers):
    one, other = workers
    assert [(await client.get("/articles/9")).status_code for client in workers] == [404, 404]
    await one.put("/articles/9", json={"title": "Maté", "text": "Not boiling."})
    async with asyncio.timeout(10):
        while (await other.get("/articles/9")).status_code == 404:
            pass
    assert (await other.get("/articles/9")).json() == {"id": 9, "title": "Maté", "text": "Not boiling."}


async def test_the_workers_are_two_and_neither_is_this_process(workers):
    pids = [answer["worker"] for answer in await both(workers, "/cache")]
    assert len({*pids, os.getpid()}) == 3
