"""Clients and pools of redis-py that are lent say where to connect: one server, a cluster, or under sentinels."""

import asyncio
from contextlib import aclosing

import pytest
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.cluster import LoadBalancingStrategy

from acache import Cache
from acache.errors import ConfigurationError
from acache.testing.contracts import RemoteStoreContract
from acache_redis import RedisJournal, RedisStore
from acache_redis._dial import Dialer

SECRETS = {"username": "user", "password": "s3cret"}


def lent_cluster(servers, **options):
    """Return a client that knows two of *servers*."""
    nodes = [ClusterNode("127.0.0.1", server.port) for server in servers[:2]]
    return RedisCluster(startup_nodes=nodes, **options)


def lent_sentinel(servers, **options):
    return Sentinel([("127.0.0.1", one.port) for one in servers.sentinels], **options)


# --- what they say ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [ConnectionPool, BlockingConnectionPool])
def test_a_lent_client_or_pool_says_where_to_connect(pool):
    lent = pool.from_url("redis://user:s3cret@h:7/5", decode_responses=True, max_connections=1)
    for store in (RedisStore(lent), RedisStore(Redis(connection_pool=lent))):
        assert repr(store) == "<RedisStore redis://h:7, database 5>"
        assert "s3cret" not in repr(vars(store))


@pytest.mark.parametrize(
    ("lent", "name"),
    [
        (lambda: RedisCluster(host="h", **SECRETS), "redis+cluster://h:6379"),
        (lambda: RedisCluster(host="h", port=7, ssl=True, **SECRETS), "rediss+cluster://h:7"),
        (lambda: Sentinel([("h", 1)]).master_for("m", **SECRETS), "redis+sentinel://h:1/m, database 0"),
        (
            lambda: Sentinel([("h", 1), ("i", 2)]).master_for("m", ssl=True, db=3, **SECRETS),
            "rediss+sentinel://h:1,i:2/m, database 3",
        ),
    ],
)
def test_so_do_clients_of_a_cluster_and_of_sentinels(lent, name):
    store = RedisStore(lent())
    assert repr(store) == f"<RedisStore {name}>"
    assert "s3cret" not in repr(vars(store))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: Sentinel([("h", 1)]).slave_for("m"), "replicas are late: lend what master_for"),
        (lambda: RedisCluster(host="h", address_remap=lambda address: address), "with address_remap"),
        (object, "of redis.asyncio is needed, not object"),
        (lambda: None, "of redis.asyncio is needed, not NoneType"),
    ],
    ids=["replicas", "remapped", "object", "nothing"],
)
def test_what_cannot_be_followed_is_refused(other, said):
    with pytest.raises(ConfigurationError, match=said):
        RedisStore(other())


def test_a_journal_is_in_no_cluster_that_is_lent():
    with pytest.raises(ConfigurationError, match="a journal is in one server"):
        RedisJournal(RedisCluster(host="h"))


def test_options_of_a_lent_client_that_would_get_in_the_way_are_replaced():
    lent = Redis(decode_responses=True, protocol=3, socket_timeout=9, health_check_interval=5)
    options = Dialer.of(lent.connection_pool)._options
    assert options["decode_responses"] is False
    assert options["protocol"] == 2
    assert options["socket_timeout"] is None
    assert options["health_check_interval"] == 0
    assert not any(name.startswith("maint") for name in options)


# --- what is there ----------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.asyncio
async def test_a_cache_is_in_the_cluster_that_a_client_of_replicas_was_lent_of(a_cluster):
    strategy = LoadBalancingStrategy.ROUND_ROBIN
    lent = lent_cluster(a_cluster, load_balancing_strategy=strategy, decode_responses=True)
    async with aclosing(lent), Cache(RedisStore(lent, timeout=20), namespace="lent", near=True) as cache:
        for number in range(30):
            await cache.set(f"k{number}", number, ttl=60)
        assert await cache.get_many([f"k{number}" for number in range(30)]) == {
            f"k{number}": number for number in range(30)
        }
        await cache.invalidate(*(f"k{number}" for number in range(30)))
        assert await cache.get_many([f"k{number}" for number in range(30)]) == {}
        await lent.set("mine", "1")
        assert await lent.get("mine") == "1", "it goes on to serve whoever lent it"


@pytest.mark.real
@pytest.mark.asyncio
@pytest.mark.scale
async def test_a_cache_is_where_the_lent_sentinels_say_also_with_an_address_forced_on_them(a_watched_primary):
    forced = lent_sentinel(a_watched_primary, force_master_ip="localhost").master_for("cache")
    async with aclosing(forced), Cache(RedisStore(forced, timeout=20), namespace="lent") as cache:
        await cache.set("k", 1, ttl=60)
        assert await cache.get("k") == 1


class Lent(RemoteStoreContract):
    tick = 0.3  # many connections are opened meanwhile

    async def sever(self):
        await asyncio.to_thread(self.servers.sever)


@pytest.mark.real
@pytest.mark.scale
class TestALentClusterKeepsTheContract(Lent):
    @pytest.fixture(autouse=True)
    def _servers(self, a_cluster):
        self.servers = a_cluster

    def connect(self):
        return RedisStore(lent_cluster(self.servers), ping_every=0.02, timeout=20)


@pytest.mark.real
@pytest.mark.scale
class TestALentClientOfSentinelsKeepsTheContract(Lent):
    @pytest.fixture(autouse=True)
    def _servers(self, a_watched_primary):
        self.servers = a_watched_primary

    def connect(self):
        return RedisStore(lent_sentinel(self.servers).master_for("cache"), ping_every=0.02, timeout=20)
