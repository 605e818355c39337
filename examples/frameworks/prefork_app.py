"""gunicorn with preloading: one cache object, made before the fork, used in every worker.

    gunicorn prefork_app:app --chdir examples/frameworks --preload -w 4 -k uvicorn_worker.UvicornWorker

Each worker opens connections of its own on first use. Name a Redis URL in CACHE_URL and the workers share
one cache; without it each has its own."""

import asyncio
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from acache import Cache
from acache.contrib import lifespan

cache = Cache(os.environ.get("CACHE_URL", "memory://"), namespace="prefork")


@cache.cached("answer:{n}", ttl=300)
async def answer(n: int) -> dict[str, int]:
    await asyncio.sleep(0.1)
    return {"n": n, "made_by": os.getpid()}


async def read(request: Request) -> JSONResponse:
    return JSONResponse(await answer(int(request.path_params["n"])) | {"served_by": os.getpid()})


app = Starlette(routes=[Route("/answer/{n}", read)], lifespan=lifespan(cache))
