"""Write-through: the source first, then the cache, under a fence.

Whatever interleaving of writers and readers, what remains in the cache is the source's value or
nothing. During a write readers may see the new value and then the old one; after it returned never."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack, cast

from acache._answers import CONFUSED, answering
from acache._cache import Cache
from acache._key_locks import KeyLocks
from acache._policy import Options, Policy, unique
from acache.errors import SourceRefused
from acache.protocols import WritableSource
from acache.read_through import K, ReadThrough, V, by_key


class WriteThrough(ReadThrough[K, V]):
    """Values of a source, by id, read and written through a cache."""

    def __init__(
        self,
        cache: Cache,
        source: WritableSource[K, V],
        *,
        key: str,
        tags: Iterable[str] = (),
        type: Any = Any,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Take what `ReadThrough` takes; *source* can write too."""
        super().__init__(cache, source, key=key, tags=tags, type=type, policy=policy, **options)
        self._writable = source
        self._locks = KeyLocks()

    async def put(self, id: K, value: V) -> None:
        """Write *value* to the source, then to the cache, as the source holds it.

        Raises what the source raises (SourceUnavailable, SourceRefused); then nothing of *id* is
        cached. Cancelled, the write may or may not have reached the source; the cache holds nothing
        older."""
        await self.put_many({id: value})

    async def put_many(self, items: Mapping[K, V]) -> None:
        """Write several values in one batch of the source, whole or not at all. Errors as in `put`.

        Of rows that the source passed over without failing, as a trigger may, SourceRefused has the
        ids once the others were written."""
        if not items:
            return
        keys = {self.key(id): id for id in items}
        async with self._locks.held(keys):
            await self._save(keys, items)

    async def remove(self, *ids: K) -> None:
        """Remove *ids* from the source and the cache. Errors and cancellation as in `put_many`."""
        keys = by_key(ids, self.key)
        if not keys:
            return
        async with self._locks.held(keys), self._cache.writing(*keys, tags=self._tags_of(ids)):
            with self._reaching():
                saved = await self._writable.remove(list(keys.values()))
        self._complain(saved.refused, of=len(keys))

    async def update(self, id: K, change: Callable[[V | None], V | Awaitable[V]]) -> V:
        """Read *id* from the source, put what *change* makes of it, return what the source holds then.

        *change*, a plain or an async function, gets None for an id that does not exist. Updates and
        puts of one id take turns in this process; of two processes that update one id at a time the
        later may undo the earlier's change. Errors and cancellation as in `put`."""
        key = self.key(id)
        async with self._locks.held((key,)):
            found = answering(await self._load([id]), [id], self.key)(id)
            current = None if found is CONFUSED else found
            with self._locks.changing(key):
                changed = change(current)
                value = cast("V", await changed if inspect.isawaitable(changed) else changed)
            saved = await self._save({key: id}, {id: value})
        return saved.get(id, value)

    async def _save(self, keys: Mapping[str, K], items: Mapping[K, V]) -> Mapping[K, V]:
        """Save *items* under a fence; return the rows of those that the source changed."""
        async with self._cache.writing(*keys, tags=self._tags_of(items)) as writer:
            with self._reaching():
                saved = await self._writable.save(items)
            for key, id in keys.items():
                if id not in saved.refused:
                    row = saved.rows.get(id, items[id])
                    writer.commit(key, row, policy=self._reader.policy, tags=self.tags(id))
        self._complain(saved.refused, of=len(items))
        return saved.rows

    def _complain(self, refused: Sequence[K], *, of: int) -> None:
        if refused:
            raise SourceRefused(
                f"the source of {self._key.text!r} refused {len(refused)} of {of} rows; others were written",
                keys=refused,
            )

    def _tags_of(self, ids: Iterable[K]) -> tuple[str, ...]:
        return unique(tag for id in ids for tag in self.tags(id))
