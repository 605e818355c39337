"""Read and refresh: what every reading verb comes down to.

What is near is judged here (`decide`); what is not becomes a flight. Who may store a value, and
where, is the authority's business: this process alone (`_solo`), or a fleet that shares a remote
store (`_fleet`)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Final

from acache._authority import Authority, Finder
from acache._changes import Changes
from acache._entry import Entry
from acache._keys import LONGEST_READABLE, finish
from acache._parts import PART, parts, together
from acache._patience import Patience
from acache._policy import EARLY, FRESH, GRACE, HELD, MISS, STALE, Policy, Verdict, decide, unique
from acache._process import Arrival, CacheFlight, Call, Found, Process, inside_a_load
from acache._singleflight import join_all, running_loop
from acache._stats import Tally
from acache.events import HeadStartTooLong, LoadAwaited

NOT_CACHED: Final = "not cached: never stored, or evicted"
NOT_FOUND: Final = Found(verdict=MISS)


class Engine:
    """The verbs over one process's state and one authority."""

    __slots__ = ("_finder", "_nothing_near", "_patience", "authority", "changes", "process")

    def __init__(self, process: Process, authority: Authority) -> None:
        """Take the state and who decides about storing."""
        self.process = process
        self.authority = authority
        self.changes = Changes(process, authority)
        self._patience = Patience(process)
        self._finder = authority.finder
        self._nothing_near = process.near.store is None

    # --- reading ------------------------------------------------------------------------------------

    async def read(self, key: str, call: Call, seen: Found | None = None) -> Any:
        """Return the value of *key*, loaded if need be; *seen*: what a first look by `ahead` found.

        Raises what the load raised, LoadTimeout, RecursiveLoad, Overloaded. Cancelling is private."""
        process = self.process
        if process.closed or process.loop is not running_loop():
            process.enter()
        while True:
            entry, verdict = (None, MISS) if self._nothing_near else self.judge(key, call.policy)
            found = None
            looks = verdict is MISS or verdict is GRACE
            if self._finder is not None and looks and (seen is not None or self._looks(key, call.policy)):
                found, seen = await self._find(self._finder, key, call, seen), None
                if found.verdict is FRESH:
                    if process.verifier is not None and found.entry is not None:
                        self._verify(key, found.entry, call)
                    return found.value
                process.enter()  # it may have been closed meanwhile
                # Judged again: what was near may have been invalidated meanwhile.
                entry = found.entry if found.trusted else self.judge(key, call.policy)[0]
                verdict = found.verdict
            if verdict is not MISS and verdict is not GRACE:
                assert entry is not None  # noqa: S101 - only a miss has none
                inline = self.serve(key, call, entry, verdict, found)
                return entry.value if inline is None else await self._patience.refreshed(inline, call, entry)
            mark = process.drops.mark
            joined, flight = self._fly(key, call, entry, found)
            try:
                if call.policy.patient and not flight.over:
                    waiter = flight.enlist()  # as `flight.join()` does, but for its frame
                    try:
                        await waiter
                    finally:
                        flight.leave(waiter)
                    arrival = flight.result()
                else:
                    arrival = await self._patience.wait(flight, call)
            except BaseException:
                self._count_miss(call.tally, joined)
                raise
            # A tag that the load added may have been invalidated before this caller came.
            if arrival.tags and mark != flight.mark and not process.current(flight, arrival.tags):
                continue
            inline = self._count(flight, call, arrival, joined)
            return arrival.value if inline is None else await self._patience.refreshed(inline, call, arrival)

    async def _find(self, finder: Finder, key: str, call: Call, seen: Found | None) -> Found:
        """Return what there is of *key*, having counted it if it is fresh; *seen* is a first look."""
        if seen is None and (begun := finder.begin(key, call, call.tags)) is not None:
            answer = await begun
            seen = answer if answer.__class__ is Found else Found(verdict=FRESH, value=answer)
        if seen is None or seen.wants:
            seen = await finder.find(key, call, seen=seen)
            call.tally.hits += seen.verdict is FRESH
        return seen

    def ahead(self, call: Call, key: str, tags: tuple[str, ...]) -> Awaitable[Any] | None:
        """Return how to get what is not near in as few steps and bytes as can be; None: only by `read`.

        It is what `read` does for a caller who comes too late to begin a load, of whom there may be ten
        thousand for one cold key, and for one whose value is in the remote store. What comes is the
        value, or a `Found` from which `read` goes on. *call* need not say how to load; neither *key* nor
        *tags* need be finished."""
        process = self.process
        if process.closed or running_loop() is not process.loop:
            process.enter()
        if len(key) > LONGEST_READABLE:
            key = finish(key)
        if not call.policy.patient:
            return None
        if self._finder is not None:
            if process.verifier is not None or process.flights.get(key) is not None:
                return None
            return self._finder.begin(key, call, tags)
        flight = self._joinable(key)
        if flight is None or flight.refresh:  # beside a refresh there is a value to be served
            return None
        if process.observers:
            process.emit(LoadAwaited(function=call.tally.name, key=key))
        return self._join(flight, call.tally)

    async def _join(self, flight: CacheFlight, tally: Tally) -> Any:
        mark = self.process.drops.mark
        since = self.process.clock.monotonic()
        try:
            waiter = flight.enlist()  # as `flight.join()` does, but for its frame
            try:
                await waiter
            finally:
                flight.leave(waiter)
            arrival = flight.result()
        except BaseException:
            self._count_miss(tally, since)
            raise
        # A tag that the load added may have been invalidated before this caller came.
        if arrival.tags and mark != flight.mark and not self.process.current(flight, arrival.tags):
            return NOT_FOUND
        self._count_miss(tally, since)
        tally.stale += arrival.stale
        return arrival.value

    def _count(
        self, flight: CacheFlight, call: Call, arrival: Arrival, joined: float | None
    ) -> CacheFlight | None:
        """Count what came; return the refresh that this very caller shall wait for, if any.

        *joined*: when the caller joined what another had begun."""
        if arrival.entry is None:
            tally = call.tally
            tally.misses += 1
            tally.stale += arrival.stale
            if joined is not None:
                tally.coalesced += 1
                tally.waited += self.process.clock.monotonic() - joined
            return None
        # What was dropped since it was found must not be taken for what stands during a refresh.
        dropped = not self.process.current(flight, arrival.entry.tags)
        verdict = FRESH if flight.elected or dropped else arrival.verdict
        flight.elected = True
        return self.serve(flight.key, call, arrival.entry, verdict)

    def _count_miss(self, tally: Tally, joined: float | None) -> None:
        tally.misses += 1
        if joined is not None:
            tally.coalesced += 1
            tally.waited += self.process.clock.monotonic() - joined

    def judge(self, key: str, policy: Policy) -> tuple[Entry | None, Verdict]:
        """Return what is near of *key* and what it is worth to this read."""
        process = self.process
        near = process.near
        entry = near.store.lookup(key) if near.store is not None and process.enabled else None
        if entry is None or (now := process.clock.monotonic()) >= near.trusted_until:
            return None, MISS
        if entry.version != policy.version:
            return entry, MISS
        if now < entry.calm_until:
            return entry, FRESH
        retry_at = process.retry_at.get(key, 0.0)
        return entry, decide(entry, now=now, rand=process.draw(), policy=policy, retry_at=retry_at)

    def _looks(self, key: str, policy: Policy) -> bool:
        """Say whether a reader looks by itself: one who waits without a limit, for what nobody loads.

        Others leave that to a flight, which goes on when they have gone."""
        return policy.patient and self.process.flights.get(key) is None

    def _why(self, key: str, old: Entry | None, call: Call | None = None, found: Found | None = None) -> str:
        """Say why a read of *key* found nothing of use, for `explain`."""
        if found is not None and not found.trusted:
            return "the remote store is away, or has not heard of an invalidation yet"
        if old is None and found is not None and found.data is not None:
            return "invalidated, or stored by another version or as another type"
        if old is None:
            drops = self.process.drops
            heard = drops.mark and not drops.quiet(key, () if call is None else call.tags, since=0)
            return "invalidated" if heard else NOT_CACHED
        if call is not None and old.version != call.policy.version:
            return f"stored by version {old.version!r}, wanted {call.policy.version!r}"
        return "expired"

    def _joinable(self, key: str) -> CacheFlight | None:
        process = self.process
        flight = process.flights.get(key)
        if flight is None:
            return None
        if process.max_join_age < inf:
            now = process.clock.monotonic()
            if now >= process.near.trusted_until and now - flight.started > process.max_join_age:
                process.flights.forget(flight)
                return None
        if inside_a_load():
            process.lend_slot(flight)
        return flight

    def start(
        self,
        key: str,
        call: Call,
        *,
        old: Entry | None,
        refresh: bool = False,
        kept: bool = False,
        forced: bool = False,
        found: Found | None = None,
    ) -> CacheFlight:
        """Begin a flight and have it driven; with an eager task it may be over already.

        *refresh*: there is a value that can be served; *kept*: it belongs to no caller; *forced*: it is
        loaded whatever is stored."""
        if old is not None and old.version != call.policy.version:
            old = None  # of another version nothing may be served, not even if the load fails
        if found is not None and found.entry is not None:
            tags = (*call.tags, *found.previous)
            if not self.process.near.ledger.quiet(key, tags, since=found.mark):
                old = found = None  # changed since it was looked at: who joins the flight must not get it
        process = self.process
        flight = CacheFlight(
            key,
            process.flights,
            call=call,
            mark=process.drops.mark,
            near_mark=process.near.ledger.mark,
            old=old,
            refresh=refresh,
            kept=kept,
            forced=forced,
            started=process.clock.monotonic(),
            tags=call.tags if old is None else unique((*call.tags, *old.tags)),
            found=found,
            nested=inside_a_load(),
        )
        process.flights.add(flight)
        try:
            self.authority.start(flight)
        except BaseException:  # such as an id that cannot be hashed: nobody must wait for it
            process.flights.forget(flight)
            raise
        return flight

    def serve(
        self, key: str, call: Call, entry: Entry, verdict: Verdict, found: Found | None = None
    ) -> CacheFlight | None:
        """Count a hit and have it refreshed if the verdict says so and nobody does yet.

        Return the flight that this very caller shall wait for, if the policy elects callers."""
        entry.used = True
        tally = call.tally
        tally.hits += 1
        tally.stale += verdict is STALE or verdict is HELD
        if verdict is FRESH and self.process.verifier is not None:
            self._verify(key, entry, call)
        if verdict not in (EARLY, STALE) or self.process.flights.get(key) is not None:
            return None
        if verdict is EARLY:
            self._note_head_start(call, entry)
        background = call.policy.refresh == "background"
        flight = self.start(key, call, old=entry, refresh=True, kept=background, found=found)
        return None if background else flight

    def _verify(self, key: str, entry: Entry, call: Call) -> None:
        verifier = self.process.verifier
        if verifier is not None and verifier.elects():
            verifier.check(key, entry, call)

    def _note_head_start(self, call: Call, entry: Entry) -> None:
        head_start = entry.fresh_until - self.process.clock.monotonic()
        if call.tally.started_early(head_start):
            ttl = call.tally.ttl or 0.0
            mean = call.tally.head_start / call.tally.head_starts
            self.process.emit(HeadStartTooLong(function=call.tally.name, head_start=mean, ttl=ttl))

    async def refresh(self, key: str, call: Call) -> Any:
        """Load *key* now, whatever is cached, and return the value; joins a load that runs."""
        self.process.enter()
        flight = self._joinable(key)
        if flight is None:
            entry, _ = self.judge(key, call.policy)
            flight = self.start(key, call, old=entry, refresh=True, forced=True)
        flight.forced = True
        return (await self._patience.wait(flight, call)).value

    async def refresh_many(self, keys: Iterable[str], call_of: Callable[[str], Call]) -> dict[str, Any]:
        """Load *keys* now, whatever is cached; joins loads that run."""
        process = self.process
        process.enter()
        flights: dict[str, CacheFlight] = {}
        for key in keys:
            flight = self._joinable(key)
            if flight is None:
                call = call_of(key)
                entry, _ = self.judge(key, call.policy)
                flight = self.start(key, call, old=entry, refresh=True, forced=True)
            flight.forced = True
            flights[key] = flight
        await join_all(flights.values())
        return {key: flight.result().value for key, flight in flights.items()}

    async def read_many(
        self, keys: Iterable[str], shared: Call, call_of: Callable[[str], Call]
    ) -> dict[str, Any]:
        """Return the value of each key. What one group has to load becomes one call, or one a thousand.

        *shared* carries the policy and the tally of all; *call_of* makes the call of one key that
        has to be loaded. Raises the first error of a load that leaves its caller without a value."""
        keys = list(keys)
        if len(keys) <= PART:
            return await self._read_part(keys, shared, call_of)
        found: dict[str, Any] = {}
        rest: list[str] = []
        for part in parts(keys):
            self.process.enter()
            for key in part:
                entry, verdict = self.judge(key, shared.policy)
                if entry is None or verdict is not FRESH or self.process.verifier is not None:
                    rest.append(key)
                    continue
                found[key] = entry.value
                entry.used = True
                shared.tally.hits += 1
            await asyncio.sleep(0)
        for loaded in await together(self._read_part(part, shared, call_of) for part in parts(rest)):
            found |= loaded
        return found

    async def _read_part(
        self, keys: Iterable[str], shared: Call, call_of: Callable[[str], Call]
    ) -> dict[str, Any]:
        process = self.process
        process.enter()
        found: dict[str, Any] = {}
        while True:
            mark, heard = process.drops.mark, process.near.ledger.mark
            flights: dict[str, tuple[float | None, CacheFlight]] = {}
            inline: dict[str, CacheFlight] = {}
            judged = {key: self.judge(key, shared.policy) for key in keys}
            looked = await self._look_for(judged, shared.policy, call_of)
            if heard != process.near.ledger.mark:  # nobody may be given later what was invalidated meanwhile
                judged = {key: self.judge(key, shared.policy) for key in judged}
            for key, near in judged.items():
                seen = looked.get(key)
                if seen is not None and seen.verdict is FRESH:
                    found[key] = seen.value
                    shared.tally.hits += 1
                    if self.process.verifier is not None and seen.entry is not None:
                        self._verify(key, seen.entry, call_of(key))
                    continue
                entry, verdict = near if seen is None or not seen.trusted else (seen.entry, seen.verdict)
                if entry is None or verdict is MISS or verdict is GRACE:
                    flights[key] = self._fly(key, call_of(key), entry, seen)
                    continue
                found[key] = entry.value
                if verdict is FRESH:
                    entry.used = True
                    shared.tally.hits += 1
                    if self.process.verifier is not None:
                        self._verify(key, entry, call_of(key))
                elif (refresh := self.serve(key, call_of(key), entry, verdict, seen)) is not None:
                    inline[key] = refresh
            if not flights and not inline:
                return found
            keys = await self._wait_for_all(flights, inline, shared, call_of, found, mark)

    async def _look_for(
        self,
        judged: Mapping[str, tuple[Entry | None, Verdict]],
        policy: Policy,
        call_of: Callable[[str], Call],
    ) -> Mapping[str, Found]:
        """Return what is found elsewhere of those keys that near cannot serve."""
        if self._finder is None:
            return {}
        missing = [key for key, (_, verdict) in judged.items() if verdict is MISS or verdict is GRACE]
        wanted = [key for key in missing if self._looks(key, policy)]
        if not wanted:
            return {}
        found = await self._finder.find_many({key: call_of(key) for key in wanted})
        self.process.enter()  # it may have been closed meanwhile
        return found

    def _fly(
        self, key: str, call: Call, old: Entry | None, found: Found | None = None
    ) -> tuple[float | None, CacheFlight]:
        """Join the flight of *key* and say since when, or start one."""
        process = self.process
        unknown = old is None and found is None and not process.drops.mark  # what is usual
        process.note_miss(key, NOT_CACHED if unknown else self._why(key, old, call, found))
        if process.observers:
            process.emit(LoadAwaited(function=call.tally.name, key=key))
        flight = self._joinable(key)
        if flight is None:
            return None, self.start(key, call, old=old, found=found)
        return process.clock.monotonic(), flight

    async def _wait_for_all(
        self,
        flights: Mapping[str, tuple[float | None, CacheFlight]],
        inline: Mapping[str, CacheFlight],
        shared: Call,
        call_of: Callable[[str], Call],
        found: dict[str, Any],
        mark: int,
    ) -> list[str]:
        """Fill *found*; return the keys that have to be read again for a tag invalidated meanwhile."""
        late: list[str] = []
        try:
            await self._patience.wait_for(
                [*(flight for _, flight in flights.values()), *inline.values()], shared
            )
            arrivals = {key: self._patience.arrival(flight, shared) for key, (_, flight) in flights.items()}
        except BaseException:
            for joined, _ in flights.values():
                self._count_miss(shared.tally, joined)
            raise
        for key, (joined, flight) in flights.items():
            arrival = arrivals[key]
            if arrival.tags and mark != flight.mark and not self.process.current(flight, arrival.tags):
                late.append(key)
                continue
            # What was found may have to be refreshed, which takes the key's own call.
            call = shared if arrival.entry is None else call_of(key)
            self._count(flight, call, arrival, joined)
            found[key] = arrival.value
        for key, flight in inline.items():
            if flight.over and not flight.failed:
                found[key] = flight.result().value
        return late

    # --- without a loader ---------------------------------------------------------------------------

    def glance(self, key: str, tally: Tally) -> Entry | None:
        """Return what is near of *key*, counted as a hit, if it is fresh; else it takes a `look`."""
        process = self.process
        process.enter()
        now = process.clock.monotonic()
        entry = process.near.get(key, now) if process.enabled else None
        if entry is None or now >= entry.fresh_until:
            return None
        entry.used = True
        tally.hits += 1
        return entry

    async def look(self, keys: Sequence[str], type: object, tally: Any) -> dict[str, Any]:
        """Return the values of those of *keys*, each named once, that are cached and fresh."""
        process = self.process
        process.enter()
        if not process.enabled:
            return {}
        now = process.clock.monotonic()
        entries = {
            key: entry
            for key in keys
            if (entry := process.near.get(key, now)) is not None and now < entry.fresh_until
        }
        away = [key for key in keys if key not in entries]
        if away:
            entries |= await self.authority.look(away, type)
            now = process.clock.monotonic()
        found = {key: entry for key, entry in entries.items() if now < entry.fresh_until}
        for entry in found.values():
            entry.used = True
        for key in away:
            if key not in found:
                process.note_miss(key, self._why(key, process.near.get(key, now)))
        tally.hits += len(found)
        tally.misses += len(keys) - len(found)
        return {key: entry.value for key, entry in found.items()}

    # --- closing ------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End all loads and refreshes, wait for invalidations, leave no task."""
        process = self.process
        if process.close():
            await process.background.aclose()
            process.deadlines.close()  # no load is left, only those who wait for an answer
            await self.authority.aclose()
            await process.background.aclose()
        process.loop = None
