"""A memcached store for acache."""

from acache_memcached.store import MemcachedStore, from_url

__all__ = ["MemcachedStore", "from_url"]
