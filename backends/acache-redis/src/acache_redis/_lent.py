"""Where clients and pools of redis-py lead to that were lent. Uses none of them, closes none."""

from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from acache.errors import ConfigurationError
from acache_redis._dial import Dialer, address_of
from acache_redis._sentinel import Sentinels

_OF_ITS_POOL: Final = "connection_pool"
_OF_READERS_OF_REPLICAS: Final = "redis_connect_func"  # with it a node would answer although it is late


class _Manager(Protocol):
    sentinels: Sequence[Redis]


class _Watched(Protocol):
    """A pool of sentinels' connections, as far as it is read; redis-py leaves it untyped."""

    is_master: bool
    service_name: str
    sentinel_manager: _Manager
    connection_class: type
    connection_kwargs: dict[str, Any]


def seeds_of(cluster: RedisCluster) -> list[Dialer]:
    """Return dialers to the nodes that *cluster* begins with. Raises ConfigurationError."""
    manager = cluster.nodes_manager
    if getattr(manager, "address_remap", None) is not None:
        raise ConfigurationError(
            "store: a RedisCluster with address_remap cannot be followed: let the nodes announce the "
            "addresses at which they can be reached (cluster-announce-ip, cluster-announce-port)"
        )
    nodes = list(manager.startup_nodes.values())
    return [Dialer(node.connection_class, _without(node, _OF_READERS_OF_REPLICAS)) for node in nodes]


def shown(kind: str, dialers: Sequence[Dialer], *, tls: bool) -> str:
    """Return how a URL would name a cluster or sentinels at the addresses of *dialers*."""
    hosts = ",".join(address_of(dialer.host, dialer.port) for dialer in dialers)
    return f"{'rediss' if tls else 'redis'}+{kind}://{hosts}"


def lent_dialer(client: object) -> Dialer:
    """Return a dialer to the one server, or to the primary under sentinels, that *client* leads to.

    Raises ConfigurationError for what is no client or pool of redis.asyncio, and for one of replicas."""
    pool: object = client.connection_pool if isinstance(client, Redis) else client
    if not isinstance(pool, ConnectionPool):
        raise ConfigurationError(
            "store: a URL or a Redis, RedisCluster or ConnectionPool of redis.asyncio is needed, not "
            f"{type(client).__name__}"
        )
    return _watched(cast("_Watched", pool)) if isinstance(pool, SentinelConnectionPool) else Dialer.of(pool)


def _watched(pool: _Watched) -> Dialer:
    if not pool.is_master:
        raise ConfigurationError("store: replicas are late: lend what master_for() returns, not slave_for()")
    manager, service = pool.sentinel_manager, pool.service_name
    dialers = [Dialer.of(sentinel.connection_pool) for sentinel in manager.sentinels]
    options = _without(pool, _OF_ITS_POOL)
    sentinels = Sentinels(dialers, service, timeout=1.0)
    forced = cast("str | None", getattr(manager, "_force_master_ip", None))

    async def primary() -> tuple[str, int]:
        host, port = await sentinels.primary()
        return forced or host, port

    tls = issubclass(pool.connection_class, SSLConnection)
    name = f"{shown('sentinel', dialers, tls=tls)}/{service}"
    return Dialer(SSLConnection if tls else Connection, options, find=primary, name=name)


def _without(part: Any, name: str) -> dict[str, Any]:
    return {option: value for option, value in part.connection_kwargs.items() if option != name}
