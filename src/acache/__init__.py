"""asyncio-native caching for web backends: coalesced loads, safe invalidation, early refresh.

cache = Cache("memory://?max_entries=100000")

@cache.cached("user:{user_id}", ttl=300, tags=["users"])
async def get_user(user_id: int) -> User: ..."""

from acache._cache import Cache
from acache._coalescing import Coalesced, singleflight
from acache._decorators import Cached
from acache._loading import Loading, loading
from acache._many import CachedMany
from acache._memory import MemoryStore
from acache._policy import Policy
from acache._singleflight import Singleflight
from acache._types import MISSING
from acache._writing import Writer
from acache.journal import MemoryJournal
from acache.read_through import ReadThrough
from acache.write_behind import WriteBehind
from acache.write_through import WriteThrough

__version__ = "0.1.0"

__all__ = [
    "MISSING",
    "Cache",
    "Cached",
    "CachedMany",
    "Coalesced",
    "Loading",
    "MemoryJournal",
    "MemoryStore",
    "Policy",
    "ReadThrough",
    "Singleflight",
    "WriteBehind",
    "WriteThrough",
    "Writer",
    "__version__",
    "loading",
    "singleflight",
]
