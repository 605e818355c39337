"""The tags part: one write, one invalidation, and what became of each page. Knows only the public API."""

from collections.abc import Mapping
from typing import Final

from acache import MISSING, Cache
from acache.cli.demo.database import Database, summary
from acache.cli.demo.result import TagLine, TagsResult

_TTL: Final = 60.0
_CHANGED: Final = 101
_PAGES: Final[Mapping[str, tuple[int, ...]]] = {
    "profile:101": (101,),
    "invoice:101": (101,),
    "team:red": (101, 202),
    "team:blue": (202, 303),
    "profile:202": (202,),
    "profile:303": (303,),
}
"""Cached pages by key, and the users that each one shows; each user is a tag of the page."""


async def show_tags(database: Database) -> TagsResult:
    """Cache every page, add an order of one user, invalidate that user's tag, and read every page again."""
    tag = _tag(_CHANGED)
    async with Cache("memory://", namespace="demo-tags") as cache:
        before = {key: await _page(cache, database, key) for key in _PAGES}
        await database.place_order(_CHANGED, cents=4_200)
        await cache.invalidate(tags=[tag])
        kept = {key: await cache.get(key, default=MISSING) is not MISSING for key in _PAGES}
        after = {key: await _page(cache, database, key) for key in _PAGES}
    return TagsResult(
        tag=tag,
        keys=tuple(
            TagLine(key=key, tags=_tags(users), kept=kept[key], before=before[key], after=after[key])
            for key, users in _PAGES.items()
        ),
    )


async def _page(cache: Cache, database: Database, key: str) -> str:
    users = _PAGES[key]

    async def load() -> str:
        async with database.connection() as connection:
            found = [await summary(connection, user) for user in users]
        return f"{sum(user.orders for user in found)} orders"

    return await cache.get_or_load(key, load, ttl=_TTL, tags=_tags(users))


def _tag(user: int) -> str:
    return f"user:{user}"


def _tags(users: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(_tag(user) for user in users)
