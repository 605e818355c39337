"""Claims for a store that has none: they live in this process and bind only it.

Tag versions and stamps are ordinary items of the store, so that an invalidation reaches every
process; but two processes may load one key at once, and a load of another process that meets an
invalidation may be stored (P1 and P2 hold within each process). What changes one name is done in
turn, because a store may finish two requests in any order. Claims end with their time here too: one
whose release did not get through must not stand for ever."""

import os
from collections.abc import Mapping, Sequence

from acache._claims import Claims
from acache._key_locks import KeyLocks
from acache.clock import SYSTEM_CLOCK, Clock
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

    __slots__ = ("_now", "_on_keys", "_on_tags", "_store", "_turns", "timeout")

    def __init__(self, store: RemoteStore, clock: Clock = SYSTEM_CLOCK) -> None:
        """Add claims to *store*; they end by *clock*."""
        self._store = store
        self._now = clock.monotonic
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
        found = await self._store.get_many(names)
        if None in found:  # making one takes its turn, reading does not
            missing = [tag for tag, version in zip(tags, found, strict=True) if version is None]
            async with self._turns.held(map(_version, missing)):
                made = await self._made(missing)
            found = [version or made[tag] for tag, version in zip(tags, found, strict=True)]
        return [None if self._fenced(tag) else version for tag, version in zip(tags, found, strict=True)]

    async def _made(self, tags: Sequence[str]) -> dict[str, bytes | None]:
        """Return the versions of *tags*, making those that are missing and not fenced. In their turn."""
        found = await self._store.get_many([_version(tag) for tag in tags])
        versions = dict(zip(tags, found, strict=True))
        made = {
            tag: os.urandom(16)
            for tag, version in versions.items()
            if version is None and not self._fenced(tag)
        }
        if made:
            items = [Item(key=_version(tag), data=version, ttl=LONG) for tag, version in made.items()]
            await self._store.set_many(items)
        return versions | made

    def _fenced(self, tag: str) -> bool:
        return self._on_tags.fenced(tag, now=self._now())

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
            now = self._now()
            if self._on_keys.lease(key, token, until=now + ttl, now=now):
                return Grant(kind=GRANTED)
            standing = self._on_keys.of(key, now=now)
            if standing is None or standing.shared:
                return Grant(kind=FENCED)
            [(holder, until)] = standing.tokens.items()
            return Grant(kind=BUSY, remaining=until - now, holder=holder)

    async def renew(self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong this token's claims; return False if any of them is no longer there."""
        now = self._now()
        held = [self._on_keys.renew(key, token, until=now + ttl, now=now) for key in keys]
        return all(held + [self._on_tags.renew(tag, token, until=now + ttl, now=now) for tag in tags])

    async def commit(self, item: Item, token: bytes, *, message: bytes | None) -> bool:
        """Store under a claim that stands alone and untainted; end it either way."""
        del message
        async with self._turns.held([item.key]):
            sole = self._on_keys.sole(item.key, token, now=self._now())
            try:
                if sole:
                    await self._store.set_many([item])
                    return True
            finally:
                self._on_keys.release(item.key, token)
            return await self._store.get_many([item.key]) == [item.data]

    async def put(self, items: Sequence[Item], *, message: bytes | None) -> None:
        """Store whatever lease stands; under a fence delete and taint instead."""
        del message
        async with self._turns.held(item.key for item in items):
            now = self._now()
            fenced = [item.key for item in items if self._on_keys.fenced(item.key, now=now)]
            for item in items:
                self._on_keys.taint(item.key, now=now)
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
            now = self._now()
            for key in keys:
                self._on_keys.taint(key, now=now)
            for tag in tags:
                self._on_tags.taint(tag, now=now)
            await self._delete(keys, tags, keep)

    async def fence(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float, message: bytes | None
    ) -> None:
        """Delete, and let nobody in this process store."""
        del message
        async with self._turns.held([*keys, *map(_version, tags)]):
            now = self._now()
            for key in keys:
                self._on_keys.fence(key, token, until=now + ttl, now=now)
            for tag in tags:
                self._on_tags.fence(tag, token, until=now + ttl, now=now)
            await self._delete(keys, tags, {})

    async def settle(self, tags: Sequence[str], token: bytes, *, ttl: float) -> list[bytes | None]:
        """End the fence of *tags*; make new versions where nobody else touched them."""
        del ttl
        # One turn for all of it, or a drop could come between the question and the new version.
        async with self._turns.held(map(_version, tags)):
            now = self._now()
            sole = [tag for tag in tags if self._on_tags.sole(tag, token, now=now)]
            for tag in tags:
                self._on_tags.release(tag, token, now=now)
                self._on_tags.taint(tag, now=now)
            await self._delete((), tags, {})
            made = await self._made(sole) if sole else {}
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
        now = self._now()
        standing = self._on_keys.of(key, now=now)
        if standing is None:
            return []
        kind = ClaimKind.FENCE if standing.shared else ClaimKind.LEASE
        return [
            Claim(kind=kind, token=token, remaining=until - now, tainted=standing.tainted)
            for token, until in standing.tokens.items()
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
