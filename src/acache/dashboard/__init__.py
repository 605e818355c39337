"""A page that shows what caches do, live, to mount in any ASGI app. Reads, never changes."""

from acache.dashboard._app import asgi_app

__all__ = ["asgi_app"]
