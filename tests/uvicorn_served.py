"""An ASGI app over real HTTP, in the loop of the test."""

import asyncio
from contextlib import asynccontextmanager

import uvicorn


@asynccontextmanager
async def served(app, **options):
    """Serve *app* on a free port of the loopback interface until the end of the block; yield the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", **options))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(30):
        while not server.started and not serving.done():
            await asyncio.sleep(0.001)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
