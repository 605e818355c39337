"""Changes of a fleet: set, invalidate, clear, and the fence around a write to the source.

Each runs in a task of the cache. What does not reach the remote store becomes pending (P6)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from acache._elsewhere import Elsewhere
from acache._entry import Entry
from acache._feed import Hearing
from acache._finding import Finder
from acache._fleet import FleetLoads, renew
from acache._guarantees import guarantees
from acache._health import Health
from acache._leases_here import LeasesHere
from acache._packing import Packer
from acache._pending import Pending
from acache._policy import unique
from acache._process import CacheFlight, Process
from acache._remote import CHUNK, NOTHING, SPACE, Remote
from acache.errors import CodecError, InvalidationFailed, StoreUnavailable
from acache.events import RoundTripFailed, SetDiscarded

FENCE: Final = 10.0  # seconds; renewed while the block runs


@dataclass(slots=True)
class Block:
    """One `writing` under way."""

    mark: int  # of the near ledger, before the fence was asked for
    space: bytes | None = None  # the namespace's version, read before the block began
    renewing: asyncio.Task[None] | None = None


class Fleet:
    """Who may store what, where a remote store is shared: its claims decide."""

    __slots__ = (
        "_blocks",
        "_hearing",
        "_loads",
        "_max_ttl",
        "_packer",
        "_process",
        "_raises",
        "_remote",
        "finder",
        "pending",
    )

    def __init__(
        self,
        process: Process,
        remote: Remote,
        packer: Packer,
        *,
        max_staleness: float,
        max_ttl: float,
        raises: bool,
    ) -> None:
        """Decide with *remote*; *raises*: an invalidation that did not land is an error too."""
        self._process = process
        self._remote = remote
        self._packer = packer
        self._max_ttl = max_ttl
        self._raises = raises
        self._blocks: dict[bytes, Block] = {}
        self._hearing = Hearing(process, remote, max_staleness=max_staleness)
        self.pending = Pending(process, self._send_drop, namespace=SPACE)
        self.finder = Finder(process, remote, packer, self.pending)
        self._loads = FleetLoads(
            process, remote, packer, self._hearing, self.pending, self.finder, max_ttl=max_ttl
        )
        process.near.trusted_until = -1.0
        process.moved += [self._blocks.clear, self._hearing.start, self.pending.moved]

    def start(self, flight: CacheFlight) -> None:
        """Drive a registered flight."""
        self._loads.start(flight)

    async def look(self, keys: Sequence[str], type: object) -> dict[str, Entry]:
        """Return the valid entries of *keys* in the remote store."""
        return await self.finder.look(keys, type)

    # --- set ----------------------------------------------------------------------------------------

    async def set(self, items: Mapping[str, Entry], type: object) -> None:
        """Store *items* remotely; under a fence they are dropped and the fence is tainted.

        Nothing is put near: only a read knows that the store has taken it. CodecError for a value
        that would not come back as it is."""
        process, remote = self._process, self._remote
        keys = tuple(items)
        try:
            tags = unique(tag for entry in items.values() for tag in entry.tags)
            ttl = max((self._loads.physical_ttl(entry) for entry in items.values()), default=0.0)
            versions = await remote.versions([SPACE, *tags], ttl=ttl)
            known = {tag: version for tag, version in versions.items() if version is not None}
            if len(known) < len(versions):
                await self._send_drop(keys, ())
            else:
                packed = [
                    (
                        key,
                        self._pack(key, entry, _untyped(entry.value) if type is Any else type, known),
                        self._loads.physical_ttl(entry),
                    )
                    for key, entry in items.items()
                ]
                for at in range(0, len(packed), CHUNK):
                    part = packed[at : at + CHUNK]
                    message = self._hearing.say_drop([key for key, _, _ in part])
                    await remote.put(part, message=message)
        except StoreUnavailable:
            self.pending.add(keys, ())
        except CodecError:
            await self._drop(keys, ())
            raise
        finally:
            process.forget(keys, ())

    def _pack(self, key: str, entry: Entry, type: object, versions: Mapping[str, bytes]) -> bytes:
        tags = {tag: versions[tag] for tag in entry.tags}
        return self._packer.pack(key, entry, type, space=versions[SPACE], versions=tags)

    # --- invalidate ---------------------------------------------------------------------------------

    async def invalidate(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Drop *keys* and *tags* everywhere."""
        landed = await self._drop(keys, tags)
        self._process.forget(keys, tags)
        self._complain(landed, written=True)

    async def clear(self) -> None:
        """Drop the namespace by dropping its version."""
        landed = await self._drop((), (SPACE,))
        self._process.forget_everything()
        self._complain(landed, written=True)

    async def _drop(self, keys: Sequence[str], tags: Sequence[str]) -> bool:
        try:
            await self._send_drop(keys, tags)
        except StoreUnavailable:
            self.pending.add(keys, tags)
            return False
        return True

    async def _send_drop(
        self, keys: Sequence[str], tags: Sequence[str], keep: Mapping[str, bytes] = NOTHING
    ) -> None:
        names = [(key, False) for key in keys] + [(tag, True) for tag in tags]
        for at in range(0, len(names), CHUNK):
            part_keys = [name for name, is_tag in names[at : at + CHUNK] if not is_tag]
            part_tags = [name for name, is_tag in names[at : at + CHUNK] if is_tag]
            message = self._hearing.say_drop(part_keys, part_tags)
            await self._remote.drop(part_keys, part_tags, keep=keep, message=message)

    def _complain(self, landed: bool, *, written: bool) -> None:
        if not landed and self._raises:
            raise InvalidationFailed(
                "the remote store is away: the invalidation is pending and retried until it lands",
                written=written,
            )

    async def drop_older(
        self, keys: Sequence[str], tags: Sequence[str], *, keep: Mapping[str, object]
    ) -> None:
        """Drop *keys* and *tags*; an entry whose bytes are those of *keep* stays."""
        spared = {key: data for key, data in keep.items() if isinstance(data, bytes)}
        try:
            await self._send_drop(keys, tags, keep=spared)
        except StoreUnavailable:
            self.pending.add(keys, tags)
        self._process.forget(keys, tags)

    # --- the fence ----------------------------------------------------------------------------------

    async def fence(self, keys: Sequence[str], tags: Sequence[str], token: bytes) -> None:
        """Drop *keys* and *tags*, and let nobody store them until `release` or the fence's end.

        With the store away the block runs all the same: its keys and tags are pending."""
        remote = self._remote
        block = self._blocks[token] = Block(mark=self._process.near.ledger.mark)
        try:
            message = self._hearing.say_drop(keys, tags)
            await remote.fence(keys, tags, token, ttl=FENCE, message=message)
            renewal = renew(remote, tuple(keys), tuple(tags), token, FENCE)
            block.renewing = self._process.background.start(renewal)
            space = await remote.versions([SPACE], ttl=self._max_ttl)
            block.space = space[SPACE]
        except StoreUnavailable:
            self.pending.add(keys, tags)

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, commits: Mapping[str, Entry]
    ) -> dict[str, object]:
        """Void what was loaded meanwhile, store what may be stored, drop the rest, end the fence."""
        process = self._process
        since = process.near.ledger.mark
        block = self._blocks.pop(token, None) or Block(mark=since)
        stored: dict[str, object] = {}
        landed = True
        try:
            stored = await self._end(keys, tags, token, commits, block)
        except StoreUnavailable:
            self.pending.add(keys, tags)
            landed = False
        finally:
            if block.renewing is not None:
                block.renewing.cancel()
        # A change of the keys or tags during the block has tainted them; one of the whole namespace has not.
        heard = process.near.ledger
        unswept = not heard.swept(since=block.mark)
        quiet = [key for key in stored if unswept and heard.quiet(key, commits[key].tags, since=since)]
        process.forget(keys, tags)
        since = process.near.ledger.mark
        for key in quiet:
            process.keep(key, commits[key], since=since, own=True)
        self._complain(landed, written=True)
        return stored

    async def _end(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        token: bytes,
        commits: Mapping[str, Entry],
        block: Block,
    ) -> dict[str, object]:
        remote = self._remote
        stored: dict[str, object] = {}
        ttl = max((self._loads.physical_ttl(entry) for entry in commits.values()), default=FENCE)
        versions = await remote.settle(tags, token, ttl=ttl) if tags else {}
        known = {tag: version for tag, version in versions.items() if version is not None}
        if block.space is not None:
            known[SPACE] = block.space
            for key, entry in commits.items():
                if not known.keys() >= set(entry.tags) or self.pending.covers(key, entry.tags):
                    continue  # somebody changed it, who may not have been able to taint the fence
                data = await self._commit(key, entry, token, known)
                if data is not None:
                    stored[key] = data
        rest = [key for key in keys if key not in stored]
        if rest:
            await remote.drop(rest, (), message=None)
        await remote.release(keys, tags, token, message=self._hearing.say_drop(keys, tags))
        return stored

    async def _commit(self, key: str, entry: Entry, token: bytes, known: Mapping[str, bytes]) -> bytes | None:
        try:
            data = self._pack(key, entry, entry.value.__class__, known)
        except CodecError as error:
            self._process.emit(RoundTripFailed(function="writing", key=key, reason=str(error)))
            return None
        ttl = self._loads.physical_ttl(entry)
        message = self._hearing.say_drop((key,))
        if await self._remote.commit(key, data, token, ttl=ttl, message=message):
            return data
        reason = "another writer or an invalidation came between"
        self._process.emit(SetDiscarded(function="writing", key=key, reason=reason))
        return None

    # --- explaining ---------------------------------------------------------------------------------

    async def explain(self, key: str) -> Elsewhere:
        """Return what the remote store says of *key*."""
        return await self.finder.explain(key)

    def health(self) -> Health:
        """Say how the way to the remote store is."""
        near, now = self._process.near, self._process.clock.monotonic()
        return Health(
            remote="down" if self._remote.breaker.open else "up",
            near_trusted=near.store is not None and now < near.trusted_until,
            near_lag=self._hearing.lag,
            pending_invalidations=len(self.pending),
        )

    def guarantees(self, *, signed: bool) -> Mapping[str, str]:
        """Say which promises hold with what the store can do."""
        remote = self._remote
        return guarantees(
            remote=type(remote.store).__name__,
            leases=not isinstance(remote.store, LeasesHere),
            feed=remote.feed is not None,
            near=self._process.near.store is not None,
            signed=signed,
        )

    # --- closing ------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Try once more what is pending, then close the store's connections."""
        self._remote.breaker.retry_now()
        await self.pending.aclose()
        await self._remote.store.aclose()


def _untyped(value: object) -> object:
    """Return the type that a value set without one is compared as (P8): what `get` will be told.

    A class of somebody's, or a date, has to be named there to come back. What is plain data need not:
    so it has to come back as it was without, which a tuple or a set does not."""
    kind = value.__class__
    return Any if kind.__module__ == "builtins" and kind not in _ALWAYS_BACK else kind


_ALWAYS_BACK: Final = frozenset({str, int, float, bool})
