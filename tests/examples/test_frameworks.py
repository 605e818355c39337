"""The examples for frameworks over real HTTP: one load for many requests, and an end that leaves nothing."""

import asyncio
import importlib.util
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from uvicorn_served import served

FOLDER = Path(__file__).parents[2] / "examples" / "frameworks"
pytestmark = [pytest.mark.asyncio, pytest.mark.real]


def imported(name):
    """The example's module, once: a framework such as Django can be set up once only."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = sys.modules.get(name) or importlib.util.module_from_spec(spec)
    if name not in sys.modules:
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


def by_uvicorn(app):
    return served(app, lifespan="on")


@asynccontextmanager
async def by_aiohttp(app):
    from aiohttp import web

    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


SERVED = {
    "starlette_app": lambda module: by_uvicorn(module.app),
    "litestar_app": lambda module: by_uvicorn(module.app),
    "django_app": lambda module: by_uvicorn(module.application),
    "aiohttp_app": lambda module: by_aiohttp(module.make_app()),
}


@pytest.mark.parametrize("name", SERVED)
async def test_many_requests_are_one_load_until_it_is_invalidated(name):
    module = imported(name)
    async with (
        SERVED[name](module) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):
        before = module.cache.stats().loads
        answers = await asyncio.gather(*(client.get("/weather/rome") for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["reading"] for answer in answers}) == 1
        assert module.cache.stats().loads == before + 1
        assert (await client.post("/renew")).is_success
        again = await client.get("/weather/rome")
        assert again.json()["reading"] > answers[0].json()["reading"]
    assert module.cache._engine.process.closed, "the lifespan has closed it"


async def test_the_starlette_app_shows_its_cache():
    module = imported("starlette_app")
    async with (
        by_uvicorn(module.app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):
        assert "<title>acache</title>" in (await client.get("/cache/")).text


async def test_the_worker_shares_loads_and_ends_its_jobs_when_told_to():
    worker = await asyncio.create_subprocess_exec(
        sys.executable, FOLDER / "worker.py", stdin=-1, stdout=-1, stderr=-1, env=quiet()
    )
    worker.stdin.write(b"".join(b"%d\n" % job for job in range(9)))
    done = [await worker.stdout.readline() for _ in range(9)]
    assert min(done) == b"job 0: customer 0\n"
    worker.stdin.write(b"10\n")
    await worker.stdout.readline()
    worker.send_signal(signal.SIGTERM)
    rest, complaints = await worker.communicate()
    assert (worker.returncode, rest, complaints) == (0, b"3 loads\n", b"")


async def test_a_preloaded_cache_is_used_by_every_worker_of_gunicorn():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gunicorn", "prefork_app:app", "--chdir", FOLDER, "--preload", "-w", "3"),
        *("-k", "uvicorn_worker.UvicornWorker", "-b", f"127.0.0.1:{port}", "--no-control-socket"),
        stderr=-1,
        env=quiet(),
    )
    try:
        workers = set()
        async with asyncio.timeout(60):
            while len(workers) < 2:  # a new connection each time: any worker may take it
                try:
                    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                        answer = (await client.get(f"http://127.0.0.1:{port}/answer/1")).json()
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                assert answer["made_by"] == answer["served_by"], "in memory each has its own"
                workers.add(answer["served_by"])
    finally:
        server.terminate()
        complaints = (await server.communicate())[1].decode()
    assert server.returncode == 0
    assert "Traceback" not in complaints, complaints


async def test_the_notebook_runs_from_top_to_bottom():
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(FOLDER / "notebook.ipynb", as_version=4)
    await NotebookClient(notebook, timeout=120).async_execute()
    shown = [
        output.get("data", {}).get("text/plain", output.get("text", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    assert shown[:2] == ["1", "1"]
    assert "square" in shown[2]


def quiet():
    """The environment without what development mode adds to what a process says."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}
