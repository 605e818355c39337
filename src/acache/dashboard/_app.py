"""The dashboard as an ASGI application: a page, a stream of snapshots, a question about a key.

Knows HTTP and who may look, nothing of figures."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import cache as once
from importlib.resources import files
from inspect import isawaitable
from typing import Any, Final
from urllib.parse import parse_qs

import anyio
import msgspec

from acache import Cache, WriteBehind
from acache.dashboard._recent import Recent
from acache.dashboard._snapshot import Patterns, of_cache
from acache.errors import CacheError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Authorize = Callable[[Scope], bool | Awaitable[bool]]

EVERY: Final = 1.0  # seconds between two snapshots
LONGEST: Final = 30  # snapshots per connection; the browser comes again, and servers can shut down
MAX_QUERY: Final = 8_192  # bytes


def asgi_app(
    *caches: Cache,
    write_behind: Mapping[str, WriteBehind[Any, Any]] | None = None,
    authorize: Authorize | None = None,
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return an ASGI app that shows *caches* and *write_behind* patterns: mount it where you like.

    app.mount("/cache", asgi_app(cache, authorize=lambda scope: scope["user"].is_staff))

    *authorize* gets the ASGI scope of every request, and may be async; without one, everybody who
    can reach the page may look. It shows names of functions, keys and tags, and no values; it
    changes nothing. Raises TypeError without a cache."""
    if not caches or not all(isinstance(cache, Cache) for cache in caches):
        raise TypeError("asgi_app() takes the caches to show: asgi_app(cache)")
    return _Dashboard(caches, Patterns(write_behind or {}), authorize)


class _Dashboard:
    def __init__(self, caches: tuple[Cache, ...], patterns: Patterns, authorize: Authorize | None) -> None:
        self._caches = {cache.namespace: cache for cache in caches}
        self._recent = {namespace: Recent() for namespace in self._caches}
        for namespace, cache in self._caches.items():
            cache.subscribe(self._recent[namespace])
        self._patterns = patterns
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        elif not await self._may_look(scope):
            await _answer(send, 403, b"not for you", "text/plain")
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"this page only shows", "text/plain", allow="GET, HEAD")
        else:
            await self._route(scope, receive, send)

    async def _may_look(self, scope: Scope) -> bool:
        if self._authorize is None:
            return True
        allowed = self._authorize(scope)
        return bool(await allowed if isawaitable(allowed) else allowed)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Newer servers leave the place where the app is mounted in the path, older ones do not.
        root, path = scope.get("root_path", ""), scope["path"]
        path = path.removeprefix(root) if root else path
        if path in ("", "/"):
            if not scope["path"].endswith("/"):  # the page's links are relative to its folder
                await _answer(send, 307, b"", "text/plain", location=f"{scope['path'].rpartition('/')[2]}/")
                return
            await _page(send)
        elif path == "/events":
            await self._stream(receive, send)
        elif path == "/explain":
            await self._explain(scope, send)
        else:
            await _answer(send, 404, b"no such page", "text/plain")

    async def _stream(self, receive: Receive, send: Send) -> None:
        """Send a snapshot every second until the reader leaves."""
        await _start(send, 200, "text/event-stream", **{"x-accel-buffering": "no"})

        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            for _ in range(LONGEST):
                data = b"retry: 1000\ndata: " + msgspec.json.encode(await self._snapshot()) + b"\n\n"
                await send({"type": "http.response.body", "body": data, "more_body": True})
                await anyio.sleep(EVERY)
            await send({"type": "http.response.body", "body": b""})
            group.cancel_scope.cancel()

    async def _snapshot(self) -> dict[str, Any]:
        return {
            "caches": [of_cache(cache, self._recent[name]) for name, cache in self._caches.items()],
            "patterns": await self._patterns.snapshot(),
        }

    async def _explain(self, scope: Scope, send: Send) -> None:
        asked = parse_qs(scope.get("query_string", b"")[:MAX_QUERY].decode("latin-1"), max_num_fields=10)
        cache = self._caches.get(asked.get("cache", [""])[0])
        key = asked.get("key", [""])[0]
        if cache is None or not key:
            await _answer(send, 400, b'{"error": "name a cache and a key"}', "application/json")
            return
        try:
            told = await cache.explain(key)
        except CacheError as error:
            await _answer(send, 400, msgspec.json.encode({"error": str(error)}), "application/json")
            return
        facts = {name: getattr(told, name) for name in type(told).__slots__}
        await _answer(send, 200, msgspec.json.encode(facts), "application/json")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        stage = (await receive())["type"].rpartition(".")[2]
        await send({"type": f"lifespan.{stage}.complete"})
        if stage == "shutdown":
            return


@once
def _parts() -> tuple[str, str, str]:
    folder = files("acache.dashboard")
    page, style, script = (
        (folder / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")
    )
    return page, style, script


async def _page(send: Send) -> None:
    """One page with everything in it; what did not come from us does not run in it."""
    page, style, script = _parts()
    nonce = secrets.token_urlsafe(16)
    body = page.replace("NONCE", nonce).replace("/*STYLE*/", style).replace("/*SCRIPT*/", script)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    await _answer(send, 200, body.encode(), "text/html; charset=utf-8", **{"content-security-policy": policy})


async def _answer(send: Send, status: int, body: bytes, kind: str, **headers: str) -> None:
    await _start(send, status, kind, **{"content-length": str(len(body))}, **headers)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, kind: str, **headers: str) -> None:
    fixed = {
        "content-type": kind,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    lines = [(name.encode(), value.encode("latin-1")) for name, value in (fixed | headers).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
