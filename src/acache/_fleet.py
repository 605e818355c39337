"""Loads of a fleet: one at a time per key, stored under a lease that the remote store gave.

A flight asks for the lease, naming the entry that a look has found (`_finding`), and then loads,
waits, or takes what another has stored."""

import asyncio
from collections.abc import Mapping
from typing import Final

from acache._entry import Entry
from acache._feed import Hearing, News
from acache._finding import Finder, near_copy
from acache._ledger import NEVER
from acache._loader import Loader
from acache._packing import Packer
from acache._pending import Pending
from acache._policy import (
    EARLY,
    FRESH,
    GRACE,
    HELD,
    MISS,
    STALE,
    Failed,
    Outcome,
    Policy,
    Settled,
    decide,
    settle,
    unique,
)
from acache._process import Arrival, CacheFlight, Found, Process
from acache._remote import SPACE, NotAsked, Remote
from acache._singleflight import launch
from acache.errors import CodecError, StoreUnavailable
from acache.events import LeaseAwaited, LoadFinished, RoundTripFailed, SetDiscarded
from acache.protocols import BUSY, FENCED, GRANTED, Grant, digest

LEASE: Final = 10.0  # seconds; renewed while the load runs
RENEWALS: Final = 3  # per length of a claim
POLL: Final = 0.5  # seconds between looks while waiting: the net under a lost message
SAME: Final = 1e-3  # seconds: two loads of a key do not begin so close to each other


class FleetLoads:
    """Drives flights with a remote store."""

    __slots__ = ("_finder", "_hearing", "_loader", "_max_ttl", "_packer", "_pending", "_process", "_remote")

    def __init__(
        self,
        process: Process,
        remote: Remote,
        packer: Packer,
        hearing: Hearing,
        pending: Pending,
        finder: Finder,
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
        self._finder = finder
        self._max_ttl = max_ttl

    # --- loading ------------------------------------------------------------------------------------

    def start(self, flight: CacheFlight) -> None:
        """Drive a registered flight by a task of its own."""
        process = self._process
        context = process.load_context() if process.inherit else process.context.copy()
        launch(flight, lambda: self._run(flight), context=context, tasks=process.background.tasks)

    async def _run(self, flight: CacheFlight) -> Arrival:
        found = flight.found
        if found is None:
            found = await self._finder.find(flight.key, flight.call, whole=True)
            if found.trusted:
                served = self._served(flight, found)
                flight.old = found.entry
                if served is not None and not flight.forced:
                    return served
        if not found.trusted:
            return await self._load_unstored(flight)
        seen = None if found.data is None else digest(found.data)
        try:
            return await self._fly(flight, seen, found.previous)
        finally:
            if flight.lease_wait:
                self._tell_wait(flight)

    def _served(self, flight: CacheFlight, found: Found) -> Arrival | None:
        """Return what a flight may bring without a load: for a refresh that is another entry than its own."""
        entry = found.entry
        if entry is None or found.verdict is MISS or found.verdict is GRACE:
            return None
        if flight.refresh and flight.old is not None and abs(entry.born - flight.old.born) < SAME:
            return None
        return Arrival(value=entry.value, tags=entry.tags, entry=entry, verdict=found.verdict)

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
                    await self._wait(flight, news, grant.remaining)
                    data = news.data if news.holder == grant.holder else None
                    # It was stored before it was told: what was dropped here in between is not to come back.
                    near_mark = news.mark if process.current(flight) else NEVER
            finally:
                self._hearing.done(key, news)
            if data is None:
                continue
            seen = digest(data)
            stored = self._finder.open(key, data)
            if stored is None:
                continue
            previous = tuple(stored.tags)
            versions = await self._versions_for(key, previous)
            if versions is None:
                return await self._load_unstored(flight)
            found = self._finder.judge(key, flight.call, stored, versions, data=data, mark=near_mark)
            served = self._served(flight, found)
            if served is not None:
                return served
            flight.old = found.entry

    async def _versions_for(self, key: str, tags: tuple[str, ...]) -> Mapping[str, bytes | None] | None:
        """Return the versions by which an entry is judged; None if it cannot be trusted now.

        An invalidation that is pending when they are asked for may land before they are here."""
        if self._pending.covers(key, tags):
            return None
        try:
            _, versions = await self._remote.peek([], [SPACE, *tags])
        except StoreUnavailable:
            return None
        return None if self._pending.covers(key, tags) else versions

    async def _ask(self, key: str, token: bytes, seen: bytes | None) -> Grant | None:
        """Return the answer to a request for the lease, None if there is none.

        A request whose answer is lost may have been granted: the lease is given back."""
        try:
            return await self._remote.lease(key, token, ttl=LEASE, seen=seen)
        except NotAsked:
            return None
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
        if flight.refresh and flight.kept and not flight.waiting:
            process.hold_off(flight.key, now + min(grant.remaining, flight.call.policy.retry_after))
            return Arrival(value=None)  # nobody is there to get it
        if old is None or flight.forced:
            return None
        verdict = decide(old, now=now, rand=1.0, policy=flight.call.policy)
        if verdict in (FRESH, EARLY, STALE, HELD):
            return Arrival(value=old.value, stale=verdict is not FRESH)
        return None

    async def _wait(self, flight: CacheFlight, news: News, remaining: float) -> None:
        """Wait for a message about the key, for the end of the lease, or for the next poll."""
        jitter = 0.5 + self._process.draw()
        since = self._process.clock.monotonic()
        try:
            async with asyncio.timeout(min(remaining, POLL) * jitter + 0.001):
                await news.event.wait()
        except TimeoutError:
            return
        finally:
            flight.lease_wait += self._process.clock.monotonic() - since

    def _tell_wait(self, flight: CacheFlight) -> None:
        tally, seconds = flight.call.tally, flight.lease_wait
        tally.lease_time.add(seconds)
        self._process.emit(LeaseAwaited(function=tally.name, key=flight.key, seconds=seconds))

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
                versions = await remote.versions([SPACE, *tags], ttl=self._tag_ttl(flight.call.policy))
                stamp = await remote.stamp()
            except StoreUnavailable:
                return await self._load_unstored(flight)
            outcome = await self._load(flight)
            settled = self._settle(flight, outcome)
            entry = settled.entry
            if entry is not None and process.enabled:
                data = await self._prepare(flight, entry, versions, stamp)
                if data is not None:
                    held = not await self._commit(flight, entry, data, token, near_mark)
            return _arrival(outcome, settled)
        finally:
            renewing.cancel()
            flight.on_void = None
            if held:
                self._give_back(key, token)

    async def _load(self, flight: CacheFlight) -> Outcome:
        if flight.call.group is not None:
            return await self._loader.load_in_group(flight)
        return await self._loader.load(flight)

    async def _load_unstored(self, flight: CacheFlight) -> Arrival:
        """Load from the source and store nothing remotely: the store is away, or a writer is at work."""
        outcome = await self._load(flight)
        settled = self._settle(flight, outcome)
        if settled.entry is not None:
            entry, policy = settled.entry, flight.call.policy
            self._finder.keep_fallback(flight.key, entry, policy, since=flight.near_mark)
        return _arrival(outcome, settled)

    def _settle(self, flight: CacheFlight, outcome: Outcome) -> Settled:
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
        remote = self._remote
        try:
            late = [tag for tag in entry.tags if tag not in versions]
            if late:
                versions |= await remote.versions(late, ttl=self._tag_ttl(flight.call.policy))
            ttl = self.physical_ttl(entry)
            if ttl > self._lifetime(flight.call.policy):
                await remote.versions([SPACE, *entry.tags], ttl=ttl)
            if late and await remote.stamp() != stamp:
                self._discard(flight, "a tag was invalidated while it was loaded")
                return None
        except StoreUnavailable:
            self._discard(flight, "the remote store is away")
            return None
        known = {tag: version for tag in entry.tags if (version := versions[tag]) is not None}
        current = versions[SPACE]
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
    ) -> bool:
        """Store *data*; say whether there was an answer: then the lease has ended."""
        process, key, ttl = self._process, flight.key, self.physical_ttl(entry)
        message = self._hearing.say_store(key, token, data)
        try:
            stored = await self._remote.commit(key, data, token, ttl=ttl, message=message)
        except StoreUnavailable:
            self._discard(flight, "the remote store is away")
            process.near.stored_elsewhere((key,))  # it may stand there all the same
            return False
        except asyncio.CancelledError:
            process.near.stored_elsewhere((key,))
            raise
        if not stored:
            self._discard(flight, "the lease was lost, or the key changed meanwhile")
        else:
            since = near_mark if process.current(flight, entry.tags) else NEVER
            copy = near_copy(entry, flight.call.policy, process.clock.monotonic())
            process.keep(key, copy, since=since, own=True)
        function, seconds = flight.call.tally.name, entry.delta
        process.emit(
            LoadFinished(function=function, key=key, seconds=seconds, waiters=flight.waiting, stored=stored)
        )
        return True

    def _discard(self, flight: CacheFlight, reason: str) -> None:
        tally = flight.call.tally
        tally.discarded += 1
        self._process.emit(SetDiscarded(function=tally.name, key=flight.key, reason=reason))

    def _give_back(self, key: str, token: bytes) -> None:
        """Release a lease under which nothing was stored, and let those who wait ask again."""
        self._process.background.begin(self._release(key, token))

    async def _release(self, key: str, token: bytes) -> None:
        message = self._hearing.say_done(key, token)
        try:
            await self._remote.release((key,), (), token, message=message)
        except StoreUnavailable:
            self._process.background.start(self._release_later(key, token, message))

    async def _release_later(self, key: str, token: bytes, message: bytes) -> None:
        """Try again for as long as the lease stands: others wait for its end."""
        clock = self._process.clock
        until = clock.monotonic() + LEASE
        while clock.monotonic() < until:
            await asyncio.sleep(POLL)
            try:
                await self._remote.release((key,), (), token, message=message)
            except StoreUnavailable:
                continue
            return

    def physical_ttl(self, entry: Entry) -> float:
        """Return the seconds for which the remote store shall keep *entry*."""
        return min(self._max_ttl, max(0.001, entry.expires - self._process.clock.monotonic()))

    def _tag_ttl(self, policy: Policy) -> float:
        """Return the seconds for which versions are to live that are made before a load begins."""
        load = self._max_ttl if policy.max_load_time is None else policy.max_load_time
        return min(self._max_ttl, self._lifetime(policy) + load)

    def _lifetime(self, policy: Policy) -> float:
        """Return the most seconds for which an entry of this policy is of use once it is loaded."""
        if policy.ttl is None or not isinstance(policy.ttl, float):
            return self._max_ttl
        return min(self._max_ttl, policy.ttl + policy.keep)


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


def _arrival(outcome: Outcome, settled: Settled) -> Arrival:
    if isinstance(outcome, Failed):
        return Arrival(value=settled.value, stale=True)
    return Arrival(value=settled.value, tags=outcome.tags)
