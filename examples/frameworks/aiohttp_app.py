"""aiohttp: a cached function behind a handler, and its invalidation.

python examples/frameworks/aiohttp_app.py"""

import asyncio
import itertools

from aiohttp import web

from acache import Cache
from acache.contrib import cleanup_context

cache = Cache("memory://?max_entries=10000", namespace="aiohttp")
readings = itertools.count(1)


@cache.cached("weather:{city}", ttl=300, tags=["weather"])
async def weather(city: str) -> dict[str, object]:
    await asyncio.sleep(0.2)  # a slow station
    return {"city": city, "reading": next(readings)}


async def read(request: web.Request) -> web.Response:
    return web.json_response(await weather(request.match_info["city"]))


async def renew(_: web.Request) -> web.Response:
    await cache.invalidate(tags=["weather"])
    return web.json_response({"loads": cache.stats().loads})


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/weather/{city}", read), web.post("/renew", renew)])
    app.cleanup_ctx.append(cleanup_context(cache))
    return app


if __name__ == "__main__":
    web.run_app(make_app(), port=8000)
