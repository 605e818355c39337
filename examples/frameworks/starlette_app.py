"""Starlette: a cached function, invalidation, the dashboard mounted, everything closed at the end.

uvicorn starlette_app:app --app-dir examples/frameworks"""

import asyncio
import itertools

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from acache import Cache
from acache.contrib import lifespan
from acache.dashboard import asgi_app

cache = Cache("memory://?max_entries=10000", namespace="starlette")
readings = itertools.count(1)


@cache.cached("weather:{city}", ttl=300, tags=["weather"])
async def weather(city: str) -> dict[str, object]:
    await asyncio.sleep(0.2)  # a slow station
    return {"city": city, "reading": next(readings)}


async def read(request: Request) -> JSONResponse:
    return JSONResponse(await weather(request.path_params["city"]))


async def renew(_: Request) -> JSONResponse:
    await cache.invalidate(tags=["weather"])
    return JSONResponse({"loads": cache.stats().loads})


app = Starlette(
    routes=[
        Route("/weather/{city}", read),
        Route("/renew", renew, methods=["POST"]),
        Mount("/cache", asgi_app(cache)),
    ],
    lifespan=lifespan(cache),
)
