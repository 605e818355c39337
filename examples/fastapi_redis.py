"""A wiki served by workers that share one Redis or Valkey: each keeps near copies, all hear of changes.

    export WIKI_CACHE=redis://localhost:6379/0
    uvicorn fastapi_redis:app --app-dir examples --workers 2

    curl -i localhost:8000/articles/1               # one worker loads it, the other finds it in Redis
    curl -i -X PUT localhost:8000/articles/1 -H 'content-type: application/json' \
         -d '{"title": "Tea", "text": "Hot water, later."}'
    curl -i localhost:8000/articles/1               # the new text, from whichever worker answers
    curl localhost:8000/titles                      # dropped by a tag in every worker
    curl localhost:8000/cache                       # what the cache of the worker that answered did

The header `worker` of an answer is the process that gave it. The database is the file that WIKI_DATABASE
names, wiki.db by default."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiosqlite
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint

from acache import Cache, WriteThrough
from acache_sqlite import SQLiteTable

DATABASE = os.environ.get("WIKI_DATABASE", "wiki.db")
SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS articles (id INTEGER PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL);
INSERT OR IGNORE INTO articles VALUES (1, 'Tea', 'Leaves first.'), (2, 'Coffee', 'Grind late.');
"""


@dataclass(frozen=True, slots=True)
class Article:
    id: int
    title: str
    text: str


class Draft(BaseModel):
    title: str = Field(min_length=1)
    text: str


# The workers share what is in Redis; in front of it each holds its last 1,000 articles as objects. If a
# worker has not heard from Redis for a second it no longer trusts them.
cache = Cache(
    os.environ.get("WIKI_CACHE", "redis://localhost:6379/0"),
    near="memory://?max_entries=1000",
    namespace="wiki",
    max_staleness=1.0,
)

# One load of an article in all workers together. `put` writes the row behind a fence, so no worker stores
# what it makes old, and afterwards drops every near copy of it and what carries the tag.
articles = WriteThrough(
    cache,
    SQLiteTable[int, Article](DATABASE, "articles", key="id", type=Article),
    key="article:{}",
    type=Article,
    ttl=300,
    tags=["articles"],
)


@cache.cached("titles", ttl=300, tags=["articles"])
async def titles() -> dict[int, str]:
    async with aiosqlite.connect(DATABASE) as database:
        rows = await database.execute_fetchall("SELECT id, title FROM articles ORDER BY id")
    return {int(row[0]): str(row[1]) for row in rows}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with aiosqlite.connect(DATABASE, timeout=30) as database:
        await database.executescript(SCHEMA)
    async with articles, cache:
        yield


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def name_the_worker(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers["worker"] = str(os.getpid())
    return response


@app.get("/articles/{number}")
async def get_article(number: int) -> Article:
    article = await articles.get(number)
    if article is None:
        raise HTTPException(404, "no such article")
    return article


@app.put("/articles/{number}")
async def put_article(number: int, draft: Draft) -> Article:
    article = Article(number, draft.title, draft.text)
    await articles.put(number, article)
    return article


@app.get("/titles")
async def get_titles() -> dict[int, str]:
    return await titles()


@app.get("/cache")
async def get_cache() -> dict[str, Any]:
    stats = cache.stats()
    return {
        "worker": os.getpid(),
        "hits": stats.hits,
        "misses": stats.misses,
        "loads": stats.loads,
        "guarantees": dict(cache.guarantees),
    }
