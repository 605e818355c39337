"""What the remote store holds of a key, and what that is worth to a reader. Loads and stores nothing.

A reader looks in its own task and judges by itself; only what is of no use becomes a flight. What
was found is trusted only if no invalidation of it was pending here when it was asked for or when it
came, and is held near only if nothing was heard of it since it was asked for."""

from collections.abc import Iterable, Mapping
from typing import Final

from acache._entry import Entry
from acache._memory import MemoryStore
from acache._packing import Packer, Read, valid
from acache._pending import Pending
from acache._policy import FRESH, GRACE, MISS, Policy, decide, unique
from acache._process import Call, Found, Process
from acache._remote import SPACE, Looked, Looks, Remote
from acache.errors import CodecError
from acache.events import EntryRejected

UNTRUSTED: Final = Found(entry=None, verdict=MISS, trusted=False)
ABSENT: Final = Found(entry=None, verdict=MISS)
FALLBACK_ENTRIES: Final = 10_000


class Finder:
    """Looks into one remote store for one process."""

    __slots__ = ("_looks", "_packer", "_pending", "_process", "_remote")

    def __init__(self, process: Process, remote: Remote, packer: Packer, pending: Pending) -> None:
        """Look into *remote*; nothing that *pending* covers is trusted."""
        self._process = process
        self._remote = remote
        self._packer = packer
        self._pending = pending
        self._looks = Looks(process, remote)

    # --- for a reader who would load ----------------------------------------------------------------

    async def find(self, key: str, call: Call) -> Found:
        """Return what is stored under *key* and what it is worth to *call*."""
        found = self._at_once(key, call)
        tags = call.tags
        while found is None:
            mark = self._process.near.ledger.mark
            looked = await self._looks.read((key,), tags)
            weighed = self._weigh(key, call, looked, mark)
            if isinstance(weighed, tuple):
                tags = unique((*tags, *weighed))
            else:
                found = weighed
        return found

    async def find_many(self, calls: Mapping[str, Call]) -> dict[str, Found]:
        """Return the same for each key of *calls*."""
        found: dict[str, Found] = {}
        for key, call in calls.items():
            if (known := self._at_once(key, call)) is not None:
                found[key] = known
        left = [key for key in calls if key not in found]
        tags = unique(tag for key in left for tag in calls[key].tags)
        while left:
            mark = self._process.near.ledger.mark
            looked = await self._looks.read(left, tags)
            unknown: list[str] = []
            for key in left:
                weighed = self._weigh(key, calls[key], looked, mark)
                if isinstance(weighed, tuple):
                    unknown += weighed
                else:
                    found[key] = weighed
            left = [key for key in left if key not in found]
            tags = unique((*tags, *unknown))
        return found

    def _at_once(self, key: str, call: Call) -> Found | None:
        """Return what is known without looking."""
        standing = self._fallback(key, call.policy)
        if standing is not None:
            return Found(entry=standing, verdict=FRESH)
        if not self._process.enabled or self._pending.covers(key, call.tags):
            return UNTRUSTED
        return None

    def _weigh(self, key: str, call: Call, looked: Looked, mark: int) -> Found | tuple[str, ...]:
        """Return what was found, or the tags whose versions it takes to tell."""
        if looked.away:
            return UNTRUSTED
        data = looked.found[key]
        if data is None:
            return ABSENT
        read = self._unpacked(key, data, call, looked)
        if read is None:
            return Found(entry=None, verdict=MISS, data=data)
        entry, stored = read
        # Asked before the tags are looked up as well as after: the retry may land in between.
        if self._pending.covers(key, stored.tags):
            return UNTRUSTED
        if stored.tags and not looked.versions.keys() >= stored.tags.keys():
            return entry.tags
        return self.judge(key, call, read, looked.versions, data=data, mark=mark)

    def judge(
        self,
        key: str,
        call: Call,
        read: Read,
        versions: Mapping[str, bytes | None],
        *,
        data: bytes,
        mark: int,
    ) -> Found:
        """Return what an entry is worth under these versions; what can be served is put near."""
        process, policy = self._process, call.policy
        entry, stored = read
        if not valid(stored, SPACE, versions) or entry.version != policy.version:
            # It was invalidated: not even a failed load may bring it back.
            return Found(entry=None, verdict=MISS, data=data, previous=entry.tags)
        now = process.clock.monotonic()
        verdict = FRESH
        if now >= entry.calm_until:
            retry_at = process.retry_at.get(key, 0.0)
            verdict = decide(entry, now=now, rand=process.draw(), policy=policy, retry_at=retry_at)
        if process.near.store is not None and verdict is not MISS and verdict is not GRACE:
            process.near.put(key, near_copy(entry, policy, now), since=mark)
        return Found(entry=entry, verdict=verdict, data=data, previous=entry.tags, mark=mark)

    def _unpacked(self, key: str, data: bytes, call: Call, looked: Looked) -> Read | None:
        """Return the entry in *data*, which those who looked together share."""
        shared = looked.reads.get(key)
        if shared is None or shared[0] is not call.type:
            shared = looked.reads[key] = call.type, self.unpack(key, data, call.type, call.policy.beta)
        return shared[1]

    def unpack(self, key: str, data: bytes, type: object, beta: float) -> Read | None:
        """Return the entry in *data*; None, with an event, for what is none of ours."""
        try:
            return self._packer.unpack(key, data, type, beta=beta)
        except CodecError as error:
            reason = getattr(error, "reason", "undecodable")
            self._process.emit(EntryRejected(key=key, reason=reason))
            return None

    # --- for a reader who would not -----------------------------------------------------------------

    async def look(self, keys: Iterable[str], type: object) -> dict[str, Entry]:
        """Return the valid entries of *keys*, fresh or not; nothing if the store is away."""
        since = self._process.near.ledger.mark
        mark = self._process.drops.mark
        wanted = [key for key in keys if not self._pending.covers(key, ())]
        looked = await self._looks.read(wanted, ())
        reads: dict[str, Read] = {}
        for key in wanted:
            data = looked.found[key]
            if data is not None and (read := self.unpack(key, data, type, 1.0)) is not None:
                reads[key] = read
        tags = unique(tag for _, stored in reads.values() for tag in stored.tags)
        versions = looked.versions
        if tags:
            versions = {**versions, **(await self._looks.read((), tags)).versions}
        entries: dict[str, Entry] = {}
        for key, (entry, stored) in reads.items():
            quiet = self._process.drops.quiet(key, stored.tags, since=mark)
            trusted = quiet and not self._pending.covers(key, stored.tags)
            if trusted and valid(stored, SPACE, versions):
                entries[key] = entry
                self._process.near.put(key, entry, since=since)
        return entries

    # --- while the remote store is away -------------------------------------------------------------

    def keep_fallback(self, key: str, entry: Entry, policy: Policy, *, since: int) -> None:
        """Keep what was loaded while the store is away, as long as `fallback_ttl` allows."""
        process, near = self._process, self._process.near
        if policy.fallback_ttl <= 0 or not self._remote.breaker.open:
            return
        if not near.ledger.quiet(key, entry.tags, since=since):
            return
        if near.fallback is None:
            near.fallback = MemoryStore(max_entries=FALLBACK_ENTRIES, clock=process.clock)
        until = min(entry.fresh_until, entry.born + policy.fallback_ttl)
        copy = Entry(entry.value, born=entry.born, fresh_until=until, tags=entry.tags, version=entry.version)
        near.fallback.put(key, copy)

    def _fallback(self, key: str, policy: Policy) -> Entry | None:
        near = self._process.near
        if near.fallback is None or not self._remote.breaker.open:
            return None
        entry = near.fallback.lookup(key)
        now = self._process.clock.monotonic()
        if entry is None or now >= entry.fresh_until or entry.version != policy.version:
            return None
        return entry


def near_copy(entry: Entry, policy: Policy, now: float) -> Entry:
    """Return *entry* as it is held near: with `near_ttl` it goes earlier and is read again, not loaded."""
    if policy.near_ttl is None or now + policy.near_ttl >= entry.fresh_until:
        return entry
    return Entry(
        entry.value,
        born=entry.born,
        fresh_until=now + policy.near_ttl,
        tags=entry.tags,
        version=entry.version,
    )
