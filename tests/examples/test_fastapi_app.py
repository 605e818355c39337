"""The FastAPI example over real HTTP: uvicorn on a free port, httpx and bare sockets as clients."""

import asyncio
import importlib.util
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from uvicorn_served import served

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_app.py"
pytestmark = [pytest.mark.asyncio, pytest.mark.real]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example's module, fresh, on a database of its own."""
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.db"))
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fastapi_app", module)
    spec.loader.exec_module(module)
    return module


@pytest_asyncio.fixture
async def port(example):
    async with served(example.app, lifespan="on") as port:
        yield port


@pytest_asyncio.fixture
async def client(port):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        yield client


async def until(true, seconds=20):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.001)


class Gate:
    """Stands in for a query: counts its calls and holds each one until it is opened."""

    def __init__(self, query):
        self.query = query
        self.calls = 0
        self.open = asyncio.Event()

    async def __call__(self, *args):
        self.calls += 1
        await self.open.wait()
        return await self.query(*args)


class Gated:
    """The shop with its order query behind a gate."""

    def __init__(self, shop):
        self.orders = Gate(shop.orders)
        self.place = shop.place
        self.top = shop.top


@pytest.fixture
def gated(example, port):
    example.app.state.shop = Gated(example.app.state.shop)
    yield example.app.state.shop.orders
    # Whatever came before: a server that shuts down waits for the requests that it still answers.
    example.app.state.shop.orders.open.set()


@asynccontextmanager
async def visitor(port, path):
    """Ask for *path* over a bare connection, which hangs up at the end of the block."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        yield
    finally:
        writer.close()
        await writer.wait_closed()


# --- caching and invalidation -----------------------------------------------------------------------


async def test_a_row_is_read_through_the_cache(client, example):
    first = await client.get("/users/2")
    loads = example.cache.stats().loads
    second = await client.get("/users/2")
    assert first.json() == second.json() == {"id": 2, "name": "Grace"}
    assert example.cache.stats().loads == loads == 1


async def test_a_user_that_does_not_exist_is_a_404_and_is_remembered(client, example):
    assert [(await client.get("/users/99")).status_code for _ in range(3)] == [404] * 3
    assert example.cache.stats().loads == 1


async def test_after_an_order_every_page_that_shows_it_is_right(client):
    assert (await client.get("/users/1/orders")).json() == []
    assert (await client.get("/top")).json() == []
    placed = await client.post("/users/1/orders", json={"item": "lamp", "cents": 4200})
    assert placed.status_code == 201
    assert (await client.get("/users/1/orders")).json() == [placed.json()]
    assert (await client.get("/top")).json() == [{"name": "Ada", "cents": 4200}]


async def test_an_order_leaves_the_orders_of_other_users_cached(client, example, gated):
    gated.open.set()
    await client.get("/users/2/orders")
    await client.post("/users/1/orders", json={"item": "lamp", "cents": 4200})
    await client.get("/users/2/orders")
    assert gated.calls == 1


async def test_a_refused_order_changes_nothing(client):
    assert (await client.post("/users/99/orders", json={"item": "lamp", "cents": 1})).status_code == 404
    assert (await client.post("/users/1/orders", json={"item": "lamp", "cents": -1})).status_code == 422
    assert (await client.get("/top")).json() == []


async def test_a_page_that_was_loading_while_an_order_was_placed_is_not_kept(client, example, gated):
    slow = asyncio.create_task(client.get("/users/1/orders"))
    await until(lambda: gated.calls == 1)
    placed = await client.post("/users/1/orders", json={"item": "lamp", "cents": 4200})
    gated.open.set()
    await slow
    assert (await client.get("/users/1/orders")).json() == [placed.json()]
    assert gated.calls == 2


async def test_the_cache_tells_what_it_did(client):
    for _ in range(3):
        await client.get("/top")
    assert (await client.get("/cache")).json() == {"hits": 2, "misses": 1, "loads": 1, "coalesced": 0}


# --- P3: cancellation is private --------------------------------------------------------------------


async def test_concurrent_requests_share_one_query(client, gated):
    requests = [asyncio.create_task(client.get("/users/1/orders")) for _ in range(20)]
    await until(lambda: gated.calls)
    gated.open.set()
    assert [(await request).status_code for request in requests] == [200] * 20
    assert gated.calls == 1


async def test_p3_a_client_that_disconnects_takes_nothing_from_the_others(client, port, example, gated):
    async with asyncio.TaskGroup() as others:
        async with visitor(port, "/users/1/orders"):
            await until(lambda: gated.calls == 1)  # its request started the load
            answers = [others.create_task(client.get("/users/1/orders")) for _ in range(9)]
            await until_waiting(example, 10)
        await until_waiting(example, 9)  # it has left, and its request was cancelled
        gated.open.set()
    assert [answer.result().status_code for answer in answers] == [200] * 9
    assert gated.calls == 1


async def test_p3_when_every_client_has_left_the_load_is_given_up(port, example, gated):
    async with visitor(port, "/users/1/orders"):
        await until(lambda: gated.calls == 1)
    await until_waiting(example, 0)
    gated.open.set()
    assert await example.orders_of(1) == []
    assert gated.calls == 2


async def until_waiting(example, callers):
    """Wait until so many requests wait for the load of the first user's orders."""
    key = example.orders_of.key(1)
    async with asyncio.timeout(20):
        while (await example.cache.explain(key)).waiters != callers:
            await asyncio.sleep(0.001)
