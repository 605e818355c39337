"""What the remote store holds of a key, and what that is worth to a reader. Loads and stores nothing.

A reader looks in its own task and judges by itself; only what is of no use becomes a flight. What
was found is trusted only if no invalidation of it was pending here when it was asked for or when it
came, and is held near only if nothing was heard of it since it was asked for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from acache._elsewhere import Elsewhere
from acache._entry import MAX_EXPONENTIAL, Entry
from acache._envelope import Stored
from acache._looking import Looked, Looks
from acache._memory import MemoryStore
from acache._packing import Packer, valid
from acache._pending import Pending
from acache._policy import FRESH, GRACE, MISS, Policy, decide, unique
from acache._process import Call, Found, Process
from acache._remote import SPACE, Remote
from acache._types import MISSING
from acache.errors import CodecError, StoreUnavailable
from acache.events import EntryRejected
from acache.protocols import ClaimKind

Waiting = tuple[asyncio.Future[Any], str, Call | None]

UNTRUSTED: Final = Found(verdict=MISS, trusted=False)
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
        self._looks = Looks(process, remote.peek_for, self._tell, space=SPACE)

    # --- for a reader who would load ----------------------------------------------------------------

    def begin(self, key: str, call: Call, tags: tuple[str, ...]) -> Awaitable[Any] | None:
        """Begin to look with others; None where it takes a `find`, which asks more questions.

        What comes is the value itself of a hit that needs no decision, then counted already, or else a
        `Found`. *tags*: those that the entry may well have, finished or not. What `wants` more is to be
        looked for again. A tag that is pending now counts as dropped when it has landed."""
        process = self._process
        if process.near.fallback is not None or not process.enabled:
            return None
        if self._pending.some and self._pending.covers(key, ()):
            return None
        return self._looks.judged(key, call, tags)

    async def find(self, key: str, call: Call, *, whole: bool = False, seen: Found | None = None) -> Found:
        """Return what is stored under *key* and what it is worth to *call*.

        A fresh value comes without its entry where nobody holds it near, unless *whole*. *seen*: what a
        first look brought."""
        found = self._at_once(key, call)
        while found is None:
            wants = () if seen is None else seen.wants
            looked = await self._looks.read((key,), wants, likely=call.tags)
            seen = self._weigh(looked, key, call, whole=whole)
            if not seen.wants:
                found = seen
        return found

    async def find_many(self, calls: Mapping[str, Call]) -> dict[str, Found]:
        """Return the same for each key of *calls*."""
        found = {key: known for key, call in calls.items() if (known := self._at_once(key, call)) is not None}
        left = [key for key in calls if key not in found]
        likely = unique(tag for key in left for tag in calls[key].tags)
        wants: tuple[str, ...] = ()
        while left:
            looked = await self._looks.read(left, wants, likely=likely)
            found |= {key: self._weigh(looked, key, calls[key]) for key in left}
            left = [key for key in left if found[key].wants]
            wants = unique(tag for key in left for tag in found[key].wants)
        return found

    def _at_once(self, key: str, call: Call) -> Found | None:
        """Return what is known without looking."""
        if self._process.near.fallback is not None and self._process.enabled:
            standing = self._fallback(key, call.policy)
            if standing is not None:
                return Found(verdict=FRESH, value=standing.value, entry=standing)
        if not self._process.enabled or self._pending.covers(key, call.tags):
            return UNTRUSTED
        return None

    def _tell(self, looked: Looked) -> None:
        """Give each who waits for *looked* what its key is worth to it."""
        process = self._process
        # Where nothing is pending and nobody needs the entry, the value is all it takes: a tag of which
        # anything was heard since this was asked for is not among those that are held.
        plain = not self._pending.some and process.near.store is None and process.verifier is None
        waiting = zip(looked.waiting, looked.asked, looked.calls, strict=True)
        looked.waiting, looked.asked, looked.calls = [], [], []
        for waiter, key, call in self._serve(looked, waiting) if plain and not looked.away else waiting:
            if waiter.done():
                continue
            if call is None:
                waiter.set_result(None)
                continue
            try:
                found = self._weigh(looked, key, call)
            except Exception as error:  # noqa: BLE001 - one's trouble is not the others'
                waiter.set_exception(error)
                continue
            call.tally.hits += found.verdict is FRESH
            bare = found.verdict is FRESH and process.verifier is None
            waiter.set_result(found.value if bare else found)

    def _serve(self, looked: Looked, waiting: Iterable[Waiting]) -> list[Waiting]:
        """Give a value to each whose hit needs no decision, as not even XFetch can fire; return the others.

        Every remote hit comes by here: what is the same for a function's calls is looked up once."""
        left: list[Waiting] = []
        packer, found, held, space = self._packer, looked.found, looked.held, looked.versions[SPACE]
        now, open_ = packer.now(), packer.open
        asked: Call | None = None  # whose these three are
        eagerness = 0.0
        version: str | None = None
        read: Callable[[Stored], Any] = repr
        for each in waiting:
            waiter, key, call = each
            data = found.get(key)
            if data is None or call is None or waiter.done():
                left.append(each)
                continue
            try:
                if call is not asked:
                    policy, read = call.policy, packer.reader(call.type)
                    eagerness, version, asked = MAX_EXPONENTIAL * policy.beta, policy.version, call
                stored = open_(key, data)
                if (
                    now >= stored.fresh_until - eagerness * stored.delta
                    or stored.version != version
                    or stored.space != space
                    or (stored.tags and not stored.tags.items() <= held.items())
                ):
                    left.append(each)
                    continue
                value = (
                    self._shared(key, stored, call.type, looked.values) if looked.crowded else read(stored)
                )
            except Exception:  # noqa: BLE001 - one's trouble is not the others': `_weigh` meets and tells it
                left.append(each)
                continue
            call.tally.hits += 1
            waiter.set_result(value)
        return left

    def _weigh(self, looked: Looked, key: str, call: Call, *, whole: bool = False) -> Found:
        """Return what the answer says of *key*."""
        data = looked.found[key]
        stored = None if data is None else self.open(key, data)
        if data is None or stored is None:
            return UNTRUSTED if looked.away else Found(verdict=MISS, data=data)
        tags, policy, process = stored.tags, call.policy, self._process
        # Asked before the tags are looked up as well as after: the retry may land in between.
        if self._pending.covers(key, tags):
            return UNTRUSTED
        # A tag that nobody could know of was pending when this was asked for if it was dropped since.
        current = valid(stored, SPACE, looked.versions, looked.held)
        if tags and (current is None or not process.drops.quiet(key, tags, since=looked.since)):
            return Found(verdict=MISS, wants=tuple(tags))
        value: object = MISSING
        if current and stored.version == policy.version:
            value = self._value(key, stored, call.type, looked.values if looked.crowded else None)
        light = not whole and process.near.store is None and process.verifier is None
        if light and value is not MISSING and self._packer.calm(stored, policy.beta):
            return Found(verdict=FRESH, value=value)
        return self._worth(key, call, stored, value, data=data, mark=looked.mark)

    def judge(
        self,
        key: str,
        call: Call,
        stored: Stored,
        versions: Mapping[str, bytes | None],
        *,
        data: bytes,
        mark: int,
    ) -> Found:
        """Return what *stored* is worth under these versions; what can be served is put near."""
        value: object = MISSING
        if valid(stored, SPACE, versions) and stored.version == call.policy.version:
            value = self._value(key, stored, call.type, None)
        return self._worth(key, call, stored, value, data=data, mark=mark)

    def _worth(self, key: str, call: Call, stored: Stored, value: object, *, data: bytes, mark: int) -> Found:
        process, policy = self._process, call.policy
        if value is MISSING:  # most likely it was invalidated: not even a failed load may bring it back
            return Found(verdict=MISS, data=data, previous=tuple(stored.tags))
        entry = self._packer.entry(stored, value, policy.beta)
        now = process.clock.monotonic()
        retry_at = process.retry_at.get(key, 0.0)
        verdict = decide(entry, now=now, rand=process.draw(), policy=policy, retry_at=retry_at)
        if verdict is not MISS and verdict is not GRACE:
            process.keep(key, near_copy(entry, policy, now), since=mark)
        return Found(verdict=verdict, value=value, entry=entry, data=data, previous=entry.tags, mark=mark)

    def open(self, key: str, data: bytes) -> Stored | None:
        """Return what *data* says of itself; None, with an event, for what is none of ours."""
        try:
            return self._packer.open(key, data)
        except CodecError as error:
            self._reject(key, error)
            return None

    def _value(
        self, key: str, stored: Stored, type: object, values: dict[str, tuple[object, object]] | None
    ) -> object:
        """Return the value, decoded once for all who asked together; MISSING if it is none of *type*."""
        try:
            if values is not None:
                return self._shared(key, stored, type, values)
            return self._packer.value(stored, type)
        except CodecError as error:
            self._reject(key, error)
            return MISSING

    def _shared(
        self, key: str, stored: Stored, type: object, values: dict[str, tuple[object, object]]
    ) -> object:
        known = values.get(key)
        if known is None or known[0] is not type:
            known = values[key] = type, self._packer.value(stored, type)
        return known[1]

    def _reject(self, key: str, error: CodecError) -> None:
        self._process.emit(EntryRejected(key=key, reason=getattr(error, "reason", "undecodable")))

    # --- for a reader who would not -----------------------------------------------------------------

    async def look(self, keys: Iterable[str], type: object) -> dict[str, Entry]:
        """Return the valid entries of *keys*, fresh or not; nothing if the store is away."""
        since = self._process.near.ledger.mark
        mark = self._process.drops.mark
        wanted = [key for key in keys if not self._pending.covers(key, ())]
        looked = await self._looks.read(wanted, ())
        opened = {
            key: stored
            for key in wanted
            if (data := looked.found[key]) is not None and (stored := self.open(key, data)) is not None
        }
        tags = unique(tag for stored in opened.values() for tag in stored.tags)
        versions = looked.versions
        if tags:
            versions = {**versions, **(await self._looks.read((), tags)).versions}
        entries: dict[str, Entry] = {}
        for key, stored in opened.items():
            quiet = self._process.drops.quiet(key, stored.tags, since=mark)
            if not quiet or self._pending.covers(key, stored.tags):
                continue
            if not valid(stored, SPACE, versions):
                continue
            value = self._value(key, stored, type, looked.values)
            if value is not MISSING:
                entries[key] = self._packer.entry(stored, value, beta=1.0)
                self._process.keep(key, entries[key], since=since)
        return entries

    # --- for a reader who asks why ------------------------------------------------------------------

    async def explain(self, key: str) -> Elsewhere:
        """Return what stands on *key*; leaves no trace in figures and tells no event but of failures."""
        pending = self._pending.covers(key, ())
        stored, said = None, "nothing"
        try:
            (data,), _ = await self._remote.peek([key], [])
            if data is not None:
                try:
                    stored, said = self._packer.open(key, data), "an entry"
                except CodecError as error:
                    said = f"refused: {error}"
            tags = {} if stored is None else stored.tags
            _, versions = await self._remote.peek([], [SPACE, *tags])
            claims = await self._remote.claims(key)
        except StoreUnavailable:
            return Elsewhere(said="no answer", pending=pending)
        leases = [claim for claim in claims if claim.kind is ClaimKind.LEASE]
        return Elsewhere(
            said=said,
            entry=None if stored is None else self._packer.entry(stored, None, beta=1.0),
            size=None if data is None else len(data),
            codec=None if stored is None else stored.codec,
            outdated=tuple(tag for tag, version in tags.items() if versions[tag] != version),
            cleared=stored is not None and versions[SPACE] != stored.space,
            holder=leases[0].token.hex() if leases else None,
            held_for=leases[0].remaining if leases else None,
            writers=sum(claim.kind is ClaimKind.FENCE for claim in claims),
            pending=pending or (stored is not None and self._pending.covers(key, tags)),
        )

    # --- while the remote store is away -------------------------------------------------------------

    def keep_fallback(self, key: str, entry: Entry, policy: Policy, *, since: int) -> None:
        """Keep what was loaded while the store is away, as long as `fallback_ttl` allows."""
        process, near = self._process, self._process.near
        if policy.fallback_ttl <= 0 or not self._remote.breaker.open or not process.enabled:
            return
        if not near.ledger.quiet(key, entry.tags, since=since):
            return
        if near.fallback is None:
            near.fallback = MemoryStore(max_entries=FALLBACK_ENTRIES, clock=process.clock)
        until = min(entry.fresh_until, entry.born + policy.fallback_ttl)
        copy = Entry.of(
            entry.value, born=entry.born, fresh_until=until, tags=entry.tags, version=entry.version
        )
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
    return Entry.of(
        entry.value,
        born=entry.born,
        fresh_until=now + policy.near_ttl,
        tags=entry.tags,
        version=entry.version,
    )
