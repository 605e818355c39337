"""Real servers, one or many, seen through the adapter keep the contract of remote stores."""

import asyncio

import pytest

from acache.testing.contracts import RemoteStoreContract
from acache_redis import RedisStore

pytestmark = pytest.mark.real


class TestRedisStoreKeepsTheContract(RemoteStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, anywhere):
        self.server = anywhere
        # Many connections are opened meanwhile, and the machine may be busy with other tests.
        self.tick = 0.3 if anywhere.kind in {"cluster", "sentinel"} else 0.15

    def connect(self):
        return RedisStore(self.server.url, ping_every=0.02, timeout=20)

    async def sever(self):
        await asyncio.to_thread(self.server.sever)
