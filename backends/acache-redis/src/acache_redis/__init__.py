"""The Redis and Valkey adapter of acache."""

from acache_redis.journal import RedisJournal
from acache_redis.store import RedisStore, from_url

__all__ = ["RedisJournal", "RedisStore", "from_url"]
