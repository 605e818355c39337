"""A remote store in Redis or Valkey: bytes, claims and a feed. Knows nothing of values.

Everything goes over three connections of its own per process, event loop and server, opened when first
used: one for reads, one for everything else, one to listen. No pool, so no limit of one to meet.

Where a key or tag is, on one server or on which one of many, a `Home` knows.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random, SystemRandom
from typing import TypeVar, final

from redis.asyncio import ConnectionPool, Redis, RedisCluster

from acache.errors import StoreUnavailable
from acache.protocols import Claim, Grant, Item, namespace_of
from acache.protocols import Reply as Asker
from acache_redis import _replies as replies
from acache_redis import _scripts as scripts
from acache_redis._feed import Listener, Pace
from acache_redis._homes import Homes
from acache_redis._names import Pair, entries_of, entry_of, key_pair, stamp_of, tag_pair, version_of
from acache_redis._place import place_of
from acache_redis._recent import Recent
from acache_redis._resp import Command, Reply
from acache_redis._scripts import milliseconds
from acache_redis._server import Home

T = TypeVar("T")


@final
class RedisStore:
    """Bytes, claims and a feed in a Redis or Valkey server, or a cluster of them (6.2 or newer).

    *server*: a URL (`redis://`, `unix://`, `redis+cluster://`, `redis+sentinel://`, each with TLS if
    `rediss` stands for `redis`), or a client or pool of `redis.asyncio`, also a `RedisCluster` or what
    `Sentinel.master_for` returns, that says where to connect and is never used otherwise nor closed.
    *timeout*: seconds a round trip may take, counted from the call, waiting for the one before it
    included (1 unless the URL says). *ping_every*: seconds between the pings by which a listener learns
    that it has heard everything. *monotonic*: where send times of pings come from. *rng*: where pauses
    before reconnecting come from. *ids*: where versions come from, 16 unique bytes.

    Every method raises `StoreUnavailable`, about the server but never its credentials, and may be
    cancelled at any await; what it was about to change may then be changed or not. The store may be
    made before any loop runs, used in one loop after the other and after a fork, and again after
    `aclose`.

    What `maxmemory-policy` evicts costs a miss, whatever it is, except for the claims of a writer
    (`acache:c:`, `acache:tc:`) who then dies inside its block: what others stored meanwhile would
    stay. Claims are short-lived and just used, the last thing that `allkeys-lru` looks for.
    """

    _name = "that could not be made"

    def __init__(
        self,
        server: "str | Redis | RedisCluster | ConnectionPool",
        *,
        timeout: float | None = None,
        ping_every: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
        ids: Callable[[], bytes] | None = None,
    ) -> None:
        try:
            self._place = place_of(server)
        finally:
            del server  # the frame of a traceback would show the password in it
        self._name = self._place.name
        self._timeout = self._place.timeout if timeout is None else timeout
        self._ping_every = ping_every
        self._monotonic = monotonic
        self._rng = SystemRandom() if rng is None else rng
        self._ids = partial(os.urandom, 16) if ids is None else ids
        self._recent = Recent(monotonic)
        self._homes: Homes[Home] = Homes(self._open)

    def __repr__(self) -> str:
        return f"<RedisStore {self._name}>"

    @property
    def timeout(self) -> float:
        """Seconds that a round trip may take; a cache waits a little longer before it gives up itself."""
        return self._timeout

    # --- bytes ----------------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes under each of *keys*, in their order, None where nothing is."""
        if not keys:
            return []
        return await self._homes.here().read(entries_of(keys))

    async def set_many(self, items: Sequence[Item]) -> None:
        """Store every item, whatever stands on its key."""
        commands = [(b"SET", entry_of(item.key), item.data, b"PX", milliseconds(item.ttl)) for item in items]
        await self._call(commands, replies.nothing)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete *keys*, whatever stands on them."""
        await self._call([(b"UNLINK", entry_of(key)) for key in keys], replies.nothing)

    async def aclose(self) -> None:
        """Close this loop's connections, ending calls that wait with an error. Safe to call twice."""
        await self._homes.close()

    # --- claims ---------------------------------------------------------------------------------

    async def peek(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return entries and versions as they are; the same one read as `get_many`."""
        if not keys and not tags:
            return [], []
        names = [*entries_of(keys), *map(version_of, tags)]
        found = await self._homes.here().read(names)
        return found[: len(keys)], found[len(keys) :]

    def ask(self, keys: Sequence[str], tags: Sequence[str], reply: Asker) -> None:
        """Tell *reply* entries and versions as they are, or `StoreUnavailable`; costs no task."""
        self._homes.here().read_for([*entries_of(keys), *map(version_of, tags)], reply)

    async def versions(self, tags: Sequence[str], *, ttl: float) -> list[bytes | None]:
        """Return the version of each tag: made if missing, prolonged to *ttl*; None while fenced."""
        lasting = milliseconds(ttl)
        commands = [scripts.VERSION.on(tag_pair(tag), self._ids(), lasting) for tag in tags]
        return await self._call(commands, replies.versions)

    async def stamp(self, namespace: str) -> bytes:
        """Return the invalidation stamp of *namespace*, made if missing."""
        name, candidate = stamp_of(namespace), self._ids()
        commands: list[Command] = [(b"SET", name, candidate, b"NX"), (b"GET", name)]
        try:
            _, stamp = await self._call(commands, replies.versions)
        except StoreUnavailable as error:
            if getattr(error.__cause__, "code", "") != "WRONGTYPE":
                raise
            return await self._call([scripts.STAMP.run((name,), candidate)], replies.stamp)
        # Evicted between the two: any stamp will do that is never seen again.
        return candidate if stamp is None else stamp

    async def lease(self, key: str, token: bytes, *, ttl: float, seen: bytes | None) -> Grant:
        """Ask to be the only loader of *key*; FOUND, FENCED, BUSY or GRANTED."""
        known = b"" if seen is None else seen.hex().encode()
        command = scripts.LEASE.on(key_pair(key), token, milliseconds(ttl), known)
        return await self._call([command], replies.grant)

    async def renew(self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong this token's claims; return False if any of them is no longer there."""
        lasting = milliseconds(ttl)
        commands = [scripts.RENEW.on(pair, token, lasting) for pair in _pairs(keys, tags)]
        return await self._call(commands, replies.everything_done)

    async def commit(self, item: Item, token: bytes, *, message: bytes | None) -> bool:
        """Store the entry if the token's claim is present, alone and untainted; end it either way."""
        command = scripts.COMMIT.on(key_pair(item.key), token, item.data, milliseconds(item.ttl))
        return await self._change([command], message)

    async def put(self, items: Sequence[Item], *, message: bytes | None) -> None:
        """Store entries whatever lease stands, ending it; under a fence delete and taint instead."""
        await self._change(
            [scripts.PUT.on(key_pair(item.key), item.data, milliseconds(item.ttl)) for item in items],
            message,
        )

    async def drop(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        *,
        keep: Mapping[str, bytes] = {},
        message: bytes | None,
    ) -> None:
        """Delete the entries of *keys* and the versions of *tags*, end leases, taint fences."""
        await self._replace_stamps(tags)
        drops = [scripts.DROP.on(key_pair(key), *([keep[key]] if key in keep else [])) for key in keys]
        await self._change([*drops, *(scripts.DROP.on(tag_pair(tag)) for tag in tags)], message)

    async def fence(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float, message: bytes | None
    ) -> None:
        """Like `drop`, and add *token* to the fences of each key and tag for *ttl* seconds."""
        await self._replace_stamps(tags)
        lasting = milliseconds(ttl)
        await self._change([scripts.FENCE.on(pair, token, lasting) for pair in _pairs(keys, tags)], message)

    async def settle(self, tags: Sequence[str], token: bytes, *, ttl: float) -> list[bytes | None]:
        """Delete each tag's version and end this token's fence; a new version where it may be made."""
        await self._replace_stamps(tags)
        lasting = milliseconds(ttl)
        commands = [scripts.SETTLE.on(tag_pair(tag), token, self._ids(), lasting) for tag in tags]
        return await self._call(commands, replies.versions)

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, message: bytes | None
    ) -> None:
        """End this token's claims, nobody else's."""
        await self._change([scripts.RELEASE.on(pair, token) for pair in _pairs(keys, tags)], message)

    async def claims(self, key: str) -> Sequence[Claim]:
        """Return what stands on *key* now."""
        return await self._call([scripts.CLAIMS.on(key_pair(key))], replies.claims)

    # --- change of primary ----------------------------------------------------------------------

    def expect_failover(self, *, window: float, wait_replicas: int) -> None:
        """Tell a new primary what was invalidated in the last *window* seconds before it is read from.

        Let each invalidation wait until *wait_replicas* replicas have it, for half of the timeout at
        most; that there were too few is a line in the log. What several caches ask for adds up to the
        most that any of them did. Unasked the window is 30 seconds."""
        self._recent.expect(window=window, wait_replicas=wait_replicas)

    # --- the feed -------------------------------------------------------------------------------

    @asynccontextmanager
    async def listen(
        self,
        *,
        heard: Callable[[bytes], None],
        gap: Callable[[], None],
        alive: Callable[[float], None],
    ) -> AsyncGenerator[None]:
        """Call back while the context is entered, whether the server is there or not."""
        listener = Listener(heard=heard, gap=gap, alive=alive)
        pace = Pace(
            timeout=self._timeout, ping_every=self._ping_every, monotonic=self._monotonic, rng=self._rng
        )
        feed = self._place.feed(self._homes.here, listener, pace)
        task = asyncio.create_task(feed.run(), name="acache-redis feed")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    # --- how ------------------------------------------------------------------------------------

    async def _replace_stamps(self, tags: Sequence[str]) -> None:
        """Replace the stamp of each namespace that *tags* belong to; a round trip of its own.

        Deleted, since that works on a full server too; who reads it next makes a new one.
        """
        namespaces = dict.fromkeys(map(namespace_of, tags))
        await self._call([(b"UNLINK", stamp_of(namespace)) for namespace in namespaces], replies.nothing)

    async def _change(self, commands: Sequence[Command], message: bytes | None) -> bool:
        """Run scripts, publish *message* in the last of them, tell whether all returned 1."""
        return await self._call(commands, replies.everything_done, message)

    async def _call(
        self, commands: Sequence[Command], read: Callable[[Sequence[Reply]], T], message: bytes | None = None
    ) -> T:
        """Send *commands* and *read* the replies."""
        answers: Sequence[Reply] = []
        if commands or message is not None:
            answers = await self._homes.here().call(commands, message)
        try:
            return read(answers[: len(commands)])
        except (ValueError, TypeError, AttributeError) as error:
            raise self._place.unavailable(error) from error

    def _open(self) -> Home:
        return self._place.home(timeout=self._timeout, recent=self._recent, rng=self._rng, ids=self._ids)


def from_url(url: str) -> RedisStore:
    """Return the store that a URL names: of one server, a cluster, or what sentinels watch.

    Parameters: `timeout` in seconds, `db`, `client_name`, `sentinel_username`, `sentinel_password`, and
    with TLS `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_password`. Raises `ConfigurationError`, never
    quoting the URL.
    """
    try:
        return RedisStore(url)
    finally:
        del url


def _pairs(keys: Sequence[str], tags: Sequence[str]) -> list[Pair]:
    return [*map(key_pair, keys), *map(tag_pair, tags)]
