"""Claims for a store that has none: they live in this process and bind only it.

Tag versions and stamps are ordinary items of the store, so that an invalidation reaches every
process; but two processes may load one key at once, and a load of another process that meets an
invalidation may be stored (P1 and P2 hold within each process). What changes one name is done in
turn, because a store may finish two requests in any order."""

import os
from collections.abc import Mapping, Sequence

from acache._claims import Claims
from acache._key_locks import KeyLocks
from acache.protocols import (
    BUSY,
    FENCED,
    FOUND,
    GRANTED,
    Claim,
    ClaimKind,
    Grant,
    Item,
    RemoteStore,
    digest,
    namespace_of,
)

LONG = 30 * 86_400.0


class LeasesHere:
    """A remote store with the claims of this process added."""

    __slots__ = ("_on_keys", "_on_tags", "_store", "_turns", "timeout")

    def __init__(self, store: RemoteStore) -> None:
        """Add claims to *store*."""
        self._store = store
        self.timeout = getattr(store, "timeout", 1.0)
        self._on_keys = Claims()
        self._on_tags = Claims()
        self._turns = KeyLocks()

    # --- the store's own verbs ---

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes under *keys*."""
        return await self._store.get_many(keys)

    async def set_many(self, items: Sequence[Item]) -> None:
        """Store *items*."""
        await self._store.set_many(items)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete *keys*."""
        await self._store.delete_many(keys)

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    # --- claims ---

    async def peek(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return entries and versions."""
        found = await self._store.get_many([*keys, *map(_version, tags)]) if keys or tags else []
        return found[: len(keys)], found[len(keys) :]

    async def versions(self, tags: Sequence[str], *, ttl: float) -> list[bytes | None]:
        """Return the version of each tag, made if missing; None while fenced.

        *ttl* is not used: a plain store cannot prolong without a race, so versions live long."""
        del ttl
        names = [_version(tag) for tag in tags]
        async with self._turns.held(names):
            found = await self._store.get_many(names)
            made = {
                name: os.urandom(16)
                for name, version, tag in zip(names, found, tags, strict=True)
                if version is None and not self._on_tags.fenced(tag)
            }
            if made:
                items = [Item(key=name, data=version, ttl=LONG) for name, version in made.items()]
                await self._store.set_many(items)
        current = (version or made.get(name) for name, version in zip(names, found, strict=True))
        return [
            None if self._on_tags.fenced(tag) else version for tag, version in zip(tags, current, strict=True)
        ]

    async def stamp(self, namespace: str) -> bytes:
        """Return the namespace's stamp, made if missing."""
        [stamp] = await self.versions([f"{namespace}!"], ttl=LONG)
        return stamp or b""

    async def lease(self, key: str, token: bytes, *, ttl: float, seen: bytes | None) -> Grant:
        """Ask to be the only loader in this process."""
        async with self._turns.held([key]):
            [data] = await self._store.get_many([key])
            if data is not None and digest(data) != seen:
                return Grant(kind=FOUND, data=data)
            if self._on_keys.lease(key, token):
                return Grant(kind=GRANTED)
            standing = self._on_keys.of(key)
            if standing is None or standing.shared:
                return Grant(kind=FENCED)
            return Grant(kind=BUSY, remaining=ttl, holder=next(iter(standing.tokens)))

    async def renew(self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Say whether the claims are still there; here they need no renewal."""
        del ttl
        held = [self._on_keys.renew(key, token) for key in keys]
        return all(held + [self._on_tags.renew(tag, token) for tag in tags])

    async def commit(self, item: Item, token: bytes, *, message: bytes | None) -> bool:
        """Store under a claim that stands alone and untainted; end it either way."""
        del message
        async with self._turns.held([item.key]):
            sole = self._on_keys.sole(item.key, token)
            try:
                if sole:
                    await self._store.set_many([item])
            finally:
                self._on_keys.release(item.key, token)
            return sole

    async def put(self, items: Sequence[Item], *, message: bytes | None) -> None:
        """Store whatever lease stands; under a fence delete and taint instead."""
        del message
        async with self._turns.held(item.key for item in items):
            fenced = [item.key for item in items if self._on_keys.fenced(item.key)]
            for item in items:
                self._on_keys.taint(item.key)
            await self._store.set_many([item for item in items if item.key not in fenced])
            if fenced:
                await self._store.delete_many(fenced)

    async def drop(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        *,
        keep: Mapping[str, bytes] = {},
        message: bytes | None,
    ) -> None:
        """Delete entries and versions, end leases, taint fences."""
        del message
        async with self._turns.held([*keys, *map(_version, tags)]):
            for key in keys:
                self._on_keys.taint(key)
            for tag in tags:
                self._on_tags.taint(tag)
            await self._delete(keys, tags, keep)

    async def fence(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float, message: bytes | None
    ) -> None:
        """Delete, and let nobody in this process store."""
        del ttl, message
        async with self._turns.held([*keys, *map(_version, tags)]):
            for key in keys:
                self._on_keys.fence(key, token)
            for tag in tags:
                self._on_tags.fence(tag, token)
            await self._delete(keys, tags, {})

    async def settle(self, tags: Sequence[str], token: bytes, *, ttl: float) -> list[bytes | None]:
        """End the fence of *tags*; make new versions where nobody else touched them."""
        sole = [tag for tag in tags if self._on_tags.sole(tag, token)]
        async with self._turns.held(map(_version, tags)):
            for tag in tags:
                self._on_tags.release(tag, token)
                if tag not in sole:
                    self._on_tags.taint(tag)
            await self._delete((), tags, {})
        made = dict(zip(sole, await self.versions(sole, ttl=ttl), strict=True)) if sole else {}
        return [made.get(tag) for tag in tags]

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, message: bytes | None
    ) -> None:
        """End this token's claims."""
        del message
        for key in keys:
            self._on_keys.release(key, token)
        for tag in tags:
            self._on_tags.release(tag, token)

    async def claims(self, key: str) -> Sequence[Claim]:
        """Return what stands on *key* in this process."""
        standing = self._on_keys.of(key)
        if standing is None:
            return []
        kind = ClaimKind.FENCE if standing.shared else ClaimKind.LEASE
        return [
            Claim(kind=kind, token=token, remaining=LONG, tainted=standing.tainted)
            for token in standing.tokens
        ]

    async def _delete(self, keys: Sequence[str], tags: Sequence[str], keep: Mapping[str, bytes]) -> None:
        stamps = [_version(f"{space}!") for space in dict.fromkeys(map(namespace_of, tags))]
        if stamps:
            await self._store.delete_many(stamps)
        spared = []
        if keep:
            found = await self._store.get_many(list(keep))
            spared = [key for key, data in zip(keep, found, strict=True) if data == keep[key]]
        gone = [key for key in keys if key not in spared]
        await self._store.delete_many([*gone, *map(_version, tags)])


def _version(tag: str) -> str:
    """Return where a tag's version is kept: no entry's complete name begins like this."""
    return f"t!{tag}"
