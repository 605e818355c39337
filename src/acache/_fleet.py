"""Loads of a fleet: one at a time per key, stored under a lease that the remote store gave.

A flight first looks into the remote store, without a task of its own. Only what is of no use there
becomes a load: it asks for the lease, and loads, waits, or takes what another has stored."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from acache._entry import Entry
from acache._feed import Hearing, News
from acache._loader import Loader
from acache._memory import MemoryStore
from acache._packing import Packer, Read, valid
from acache._pending import Pending
from acache._policy import (
    EARLY,
    FRESH,
    GRACE,
    HELD,
    MISS,
    STALE,
    Failed,
    Loaded,
    Policy,
    Settled,
    decide,
    settle,
    unique,
)
from acache._process import Arrival, CacheFlight, Process
from acache._remote import Looked, Looks, Remote
from acache._singleflight import launch
from acache.errors import CodecError, StoreUnavailable
from acache.events import EntryRejected, LoadFinished, RoundTripFailed, SetDiscarded
from acache.protocols import BUSY, FENCED, GRANTED, Grant, digest

LEASE: Final = 10.0  # seconds; renewed while the load runs
RENEWALS: Final = 3  # per length of a claim
POLL: Final = 0.5  # seconds between looks while waiting: the net under a lost message
SAME: Final = 1e-3  # seconds: two loads of a key do not begin so close to each other


class FleetLoads:
    """Drives flights with a remote store."""

    __slots__ = ("_hearing", "_loader", "_looks", "_max_ttl", "_packer", "_pending", "_process", "_remote")

    def __init__(
        self,
        process: Process,
        remote: Remote,
        packer: Packer,
        hearing: Hearing,
        pending: Pending,
        *,
        max_ttl: float,
    ) -> None:
        """Load for *process*; entries live *max_ttl* seconds at most in *remote*."""
        self._process = process
        self._remote = remote
        self._packer = packer
        self._hearing = hearing
        self._pending = pending
        self._loader = Loader(process)
        self._looks = Looks(process, remote)
        self._max_ttl = max_ttl

    # --- looking ------------------------------------------------------------------------------------

    def start(self, flight: CacheFlight) -> None:
        """Look into the remote store; load if that is of no use."""
        if self._land_fallback(flight):
            return
        flight.context = self._process.load_context() if self._process.inherit else None
        if not self._process.enabled or self._pending.covers(flight.key, flight.tags):
            self._spawn(flight, lambda: self._load_unstored(flight))
        else:
            self._look(flight, flight.call.tags)

    def _look(self, flight: CacheFlight, tags: tuple[str, ...]) -> None:
        near_mark = self._process.near.ledger.mark

        def landed(answer: Looked | None, _: BaseException | None) -> None:
            if flight.over or flight.abandoned:
                return
            try:
                self._looked(flight, tags, near_mark, answer)
            except Exception as problem:  # noqa: BLE001 - it goes to those who wait
                flight.crash(problem)

        self._looks.ask(flight.key, tags, landed)

    def _looked(
        self, flight: CacheFlight, tags: tuple[str, ...], near_mark: int, answer: Looked | None
    ) -> None:
        if answer is None:
            self._spawn(flight, lambda: self._load_unstored(flight))
            return
        data, versions = answer
        read = None if data is None else self.unpack(flight.key, data, flight.call.type, flight.call.policy)
        tags_read: Iterable[str] = () if read is None else read.versions
        # Asked before the tags are looked up as well as after: the retry may land in between.
        if self._pending.covers(flight.key, tags_read):
            self._spawn(flight, lambda: self._load_unstored(flight))
            return
        if not versions.keys() >= set(tags_read):
            self._look(flight, unique((*tags, *tags_read)))
            return
        arrival = self._judge(flight, read, versions, near_mark)
        if arrival is not None and not flight.forced:
            flight.land(arrival)
        else:
            if arrival is not None:
                flight.old = arrival.entry
            seen = None if data is None else digest(data)
            self._spawn(flight, lambda: self._fly(flight, seen, tuple(tags_read)))

    def _judge(
        self, flight: CacheFlight, read: Read | None, versions: Mapping[str, bytes | None], near_mark: int
    ) -> Arrival | None:
        """Return what an entry is worth to the flight, None if it has to load."""
        process, policy = self._process, flight.call.policy
        if read is None or not valid(read, self._remote.namespace, versions):
            flight.old = None  # what is gone was invalidated: not even a failed load may bring it back
            return None
        entry = read.entry
        if entry.version != policy.version:
            flight.old = None
            return None
        now = process.clock.monotonic()
        retry_at = process.retry_at.get(flight.key, 0.0)
        verdict = decide(entry, now=now, rand=process.draw(), policy=policy, retry_at=retry_at)
        if flight.refresh and flight.old is not None and abs(entry.born - flight.old.born) < SAME:
            return None
        if verdict is MISS or verdict is GRACE:
            flight.old = entry
            return None
        process.near.put(flight.key, near_copy(entry, policy, now), since=near_mark)
        return Arrival(value=entry.value, tags=entry.tags, entry=entry, verdict=verdict)

    def unpack(self, key: str, data: bytes, type: object, policy: Policy | None) -> Read | None:
        """Return the entry in *data*; None, with an event, for what is none of ours."""
        beta = 1.0 if policy is None else policy.beta
        try:
            return self._packer.unpack(key, data, type, beta=beta)
        except CodecError as error:
            reason = getattr(error, "reason", "undecodable")
            self._process.emit(EntryRejected(key=key, reason=reason))
            return None

    async def look(self, keys: list[str], type: object) -> dict[str, Entry]:
        """Return the valid entries of *keys*, fresh or not; nothing if the store is away."""
        near_mark = self._process.near.ledger.mark
        mark = self._process.drops.mark
        space = self._remote.namespace
        wanted = [key for key in keys if not self._pending.covers(key, ())]
        try:
            found, _ = await self._remote.peek(wanted, [])
            reads = {
                key: read
                for key, data in zip(wanted, found, strict=True)
                if data is not None and (read := self.unpack(key, data, type, None)) is not None
            }
            tags = unique(tag for read in reads.values() for tag in read.versions)
            _, versions = await self._remote.peek([], [space, *tags]) if reads else ([], {})
        except StoreUnavailable:
            return {}
        entries: dict[str, Entry] = {}
        for key, read in reads.items():
            quiet = self._process.drops.quiet(key, read.versions, since=mark)
            if quiet and valid(read, space, versions) and not self._pending.covers(key, read.versions):
                entries[key] = read.entry
                self._process.near.put(key, read.entry, since=near_mark)
        return entries

    # --- loading ------------------------------------------------------------------------------------

    def _spawn(self, flight: CacheFlight, run: Callable[[], Any]) -> None:
        process = self._process
        context = flight.context if flight.context is not None else process.context.copy()
        launch(flight, run, context=context, keep=process.background.keep)

    async def _fly(self, flight: CacheFlight, seen: bytes | None, previous: tuple[str, ...]) -> Arrival:
        """Ask for the lease until there is something to bring: a load, or another's."""
        process, key = self._process, flight.key
        while True:
            token = process.ids()
            news = self._hearing.expect(key)  # before asking, or the answer may come before we listen
            near_mark = process.near.ledger.mark
            try:
                grant = await self._ask(key, token, seen)
                if grant is None:
                    return await self._load_unstored(flight)
                if grant.kind is GRANTED:
                    return await self._load_under(flight, token, previous)
                if grant.kind is FENCED:
                    return await self._load_unstored(flight)
                data = grant.data
                if grant.kind is BUSY:
                    standing = self._standing(flight, grant)
                    if standing is not None:
                        return standing
                    await self._wait(news, grant.remaining)
                    data = news.data if news.holder == grant.holder else None
                    near_mark = news.mark
            finally:
                self._hearing.done(key, news)
            if data is None:
                continue
            seen = digest(data)
            read = self.unpack(key, data, flight.call.type, flight.call.policy)
            if read is None:
                continue
            previous = tuple(read.versions)
            versions = await self._versions_for(key, previous)
            if versions is None:
                return await self._load_unstored(flight)
            arrival = self._judge(flight, read, versions, near_mark)
            if arrival is not None:
                return arrival

    async def _versions_for(self, key: str, tags: tuple[str, ...]) -> Mapping[str, bytes | None] | None:
        """Return the versions by which an entry is judged; None if it cannot be trusted now.

        An invalidation that is pending when they are asked for may land before they are here."""
        if self._pending.covers(key, tags):
            return None
        try:
            _, versions = await self._remote.peek([], [self._remote.namespace, *tags])
        except StoreUnavailable:
            return None
        return None if self._pending.covers(key, tags) else versions

    async def _ask(self, key: str, token: bytes, seen: bytes | None) -> Grant | None:
        """Return the answer to a request for the lease, None if there is none.

        A request whose answer is lost may have been granted: the lease is given back."""
        try:
            return await self._remote.lease(key, token, ttl=LEASE, seen=seen)
        except StoreUnavailable:
            self._give_back(key, token)
            return None
        except asyncio.CancelledError:
            self._give_back(key, token)
            raise

    def _standing(self, flight: CacheFlight, grant: Grant) -> Arrival | None:
        """Return the value that a flight may bring without waiting for another's load."""
        process, old = self._process, flight.old
        now = process.clock.monotonic()
        if flight.refresh and not flight.waiting:
            process.hold_off(flight.key, now + min(grant.remaining, flight.call.policy.retry_after))
            return Arrival(value=None)  # nobody is there to get it
        if old is None or flight.forced:
            return None
        verdict = decide(old, now=now, rand=1.0, policy=flight.call.policy)
        if verdict in (FRESH, EARLY, STALE, HELD):
            return Arrival(value=old.value, stale=verdict is not FRESH)
        return None

    async def _wait(self, news: News, remaining: float) -> None:
        """Wait for a message about the key, for the end of the lease, or for the next poll."""
        jitter = 0.5 + self._process.draw()
        try:
            async with asyncio.timeout(min(remaining, POLL) * jitter + 0.001):
                await news.event.wait()
        except TimeoutError:
            return

    async def _load_under(self, flight: CacheFlight, token: bytes, previous: tuple[str, ...]) -> Arrival:
        process, remote, key = self._process, self._remote, flight.key
        if not process.current(flight):  # void already: its successor must not wait for this lease
            self._give_back(key, token)
            return await self._load_unstored(flight)
        flight.on_void = lambda: self._give_back(key, token)
        near_mark = process.near.ledger.mark
        renewing = process.background.start(renew(remote, (key,), (), token, LEASE))
        held = True
        try:
            tags = unique((*flight.call.tags, *previous))
            try:
                versions = await remote.versions(
                    [remote.namespace, *tags], ttl=self._tag_ttl(flight.call.policy)
                )
                stamp = await remote.stamp()
            except StoreUnavailable:
                return await self._load_unstored(flight)
            outcome = await self._load(flight)
            settled = self._settle(flight, outcome)
            entry = settled.entry
            if entry is not None and process.enabled:
                data = await self._prepare(flight, entry, versions, stamp)
                if data is not None:
                    held = False  # the commit ends the lease, whatever becomes of it
                    await self._commit(flight, entry, data, token, near_mark)
            return _arrival(outcome, settled)
        finally:
            renewing.cancel()
            flight.on_void = None
            if held:
                self._give_back(key, token)

    async def _load(self, flight: CacheFlight) -> Loaded | Failed:
        if flight.call.group is not None:
            return await self._loader.load_in_group(flight)
        return await self._loader.load(flight)

    async def _load_unstored(self, flight: CacheFlight) -> Arrival:
        """Load from the source and store nothing remotely: the store is away, or a writer is at work."""
        outcome = await self._load(flight)
        settled = self._settle(flight, outcome)
        if settled.entry is not None:
            self._keep_fallback(flight, settled.entry)
        return _arrival(outcome, settled)

    def _settle(self, flight: CacheFlight, outcome: Loaded | Failed) -> Settled:
        process = self._process
        now = process.clock.monotonic()
        settled = settle(outcome, flight.old, now=now, policy=flight.call.policy, rand=process.draw())
        if settled.stale:
            process.hold_off(flight.key, settled.retry_at)
        elif settled.error is not None:
            raise settled.error
        return settled

    # --- storing ------------------------------------------------------------------------------------

    async def _prepare(
        self, flight: CacheFlight, entry: Entry, versions: dict[str, bytes | None], stamp: bytes
    ) -> bytes | None:
        """Return the bytes to commit; None, and why is told, where the value must not be stored."""
        remote, space = self._remote, self._remote.namespace
        try:
            late = [tag for tag in entry.tags if tag not in versions]
            if late:
                versions |= await remote.versions(late, ttl=self._tag_ttl(flight.call.policy))
            ttl = self.physical_ttl(entry)
            if entry.tags and ttl > self._tag_ttl(flight.call.policy):
                await remote.versions([space, *entry.tags], ttl=ttl)
            if late and await remote.stamp() != stamp:
                self._discard(flight, "a tag was invalidated while it was loaded")
                return None
        except StoreUnavailable:
            self._discard(flight, "the remote store is away")
            return None
        known = {tag: version for tag in entry.tags if (version := versions[tag]) is not None}
        current = versions[space]
        if current is None or len(known) < len(entry.tags):
            self._discard(flight, "a writer is at work on a tag")
            return None
        if not self._process.current(flight, entry.tags) or self._pending.covers(flight.key, entry.tags):
            self._discard(flight, "it changed while it was loaded")
            return None
        try:
            return self._packer.pack(flight.key, entry, flight.call.type, space=current, versions=known)
        except CodecError as error:
            function = flight.call.tally.name
            self._process.emit(RoundTripFailed(function=function, key=flight.key, reason=str(error)))
            return None

    async def _commit(
        self, flight: CacheFlight, entry: Entry, data: bytes, token: bytes, near_mark: int
    ) -> None:
        process, key, ttl = self._process, flight.key, self.physical_ttl(entry)
        message = self._hearing.say_store(key, token, data)
        try:
            stored = await self._remote.commit(key, data, token, ttl=ttl, message=message)
        except StoreUnavailable:
            self._discard(flight, "the remote store is away")
            return
        if not stored:
            self._discard(flight, "the lease was lost, or the key changed meanwhile")
        elif process.current(flight, entry.tags):
            copy = near_copy(entry, flight.call.policy, process.clock.monotonic())
            process.near.put_own(key, copy, since=near_mark)
        function, seconds = flight.call.tally.name, entry.delta
        process.emit(
            LoadFinished(function=function, key=key, seconds=seconds, waiters=flight.waiting, stored=stored)
        )

    def _discard(self, flight: CacheFlight, reason: str) -> None:
        tally = flight.call.tally
        tally.discarded += 1
        self._process.emit(SetDiscarded(function=tally.name, key=flight.key, reason=reason))

    def _give_back(self, key: str, token: bytes) -> None:
        """Release a lease under which nothing was stored, and let those who wait ask again."""
        self._process.background.begin(self._release(key, token))

    async def _release(self, key: str, token: bytes) -> None:
        try:
            await self._remote.release((key,), (), token, message=self._hearing.say_done(key, token))
        except StoreUnavailable:
            return  # it ends by itself

    def physical_ttl(self, entry: Entry) -> float:
        """Return the seconds for which the remote store shall keep *entry*."""
        return min(self._max_ttl, max(0.001, entry.expires - self._process.clock.monotonic()))

    def _tag_ttl(self, policy: Policy) -> float:
        if policy.ttl is None or not isinstance(policy.ttl, float):
            return self._max_ttl
        return min(self._max_ttl, policy.ttl + policy.keep)

    # --- while the remote store is away -------------------------------------------------------------

    def _keep_fallback(self, flight: CacheFlight, entry: Entry) -> None:
        process, near, ttl = self._process, self._process.near, flight.call.policy.fallback_ttl
        if ttl <= 0 or not self._remote.breaker.open:
            return
        if not near.ledger.quiet(flight.key, entry.tags, since=flight.near_mark):
            return
        if near.fallback is None:
            near.fallback = MemoryStore(max_entries=10_000, clock=process.clock)
        until = min(entry.fresh_until, process.clock.monotonic() + ttl)
        copy = Entry(entry.value, born=entry.born, fresh_until=until, tags=entry.tags, version=entry.version)
        near.fallback.put(flight.key, copy)

    def _land_fallback(self, flight: CacheFlight) -> bool:
        near = self._process.near
        if near.fallback is None or not self._remote.breaker.open:
            return False
        entry = near.fallback.lookup(flight.key)
        now = self._process.clock.monotonic()
        if entry is None or now >= entry.fresh_until or entry.version != flight.call.policy.version:
            return False
        flight.land(Arrival(value=entry.value, entry=entry, verdict=FRESH))
        return True


async def renew(
    remote: Remote, keys: tuple[str, ...], tags: tuple[str, ...], token: bytes, ttl: float
) -> None:
    """Prolong a token's claims until cancelled; those that were lost are lost."""
    while True:
        await asyncio.sleep(ttl / RENEWALS)
        try:
            await remote.renew(keys, tags, token, ttl=ttl)
        except StoreUnavailable:
            continue


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


def _arrival(outcome: Loaded | Failed, settled: Settled) -> Arrival:
    if isinstance(outcome, Failed):
        return Arrival(value=settled.value, stale=True)
    return Arrival(value=settled.value, tags=outcome.tags)
