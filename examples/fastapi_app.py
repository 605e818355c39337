"""A small shop on FastAPI and SQLite: what is cached, what drops it, and how a write is fenced.

    uvicorn fastapi_app:app --app-dir examples

    curl localhost:8000/users/1                     # a row, read through the cache
    curl localhost:8000/users/1/orders              # a decorated query, dropped by a tag
    curl localhost:8000/top                         # an aggregate over all orders
    curl -X POST localhost:8000/users/1/orders -H 'content-type: application/json' \
         -d '{"item": "lamp", "cents": 4200}'       # a transaction; the three above are right at once
    curl localhost:8000/cache                       # what the cache did

The database is the file that SHOP_DATABASE names, shop.db by default."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiosqlite
import anyio
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acache import Cache, ReadThrough
from acache_sqlite import SQLiteTable

DATABASE = os.environ.get("SHOP_DATABASE", "shop.db")
SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
  id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users,
  item TEXT NOT NULL, cents INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS orders_of_user ON orders (user_id);
INSERT OR IGNORE INTO users (id, name) VALUES (1, 'Ada'), (2, 'Grace'), (3, 'Barbara');
"""


@dataclass(frozen=True, slots=True)
class User:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    item: str
    cents: int


@dataclass(frozen=True, slots=True)
class Buyer:
    name: str
    cents: int


class NewOrder(BaseModel):
    item: str = Field(min_length=1)
    cents: int = Field(gt=0)


# --- the database: knows no cache -------------------------------------------------------------------


class Shop:
    """Two connections: reads must not see the writer's open transaction."""

    def __init__(self, reader: aiosqlite.Connection, writer: aiosqlite.Connection) -> None:
        self._reader = reader
        self._writer = writer
        self._writing = anyio.Lock()

    async def orders(self, user_id: int) -> list[Order]:
        query = "SELECT id, item, cents FROM orders WHERE user_id = ? ORDER BY id DESC"
        return [Order(*row) for row in await self._reader.execute_fetchall(query, (user_id,))]

    async def top(self) -> list[Buyer]:
        query = (
            "SELECT name, sum(cents) FROM orders JOIN users ON users.id = user_id "
            "GROUP BY user_id ORDER BY sum(cents) DESC LIMIT 10"
        )
        return [Buyer(*row) for row in await self._reader.execute_fetchall(query)]

    async def place(self, user_id: int, order: NewOrder) -> Order:
        """Add an order in a transaction; sqlite3.IntegrityError if there is no such user."""
        async with self._writing:
            try:
                added = await self._writer.execute_insert(
                    "INSERT INTO orders (user_id, item, cents) VALUES (?, ?, ?)",
                    (user_id, order.item, order.cents),
                )
                await self._writer.commit()
            except BaseException:
                # Shielded: the next request would inherit the transaction of one that was cancelled.
                with anyio.CancelScope(shield=True):
                    await self._writer.rollback()
                raise
        assert added is not None
        return Order(added[0], order.item, order.cents)


@asynccontextmanager
async def open_shop(path: str) -> AsyncGenerator[Shop]:
    async with aiosqlite.connect(path) as writer, aiosqlite.connect(path) as reader:
        await writer.executescript(SCHEMA)
        await writer.execute("PRAGMA foreign_keys = ON")
        yield Shop(reader, writer)


# --- the cache: usable at import time, before any loop runs -----------------------------------------

cache = Cache("memory://?max_entries=10000", namespace="shop")

# Requests for different ids that arrive together become one SELECT.
users_table = SQLiteTable[int, User](DATABASE, "users", key="id", type=User)
users = ReadThrough(cache, users_table, key="user:{}", ttl=300, tags=["user:{}"])


@cache.cached("orders:{user_id}", ttl=60, tags=["user:{user_id}"])
async def orders_of(user_id: int) -> list[Order]:
    return await shop().orders(user_id)


@cache.cached("top", ttl=10, stale_while_revalidate=60, tags=["orders"])
async def top_buyers() -> list[Buyer]:
    return await shop().top()


# --- the web ----------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with open_shop(DATABASE) as app.state.shop, users_table, cache:
        yield


app = FastAPI(lifespan=lifespan)


def shop() -> Shop:
    opened: Shop = app.state.shop
    return opened


@app.get("/users/{user_id}")
async def get_user(user_id: int) -> User:
    user = await users.get(user_id)
    if user is None:
        raise HTTPException(404, "no such user")
    return user


@app.get("/users/{user_id}/orders")
async def get_orders(user_id: int) -> list[Order]:
    return await orders_of(user_id)


@app.get("/top")
async def get_top() -> list[Buyer]:
    return await top_buyers()


@app.post("/users/{user_id}/orders", status_code=201)
async def post_order(user_id: int, order: NewOrder) -> Order:
    await get_user(user_id)
    # From the first line of the block to its end nobody stores what the transaction makes old, and whoever
    # asks after the response sees the new order: also if the block raises, or the request is cancelled.
    async with cache.writing(tags=[f"user:{user_id}", "orders"]):
        return await shop().place(user_id, order)


@app.get("/cache")
async def get_cache() -> dict[str, int]:
    stats = cache.stats()
    return {"hits": stats.hits, "misses": stats.misses, "loads": stats.loads, "coalesced": stats.coalesced}


class StopWhenClientLeaves:
    """Cancel a GET whose client has gone: a load that others wait for goes on, one that nobody wants ends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return

        body: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]
        left = anyio.Event()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()
            group.cancel_scope.cancel()

        async def receive_in_app() -> Message:
            if not body:
                await left.wait()
            return body.pop() if body else {"type": "http.disconnect"}

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await self.app(scope, receive_in_app, send)
            group.cancel_scope.cancel()


app.add_middleware(StopWhenClientLeaves)
