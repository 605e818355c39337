"""The Redis and Valkey adapter of acache."""

from acache_redis.store import RedisStore, from_url

__all__ = ["RedisStore", "from_url"]
