"""The dashboard over real HTTP: what it shows, to whom, and that it changes nothing."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from uvicorn_served import served

from acache import Cache, MemoryJournal, WriteBehind
from acache.dashboard import asgi_app
from acache.errors import SourceRefused
from acache.events import LoadFailed

pytestmark = pytest.mark.one_loop

HOSTILE = "</script><img src=x onerror=alert(1)>"


@asynccontextmanager
async def visited(app):
    """A client of a real server that serves *app*."""
    async with (
        served(app, timeout_graceful_shutdown=1) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):
        yield client


async def snapshot(client, path="/events"):
    """The first thing that the stream says."""
    async with client.stream("GET", path) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended before it said anything")


@pytest.mark.asyncio
async def test_the_page_holds_all_it_needs_and_lets_nothing_else_run(cache):
    async with visited(asgi_app(cache)) as client:
        answer = await client.get("/")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        nonce = policy.partition("'nonce-")[2].partition("'")[0]
        assert answer.text.count(f'nonce="{nonce}"') == 2
        assert "default-src 'none'" in policy
        assert "/*SCRIPT*/" not in answer.text
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert (await client.get("/")).headers["content-security-policy"] != policy


@pytest.mark.asyncio
async def test_the_stream_says_what_functions_tags_and_health_are(cache, clock):
    @cache.cached("user:{n}", ttl=60, tags=["users"])
    async def user(n: int) -> int:
        clock.advance(0.1)
        return n

    app = asgi_app(cache)
    await user(1)
    await user(1)
    await cache.invalidate(HOSTILE, tags=["users"])
    async with visited(app) as client:
        (told,) = (await snapshot(client))["caches"]
    assert told["namespace"] == "default"
    (function,) = told["functions"]
    assert (function["hits"], function["loads"], function["verdict"]) == (1, 1, "worth it")
    assert told["tags"][0]["tag"] == "users"
    assert told["invalidations"][0]["keys"] == [HOSTILE]
    assert told["health"]["remote"] == "none"


@pytest.mark.asyncio
async def test_a_key_is_explained_without_its_value(cache):
    await cache.set(HOSTILE, "secret value", ttl=60, tags=["t"])
    async with visited(asgi_app(cache)) as client:
        answer = await client.get("/explain", params={"cache": "default", "key": HOSTILE})
        assert answer.json()["key"] == HOSTILE
        assert answer.json()["tags"] == ["t"]
        assert "secret" not in answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        for asked in (
            {"cache": "other", "key": "k"},
            {"cache": "default"},
            {"cache": "default", "key": "k" * 2000},
        ):
            assert (await client.get("/explain", params=asked)).status_code == 400
    assert cache.stats().hits == cache.stats().misses == 0


@pytest.mark.asyncio
async def test_only_those_whom_the_app_lets_look_do(cache):
    async def authorize(scope):
        return dict(scope["headers"]).get(b"x-user") == b"ada"

    async with visited(asgi_app(cache, authorize=authorize)) as client:
        for path in ("/", "/events", "/explain?cache=default&key=k", "/nowhere"):
            assert (await client.get(path)).status_code == 403
        assert (await client.get("/", headers={"x-user": "ada"})).status_code == 200


@pytest.mark.asyncio
async def test_it_only_reads(cache):
    async with visited(asgi_app(cache)) as client:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert (await client.request(method, "/explain?cache=default&key=k")).status_code == 405
        assert (await client.get("/nowhere")).status_code == 404


@pytest.mark.asyncio
async def test_it_can_be_mounted_and_finds_its_own_paths(cache):
    app = Starlette(routes=[Mount("/internal/cache", asgi_app(cache))])
    async with visited(app) as client:
        answer = await client.get("/internal/cache", follow_redirects=True)
        assert answer.url.path == "/internal/cache/"
        assert "<title>acache</title>" in answer.text
        assert (await snapshot(client, "/internal/cache/events"))["caches"]


@pytest.mark.asyncio
async def test_a_reader_who_leaves_takes_the_stream_along(cache):
    async with visited(asgi_app(cache)) as client:
        for _ in range(3):
            await snapshot(client)
        async with asyncio.timeout(20):
            while any("run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks()):
                await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_backlogs_and_dead_letters_are_shown(cache, clock):
    class Refusing:
        async def load(self, ids):
            return {}

        async def save(self, items, *, versions=None):
            raise SourceRefused("no", keys=list(items))

        async def remove(self, ids, *, versions=None):
            raise SourceRefused("no", keys=list(ids))

    async with WriteBehind(
        cache, Refusing(), key="user:{}", journal=MemoryJournal(clock=clock), ttl=60, max_delay=0
    ) as users:
        app = asgi_app(cache, write_behind={"users": users})
        await users.put(1, "Ada")
        await users.flush()
        async with visited(app) as client:
            told = await snapshot(client)
    (pattern,) = told["patterns"]
    assert (pattern["name"], pattern["pending"], pattern["dead"]) == ("users", 0, 1)
    assert pattern["letters"][0]["key"] == "user:1"
    assert any(trouble["what"] == "write refused for its data" for trouble in told["caches"][0]["troubles"])


@pytest.mark.asyncio
async def test_what_is_remembered_is_bounded(cache):
    app = asgi_app(cache)
    for number in range(300):
        await cache.invalidate(tags=[str(number)])
        cache._engine.process.emit(LoadFailed(function="f", key="k", error="E", served_stale=False))
    (recent,) = app._recent.values()
    assert (len(recent.invalidations), len(recent.troubles), len(recent.tags)) == (50, 50, 200)
    assert recent.tags[0]["tag"] == "299"


def test_an_app_without_a_cache_is_refused():
    with pytest.raises(TypeError, match=r"asgi_app\(cache\)"):
        asgi_app()
    with pytest.raises(TypeError, match=r"asgi_app\(cache\)"):
        asgi_app("memory://")


@pytest.mark.asyncio
async def test_two_caches_are_told_apart(cache):
    async with Cache(namespace="other") as other, visited(asgi_app(cache, other)) as client:
        assert [each["namespace"] for each in (await snapshot(client))["caches"]] == ["default", "other"]
