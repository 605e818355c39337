"""Real servers, seen through the adapter, keep the contract of remote stores."""

import pytest
from redis.asyncio import Redis
from valkey_server import binaries, valkey

from acache.testing.contracts import RemoteStoreContract
from acache_redis import RedisStore

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=sorted(binaries()))
def server(request):
    with valkey(binary=binaries()[request.param]) as running:
        yield running


class TestRedisStoreKeepsTheContract(RemoteStoreContract):
    tick = 0.03

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def connect(self):
        return RedisStore(self.server.url, ping_every=0.02, timeout=20)

    async def sever(self):
        async with Redis.from_url(self.server.url) as client:
            await client.client_kill_filter(_type="pubsub")
