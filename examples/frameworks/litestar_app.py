"""Litestar: a cached function behind a handler, and its invalidation.

uvicorn litestar_app:app --app-dir examples/frameworks"""

import asyncio
import itertools
from typing import Any

from litestar import Litestar, get, post
from litestar.params import FromPath

from acache import Cache
from acache.contrib import lifespan

cache = Cache("memory://?max_entries=10000", namespace="litestar")
readings = itertools.count(1)


@cache.cached("weather:{city}", ttl=300, tags=["weather"])
async def weather(city: str) -> dict[str, Any]:
    await asyncio.sleep(0.2)  # a slow station
    return {"city": city, "reading": next(readings)}


@get("/weather/{city:str}")
async def read(city: FromPath[str]) -> dict[str, Any]:
    return await weather(city)


@post("/renew")
async def renew() -> dict[str, int]:
    await cache.invalidate(tags=["weather"])
    return {"loads": cache.stats().loads}


app = Litestar([read, renew], lifespan=[lifespan(cache)], openapi_config=None)
