"""What a store was told to use: one server, wherever it is now, or a cluster. Opens homes and feeds."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Protocol, cast, final

from redis.asyncio import RedisCluster

from acache.errors import ConfigurationError, StoreUnavailable
from acache_redis._cluster import Cluster
from acache_redis._cluster_feed import ClusterFeed
from acache_redis._dial import Dialer, address_of
from acache_redis._feed import Listener, Pace, Subscription
from acache_redis._lent import lent_dialer, seeds_of, shown
from acache_redis._names import channel_of
from acache_redis._recent import Recent
from acache_redis._sentinel import Sentinels
from acache_redis._server import Home, Server
from acache_redis._url import Target, read_url


class Listening(Protocol):
    """A feed under way."""

    async def run(self) -> None:
        """Listen until cancelled."""
        ...


class Place(Protocol):
    """Where the names of a store are; makes what belongs to one event loop."""

    name: str  # without secrets
    timeout: float  # seconds for a round trip, unless the store was told another

    def home(self, *, timeout: float, recent: Recent, rng: Random, ids: Callable[[], bytes]) -> Home:
        """Return connections, none of them open."""
        ...

    def feed(self, home: Callable[[], Home], listener: Listener, pace: Pace) -> Listening:
        """Return a feed; *home* returns the connections at any time."""
        ...

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Return what to raise for *error*."""
        ...


@final
class OneServer:
    """One server at a time, at an address or where sentinels say."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._channel = channel_of(dialer.database)
        self.name = dialer.name
        self.timeout = dialer.timeout

    def home(
        self,
        *,
        timeout: float,
        recent: Recent,
        rng: Random,  # noqa: ARG002
        ids: Callable[[], bytes],  # noqa: ARG002
    ) -> Home:
        """Return connections to it."""
        return Server(self._dialer, self._channel, timeout=timeout, recent=recent)

    def feed(self, home: Callable[[], Home], listener: Listener, pace: Pace) -> Listening:
        """Return a subscription, over a connection of its own."""
        dialer = self._dialer.greeting(lambda wire: cast("Server", home()).greet(wire))
        return Subscription(dialer, self._channel, listener, pace)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Return what to raise for *error*."""
        return self._dialer.unavailable(self._dialer.bare(error))


@final
class ManyServers:
    """A cluster."""

    def __init__(self, seeds: list[Dialer], name: str) -> None:
        self._seeds = seeds
        self.name = name
        self.timeout = seeds[0].timeout

    def home(self, *, timeout: float, recent: Recent, rng: Random, ids: Callable[[], bytes]) -> Home:
        """Return connections to its nodes."""
        return Cluster(self._seeds, self.name, timeout=timeout, recent=recent, rng=rng, ids=ids)

    def feed(self, home: Callable[[], Home], listener: Listener, pace: Pace) -> Listening:
        """Return subscriptions to all primaries."""
        return ClusterFeed(lambda: cast("Cluster", home()), listener, pace)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Return what to raise for *error*."""
        return self._seeds[0].unavailable(self._seeds[0].bare(error), name=self.name)


def place_of(server: object) -> Place:
    """Return the place that a URL, or a lent client or pool, names. Raises ConfigurationError."""
    if isinstance(server, RedisCluster):
        seeds = seeds_of(server)
        return ManyServers(seeds, shown("cluster", seeds, tls=seeds[0].tls))
    if not isinstance(server, str):
        return OneServer(lent_dialer(server))
    try:
        target = read_url(server)
    finally:
        del server
    if target.kind != "redis+cluster":
        return OneServer(_dialer(target))
    each = ({**target.options, "host": host, "port": port} for host, port in target.hosts)
    return ManyServers([Dialer.to(options, tls=target.tls) for options in each], _name(target))


def dialer_of(server: object, *, timeout: float) -> Dialer:
    """Return a dialer to the one server that a URL, or a lent client or pool, names.

    *timeout*: seconds, unless the URL says another. Raises ConfigurationError for a cluster too."""
    in_one = "a journal is in one server: name a redis:// or redis+sentinel:// URL"
    if isinstance(server, RedisCluster):
        raise ConfigurationError(in_one)
    if not isinstance(server, str):
        return lent_dialer(server)
    try:
        target = read_url(server)
    finally:
        del server
    if target.kind == "redis+cluster":
        raise ConfigurationError(in_one)
    return _dialer(replace(target, options={"timeout": timeout, **target.options}))


def _dialer(target: Target) -> Dialer:
    """Return a dialer to a server, or to the primary that sentinels watch."""
    if target.kind != "redis+sentinel":
        return Dialer.to(target.options, tls=target.tls)
    theirs = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
    dialers = [
        Dialer.to({**theirs, **target.sentinel_options, "host": host, "port": port}, tls=target.tls)
        for host, port in target.hosts
    ]
    timeout = float(target.options.get("timeout", 1.0))
    sentinels = Sentinels(dialers, target.service, timeout=timeout)
    return Dialer.to(target.options, tls=target.tls, find=sentinels.primary, name=_name(target))


def _name(target: Target) -> str:
    scheme = target.kind.replace("redis", "rediss", 1) if target.tls else target.kind
    hosts = ",".join(address_of(host, port) for host, port in target.hosts)
    return f"{scheme}://{hosts}{f'/{target.service}' if target.service else ''}"
