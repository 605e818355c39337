"""The glue between a framework's start and stop and what acache opens and closes."""

from contextlib import asynccontextmanager

import pytest

from acache import Cache
from acache.contrib import WithLifespan, cleanup_context, lifespan


class Resource:
    def __init__(self, name, log, *, fails=None):
        self.name, self.log, self.fails = name, log, fails

    async def __aenter__(self):
        if self.fails == "enter":
            raise ConnectionError("secret")
        self.log.append(f"open {self.name}")

    async def __aexit__(self, *_):
        self.log.append(f"close {self.name}")
        if self.fails == "exit":
            raise ConnectionError("secret")


@pytest.mark.asyncio
async def test_resources_are_opened_in_order_and_closed_in_the_opposite_one():
    log = []
    async with lifespan(Resource("a", log), Resource("b", log))(None):
        log.append("serve")
    assert log == ["open a", "open b", "serve", "close b", "close a"]


@pytest.mark.asyncio
async def test_aiohttp_gets_an_iterator_of_two_steps():
    log = []
    context = cleanup_context(Resource("a", log))(None)
    await anext(context)
    with pytest.raises(StopAsyncIteration):
        await anext(context)
    assert log == ["open a", "close a"]


def served(app, *messages):
    """What an ASGI server hears that says *messages*."""
    heard, said = [], iter(messages)

    async def receive():
        return {"type": next(said)}

    async def send(message):
        heard.append(message)

    return app({"type": "lifespan"}, receive, send), heard


@pytest.mark.asyncio
async def test_an_app_without_a_lifespan_gets_one():
    log = []
    app = WithLifespan(None, Resource("a", log))
    running, heard = served(app, "lifespan.startup", "lifespan.shutdown")
    await running
    assert [message["type"] for message in heard] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert log == ["open a", "close a"]


@pytest.mark.parametrize(("fails", "stage"), [("enter", "startup"), ("exit", "shutdown")])
@pytest.mark.asyncio
async def test_a_resource_that_fails_is_told_to_the_server_without_its_words(fails, stage):
    running, heard = served(
        WithLifespan(None, Resource("a", [], fails=fails)), "lifespan.startup", "lifespan.shutdown"
    )
    with pytest.raises(ConnectionError):
        await running
    assert heard[-1] == {"type": f"lifespan.{stage}.failed", "message": "ConnectionError"}


@pytest.mark.asyncio
async def test_everything_else_is_passed_on():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], receive, send))

    await WithLifespan(app)({"type": "http"}, 1, 2)
    assert seen == [("http", 1, 2)]


@pytest.mark.asyncio
async def test_a_cache_is_closed_even_if_the_app_fails():
    cache = Cache()

    @asynccontextmanager
    async def failing():
        yield
        raise KeyError

    with pytest.raises(KeyError):
        async with lifespan(cache, failing())(None):
            assert not cache._engine.process.closed
    assert cache._engine.process.closed
