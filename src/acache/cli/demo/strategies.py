"""Five ways to put a cache before a query. Knows neither the database nor the traffic."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import log
from typing import Final

from acache import Cache
from acache.cli.demo.database import Summary
from acache.clock import SYSTEM_CLOCK

Query = Callable[[int], Awaitable[Summary]]


@dataclass(frozen=True, slots=True)
class Setup:
    """What every strategy is given: the query, how long an answer is good for (seconds), a clock, a seed."""

    query: Query
    ttl: float
    rng: random.Random
    now: Callable[[], float] = SYSTEM_CLOCK.monotonic


class Strategy(ABC):
    """A way to read a user's summary, and to say that it changed."""

    @abstractmethod
    async def read(self, user_id: int) -> Summary:
        """Return the summary of a user."""

    @abstractmethod
    async def invalidate(self, user_id: int) -> None:
        """Make reads that begin after the return see what is committed now; who succeeds is measured."""

    async def aclose(self) -> None:  # noqa: B027  # most hold nothing
        """Release what the strategy holds."""


class NoCache(Strategy):
    """Every read is a query."""

    def __init__(self, setup: Setup) -> None:
        self._query = setup.query

    async def read(self, user_id: int) -> Summary:
        """Ask the database."""
        return await self._query(user_id)

    async def invalidate(self, user_id: int) -> None:
        """Nothing is kept, so nothing is to be done."""


class CacheAside(Strategy):
    """GET; on a miss query and SET; DELETE on a change. What most applications do."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._values: dict[int, tuple[Summary, float]] = {}

    async def read(self, user_id: int) -> Summary:
        """Return the cached value, or load and keep it."""
        found = self._get(user_id)
        return found if found is not None else await self._load(user_id)

    async def invalidate(self, user_id: int) -> None:
        """Delete the value."""
        self._values.pop(user_id, None)

    def _get(self, user_id: int) -> Summary | None:
        value, until = self._values.get(user_id, (None, 0.0))
        return value if self._setup.now() < until else None

    async def _load(self, user_id: int) -> Summary:
        value = await self._setup.query(user_id)
        self._values[user_id] = value, self._setup.now() + self._setup.ttl
        return value


class Mutex(CacheAside):
    """Cache-aside with a lock per key around the load."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def _load(self, user_id: int) -> Summary:
        async with self._locks[user_id]:
            found = self._get(user_id)  # somebody may have loaded it while we waited
            return found if found is not None else await super()._load(user_id)


class XFetch(Strategy):
    """Probabilistic early refresh (Vattani 2015) in the reader that draws it, and nothing else."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._values: dict[int, tuple[Summary, float, float]] = {}

    async def read(self, user_id: int) -> Summary:
        """Return the cached value unless it expired or the draw says to refresh it now."""
        found = self._values.get(user_id)
        if found is not None:
            value, until, delta = found
            if self._setup.now() - delta * log(1 - self._setup.rng.random()) < until:
                return value
        return await self._load(user_id)

    async def invalidate(self, user_id: int) -> None:
        """Delete the value."""
        self._values.pop(user_id, None)

    async def _load(self, user_id: int) -> Summary:
        began = self._setup.now()
        value = await self._setup.query(user_id)
        ended = self._setup.now()
        self._values[user_id] = value, ended + self._setup.ttl, ended - began
        return value


class Acache(Strategy):
    """The decorator with its defaults."""

    def __init__(self, setup: Setup) -> None:
        self._cache = Cache("memory://", namespace="demo", rng=setup.rng)

        @self._cache.cached("user:{user_id}", ttl=setup.ttl)
        async def user(user_id: int) -> Summary:
            return await setup.query(user_id)

        self._user = user

    async def read(self, user_id: int) -> Summary:
        """Call the decorated function."""
        return await self._user(user_id)

    async def invalidate(self, user_id: int) -> None:
        """Invalidate the call with these arguments."""
        await self._user.invalidate(user_id)

    async def aclose(self) -> None:
        """Close the cache."""
        await self._cache.aclose()


STRATEGIES: Final[Mapping[str, Callable[[Setup], Strategy]]] = {
    "no cache": NoCache,
    "naive cache-aside": CacheAside,
    "mutex only": Mutex,
    "XFetch only": XFetch,
    "acache": Acache,
}
"""By the name that the tables show, in the order in which they run."""
