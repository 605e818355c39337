"""A remote store's server in memory: its state and its atomic steps. Knows no client, no await.

Every public verb of `Leases` is made of these steps, one per key or tag, and nothing else happens
between a step's reading and its writing. What a real server may do to its clients' state is here
too: eviction, and a restart that loses or rewinds everything.
"""

import asyncio
import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from acache._claims import Claims
from acache.clock import Clock
from acache.protocols import (
    BUSY,
    FENCED,
    FOUND,
    GRANTED,
    Claim,
    ClaimKind,
    Grant,
    Item,
    digest,
)


@dataclass(slots=True)
class _State:
    """All that a restart may lose."""

    entries: dict[str, tuple[bytes, float]] = field(default_factory=dict)  # with the time it ends
    versions: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    stamps: dict[str, bytes] = field(default_factory=dict)
    on_keys: Claims = field(default_factory=Claims)
    on_tags: Claims = field(default_factory=Claims)


class MemoryServer:
    """One server for any number of `MemoryRemote` clients.

    Times are of *clock*, or of the running loop if none is given. *rng* makes versions and stamps.
    """

    def __init__(self, *, clock: Clock | None = None, rng: Random | None = None) -> None:
        self._clock = clock
        self._rng = rng if rng is not None else Random(0)  # noqa: S311 - tests repeat themselves
        self._state = _State()
        self._hearers: dict[object, Callable[[bytes], None]] = {}
        self._hang_ups: dict[object, Callable[[], None]] = {}

    def now(self) -> float:
        """Return monotonic seconds."""
        return asyncio.get_running_loop().time() if self._clock is None else self._clock.monotonic()

    # --- entries --------------------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """Return the bytes under *key*."""
        return self._alive(self._state.entries, key)

    def set(self, item: Item) -> None:
        """Store the item, whatever stands on its key."""
        self._state.entries[item.key] = (item.data, self.now() + item.ttl)

    def delete(self, key: str) -> None:
        """Delete the entry of *key*, whatever stands on it."""
        self._state.entries.pop(key, None)

    def put(self, item: Item) -> None:
        """Store the item and end the key's lease; under a fence delete and taint."""
        fenced = self._state.on_keys.fenced(item.key, now=self.now())
        self._state.on_keys.taint(item.key, now=self.now())
        if fenced:
            self.delete(item.key)
        else:
            self.set(item)

    def commit(self, item: Item, token: bytes) -> tuple[bool, bool]:
        """Store the item if *token* may, and end its claim.

        Return whether it stands, and whether that is new: it is not if the commit was repeated.
        """
        new = self._state.on_keys.sole(item.key, token, now=self.now())
        self._state.on_keys.release(item.key, token, now=self.now())
        if new:
            self.set(item)
        return self.get(item.key) == item.data, new

    # --- keys and tags --------------------------------------------------------------------------

    def drop_key(self, key: str, keep: bytes | None = None) -> None:
        """Delete the entry unless it equals *keep*, end the lease, taint the fences."""
        self._state.on_keys.taint(key, now=self.now())
        if keep is None or self.get(key) != keep:
            self.delete(key)

    def drop_tag(self, tag: str) -> None:
        """Delete the version, taint the fences."""
        self._state.on_tags.taint(tag, now=self.now())
        self._state.versions.pop(tag, None)

    def fence_key(self, key: str, token: bytes, ttl: float) -> None:
        """Delete the entry, end the lease, taint the fences of others, add one."""
        self._state.on_keys.fence(key, token, until=self.now() + ttl, now=self.now())
        self.delete(key)

    def fence_tag(self, tag: str, token: bytes, ttl: float) -> None:
        """Delete the version, taint the fences of others, add one."""
        self._state.on_tags.fence(tag, token, until=self.now() + ttl, now=self.now())
        self._state.versions.pop(tag, None)

    def settle(self, tag: str, token: bytes, ttl: float) -> bytes | None:
        """Delete the version, end the token's fence, and make a new version if the token may."""
        sole = self._state.on_tags.sole(tag, token, now=self.now())
        self._state.on_tags.release(tag, token, now=self.now())
        self.drop_tag(tag)
        return self.version(tag, ttl) if sole else None

    def renew_key(self, key: str, token: bytes, ttl: float) -> bool:
        """Prolong the token's claim."""
        return self._state.on_keys.renew(key, token, until=self.now() + ttl, now=self.now())

    def renew_tag(self, tag: str, token: bytes, ttl: float) -> bool:
        """Prolong the token's fence."""
        return self._state.on_tags.renew(tag, token, until=self.now() + ttl, now=self.now())

    def release_key(self, key: str, token: bytes) -> None:
        """End the token's claim."""
        self._state.on_keys.release(key, token, now=self.now())

    def release_tag(self, tag: str, token: bytes) -> None:
        """End the token's fence."""
        self._state.on_tags.release(tag, token, now=self.now())

    def lease(self, key: str, token: bytes, ttl: float, seen: bytes | None) -> Grant:
        """Answer a request to be the only loader."""
        data = self.get(key)
        if data is not None and digest(data) != seen:
            return Grant(kind=FOUND, data=data)
        claims, now = self._state.on_keys, self.now()
        if claims.lease(key, token, until=now + ttl, now=now):
            return Grant(kind=GRANTED)
        standing = claims.of(key, now=now)
        assert standing is not None
        if standing.shared:
            return Grant(kind=FENCED)
        [(holder, until)] = standing.tokens.items()
        return Grant(kind=BUSY, remaining=until - now, holder=holder)

    def claims(self, key: str) -> list[Claim]:
        """Return what stands on *key*."""
        now = self.now()
        standing = self._state.on_keys.of(key, now=now)
        if standing is None:
            return []
        kind = ClaimKind.FENCE if standing.shared else ClaimKind.LEASE
        return [
            Claim(kind=kind, token=token, remaining=until - now, tainted=standing.tainted)
            for token, until in standing.tokens.items()
        ]

    # --- versions and stamps --------------------------------------------------------------------

    def peek_version(self, tag: str) -> bytes | None:
        """Return the tag's version."""
        return self._alive(self._state.versions, tag)

    def version(self, tag: str, ttl: float) -> bytes | None:
        """Return the tag's version, made if missing, prolonged; None under a fence."""
        if self._state.on_tags.fenced(tag, now=self.now()):
            return None
        version = self.peek_version(tag) or self.unique()
        _, until = self._state.versions.get(tag, (version, 0.0))
        self._state.versions[tag] = (version, max(until, self.now() + ttl))
        return version

    def stamp(self, namespace: str) -> bytes:
        """Return the namespace's stamp, made if missing."""
        return self._state.stamps.setdefault(namespace, self.unique())

    def replace_stamp(self, namespace: str) -> None:
        """Make it another one."""
        self._state.stamps[namespace] = self.unique()

    def unique(self) -> bytes:
        """Return 16 bytes that were never returned before."""
        return self._rng.randbytes(16)

    # --- the feed -------------------------------------------------------------------------------

    def publish(self, message: bytes) -> None:
        """Hand *message* to every connection that listens."""
        for hear in list(self._hearers.values()):
            hear(message)

    def subscribe(self, who: object, hear: Callable[[bytes], None], hang_up: Callable[[], None]) -> None:
        """Let *who* hear messages until it leaves, or is hung up on."""
        self._hearers[who] = hear
        self._hang_ups[who] = hang_up

    def unsubscribe(self, who: object) -> None:
        """Let *who* hear no more."""
        self._hearers.pop(who, None)
        self._hang_ups.pop(who, None)

    # --- what happens to servers ----------------------------------------------------------------

    def hang_up(self) -> None:
        """Close the connections of all who listen; what is published until they return is lost."""
        for close in list(self._hang_ups.values()):
            close()

    def snapshot(self) -> object:
        """Return the whole state, to `restart` from."""
        return copy.deepcopy(self._state)

    def restart(self, snapshot: object = None) -> None:
        """Lose everything, or go back to *snapshot*, and hang up on everybody."""
        self._state = copy.deepcopy(snapshot) if isinstance(snapshot, _State) else _State()
        self.hang_up()

    def evict(
        self, *, keys: Iterable[str] = (), tags: Iterable[str] = (), stamps: Iterable[str] = ()
    ) -> None:
        """Forget entries, versions and stamps, as a server short of memory does; claims stay."""
        for key in keys:
            self._state.entries.pop(key, None)
        for tag in tags:
            self._state.versions.pop(tag, None)
        for namespace in stamps:
            self._state.stamps.pop(namespace, None)

    def keys(self) -> list[str]:
        """Return the keys that have an entry."""
        return [key for key in list(self._state.entries) if self.get(key) is not None]

    def _alive(self, stored: dict[str, tuple[bytes, float]], name: str) -> bytes | None:
        data, until = stored.get(name, (None, 0.0))
        if data is not None and until <= self.now():
            del stored[name]
            return None
        return data
