"""Who may store what, where there is no remote store: this process, in the server's place.

Claims live in memory and need no expiry: they end with the block that made them. Every change is
one plain function, so what a server does in a script is here a step that nobody can interleave."""

from collections.abc import Mapping, Sequence
from math import inf

from acache._claims import Claims
from acache._elsewhere import Elsewhere
from acache._entry import Entry
from acache._guarantees import guarantees
from acache._health import Health
from acache._loader import Loader
from acache._policy import Failed, Outcome, settle
from acache._process import Arrival, CacheFlight, Process
from acache._singleflight import launch
from acache.events import LoadFinished, SetDiscarded


class Solo:
    """Loads, stores and invalidates within this process."""

    __slots__ = ("_key_claims", "_loader", "_process", "_tag_claims")

    finder = None  # near is all there is

    def __init__(self, process: Process) -> None:
        """Decide for *process*."""
        self._process = process
        self._loader = Loader(process, self._landed)
        self._open()
        process.moved.append(self._open)

    def _open(self) -> None:
        self._key_claims = Claims()
        self._tag_claims = Claims()
        self._process.near.trusted_until = inf

    # --- loads --------------------------------------------------------------------------------------

    def start(self, flight: CacheFlight) -> None:
        """Drive a registered flight: by a task of its own, or with the batch of its tick."""
        process, call = self._process, flight.call
        if call.group is None:
            launch(
                flight,
                lambda: self._fly(flight),
                context=process.load_context(),
                tasks=process.background.tasks,
            )
            return
        self._loader.join_batch(flight)

    def _landed(self, flight: CacheFlight, outcome: Outcome) -> None:
        try:
            flight.land(self._arrive(flight, outcome))
        except BaseException as problem:  # noqa: BLE001 - it goes to those who wait
            flight.crash(problem)

    async def _fly(self, flight: CacheFlight) -> Arrival:
        return self._arrive(flight, await self._loader.load(flight))

    def _arrive(self, flight: CacheFlight, outcome: Outcome) -> Arrival:
        process, call = self._process, flight.call
        rand = process.draw() if call.policy.jitter else 1.0
        settled = settle(outcome, flight.old, process.clock.monotonic(), call.policy, rand)
        if isinstance(outcome, Failed):
            if not settled.stale:
                raise outcome.error
            process.hold_off(flight.key, settled.retry_at)
            return Arrival(value=settled.value, stale=True)
        entry = settled.entry
        stored = entry is not None and process.enabled and self._keep(flight, entry)
        if process.observers:
            process.emit(
                LoadFinished(
                    function=call.tally.name,
                    key=flight.key,
                    seconds=outcome.delta,
                    waiters=flight.waiting,
                    stored=stored,
                )
            )
        return Arrival(value=settled.value, tags=outcome.tags)

    def _keep(self, flight: CacheFlight, entry: Entry) -> bool:
        if self._fenced(flight.key, entry.tags):
            reason = "a writer is at work on it"
        elif self._process.current(flight, entry.tags):
            return self._process.keep(flight.key, entry, since=flight.near_mark)
        else:
            reason = "it changed while it was loaded"
        tally = flight.call.tally
        tally.discarded += 1
        self._process.emit(SetDiscarded(function=tally.name, key=flight.key, reason=reason))
        return False

    def _fenced(self, key: str, tags: Sequence[str]) -> bool:
        return self._key_claims.fenced(key) or (bool(tags) and any(map(self._tag_claims.fenced, tags)))

    # --- reads and writes ---------------------------------------------------------------------------

    async def look(self, keys: Sequence[str], type: object) -> dict[str, Entry]:
        """Return what else than near may hold *keys*: nothing."""
        del keys, type
        return {}

    async def set(self, items: Mapping[str, Entry], type: object) -> None:
        """Store *items*, unless a writer is at work on one, which is then dropped and tainted."""
        del type
        process = self._process
        process.forget(tuple(items), ())
        since = process.near.ledger.mark
        for key, entry in items.items():
            if self._fenced(key, entry.tags):
                self._key_claims.taint(key)
            else:
                process.near.put(key, entry, since=since)

    async def invalidate(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Drop *keys* and all that carries *tags*; nothing that runs now will be stored."""
        self._taint(keys, tags)
        self._process.forget(keys, tags)

    def _taint(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        for key in keys:
            self._key_claims.taint(key)
        for tag in tags:
            self._tag_claims.taint(tag)

    async def clear(self) -> None:
        """Drop everything."""
        self._key_claims.taint_all()
        self._tag_claims.taint_all()
        self._process.forget_everything()

    # --- the fence ----------------------------------------------------------------------------------

    async def fence(self, keys: Sequence[str], tags: Sequence[str], token: bytes) -> None:
        """Drop *keys* and *tags*, and store nothing of them until `release`."""
        self._process.forget(keys, tags)
        for key in keys:
            self._key_claims.fence(key, token)
        for tag in tags:
            self._tag_claims.fence(tag, token)

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, commits: Mapping[str, Entry]
    ) -> dict[str, object]:
        """End the fence; store those of *commits* that nobody else touched meanwhile.

        Return the entries that were stored. Loads that began inside the block are void."""
        process = self._process
        process.forget(keys, tags)
        since = process.near.ledger.mark
        stored: dict[str, object] = {}
        sole_tags = {tag for tag in tags if self._tag_claims.sole(tag, token)}
        sole_keys = {key for key in commits if self._key_claims.sole(key, token)}
        for key in keys:
            self._key_claims.release(key, token)
        for tag in tags:
            self._tag_claims.release(tag, token)
        for key, entry in commits.items():
            if key in sole_keys and sole_tags.issuperset(entry.tags):
                if process.keep(key, entry, since=since):
                    stored[key] = entry
            else:
                reason = "another writer or an invalidation came between"
                process.emit(SetDiscarded(function="writing", key=key, reason=reason))
        return stored

    async def drop_older(
        self, keys: Sequence[str], tags: Sequence[str], *, keep: Mapping[str, object]
    ) -> None:
        """Drop *keys* and *tags*; an entry that is the very one of *keep* stays."""
        store = self._process.near.store
        spare: set[str] = set()
        if store is not None:
            held = store.lookup
            spare = {
                key
                for key, kept in keep.items()
                if (entry := held(key)) is not None and entry is kept and not entry.tags
            }
        self._taint(keys, tags)
        self._process.forget(keys, tags, spare=spare)

    async def explain(self, key: str) -> Elsewhere:
        """Return who is writing *key*; near is all else that there is."""
        standing = self._key_claims.of(key)
        return Elsewhere(said="", writers=0 if standing is None else len(standing.tokens))

    def health(self) -> Health:
        """There is no remote store that could ail."""
        return Health()

    def guarantees(self, *, signed: bool) -> Mapping[str, str]:
        """Say which promises hold in this process."""
        return guarantees(remote=None, leases=False, feed=False, near=True, signed=signed)

    async def aclose(self) -> None:
        """Nothing was opened."""
