"""Open caches and patterns when an application starts, close them when it stops: aclose() is a promise.

Without this a cache works all the same, since it opens on first use; but what is under way when the
process ends is not waited for, and a journal is not flushed."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Resource = AbstractAsyncContextManager[Any]


def lifespan(*resources: Resource) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan for FastAPI and Starlette (`lifespan=`) and for Litestar (`lifespan=[...]`).

    *resources* (caches, read and write patterns, sources) are entered in their order and left in the
    opposite one: name the cache before what uses it."""

    @asynccontextmanager
    async def run(_app: Any) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for resource in resources:
                await stack.enter_async_context(resource)
            yield

    return run


def cleanup_context(*resources: Resource) -> Callable[[Any], AsyncIterator[None]]:
    """Return what `app.cleanup_ctx.append` of aiohttp takes; otherwise like `lifespan`."""

    async def run(app: Any) -> AsyncIterator[None]:
        async with lifespan(*resources)(app):
            yield

    return run


class WithLifespan:
    """An ASGI app with a lifespan around one that has none, such as Django's.

    application = WithLifespan(get_asgi_application(), cache)"""

    def __init__(self, app: App, *resources: Resource) -> None:
        """Serve *app* while *resources* are open."""
        self._app = app
        self._lifespan = lifespan(*resources)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass everything on but the lifespan itself."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        stage = "startup"
        try:
            async with self._lifespan(self._app):
                await send({"type": "lifespan.startup.complete"})
                await receive()
                stage = "shutdown"
        except Exception as error:
            # The server shows this text; what is behind it is in the traceback that follows.
            await send({"type": f"lifespan.{stage}.failed", "message": type(error).__name__})
            raise
        await send({"type": "lifespan.shutdown.complete"})
