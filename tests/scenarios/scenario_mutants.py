"""Planted bugs, and the scenario that has to catch each: a zero without a caught mutant is not a result."""

from dataclasses import dataclass

from scenario_planting import Edit, planted
from scenario_registry import REGISTRY, SCHEDULERS

from acache.testing import explore
from acache.testing.explore import ViolationMissed

LIMIT = 1_000  # seeds within which a mutant has to be caught


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted bug."""

    name: str
    races: tuple[str, ...]
    edits: tuple[Edit, ...]
    scenario: str
    scheduler: str

    def caught_at(self, limit: int = LIMIT) -> int:
        """Return the seed that caught it. Raises ViolationMissed if none of *limit* does."""
        run = REGISTRY[self.scenario].run
        with planted(self.edits):
            found = explore(run, seeds=range(limit), scheduler=self.scheduler, expect_violation=True)
        return found.first_failing_seed


MUTANTS: list[Mutant] = []


def mutant(name: str, races: str, scenario: str, *edits: tuple[str, ...], scheduler: str = "random") -> None:
    """Add one: each edit is where, old, new and, if need be, more pairs of old and new."""
    made = tuple(Edit(where, tuple(zip(pairs[::2], pairs[1::2], strict=True))) for where, *pairs in edits)
    assert scheduler in SCHEDULERS
    MUTANTS.append(
        Mutant(name=name, races=tuple(races.split()), edits=made, scenario=scenario, scheduler=scheduler)
    )


# --- claims and commits -----------------------------------------------------------------------------

mutant(
    "a commit needs no claim",
    "commit_check",
    "changed_by_key_no_near",
    (
        "testing.server:MemoryServer.commit",
        "new = self._state.on_keys.sole(item.key, token, now=self.now())",
        "new = True",
    ),
)
mutant(
    "a commit checks in one step and stores in another",
    "two_steps",
    "changed_by_key_no_near",
    (
        "testing.remote:LeasingRemote.commit",
        "    def step() -> bool:\n",
        "    sole = []\n\n    def check():\n        sole.append(self.server._state.on_keys.sole(item.key, token, now=self.server.now()))\n\n    def step() -> bool:\n",
        "self.server.commit(item, token)",
        "(self.server.commit(item, token)[0] or (sole[0] and not self.server.set(item)), sole[0])",
        '[stands] = await self._ask("commit", [step])',
        '_, stands = await self._ask("commit", [check, step])',
    ),
)
mutant(
    "a commit needs only to be present",
    "V1",
    "two_fences",
    (
        "_claims:Claims.sole",
        "[*standing.tokens] == [token] and not standing.tainted",
        "token in standing.tokens",
    ),
)
mutant(
    "a commit ignores the taint",
    "V1 V2",
    "two_fences",
    ("_claims:Claims.sole", " and not standing.tainted", ""),
)
mutant(
    "a second fence replaces the first",
    "V1",
    "writers_that_are_killed",
    ("_claims:Claims.fence", "if standing is None or not standing.shared:", "if True:"),
)
mutant(
    "an invalidation does not taint the fence",
    "V2",
    "a_set_inside_anothers_fence",
    ("_claims:Claims.taint", "standing.tainted = True", "pass"),
)
mutant(
    "an invalidation deletes the fence",
    "V2",
    "writers_that_are_killed",
    ("_claims:Claims.taint", "if standing.shared:", "if False:"),
)
mutant(
    "an invalidation keeps the lease",
    "kept_lease",
    "changed_by_key_no_near",
    ("_claims:Claims.taint", "del self._names[name]", "pass"),
    scheduler="pct",
)
mutant(
    "a set keeps the lease",
    "kept_lease",
    "changed_by_set",
    ("testing.server:MemoryServer.put", "self._state.on_keys.taint(item.key, now=self.now())", "pass"),
    scheduler="pct",
)
mutant(
    "a writer's exit ends the fences of others",
    "V1",
    "writers_that_are_killed",
    (
        "_claims:Claims.release",
        "standing.tokens.pop(token, None) is not None and not standing.tokens",
        "not standing.tokens.clear()",
    ),
)
mutant(
    "the fence is not renewed",
    "V4",
    "a_long_block_whose_process_dies",
    ("_fleet_writes:renew", "while True:", "while False:"),
)
mutant(
    "tag versions go at exit, not at entry",
    "V4",
    "writers_that_are_killed",
    ("testing.server:MemoryServer.fence_tag", "self._state.versions.pop(tag, None)", "pass"),
)
mutant(
    "tags are not fenced",
    "V3",
    "two_keys_under_one_tag",
    (
        "testing.remote:LeasingRemote.fence",
        "partial(self.server.fence_tag, tag, token, ttl)",
        "partial(self.server.drop_tag, tag)",
    ),
    ("testing.server:MemoryServer.settle", "if sole else None", ""),
)
mutant(
    "an exit that may not store does not drop",
    "refused_exit",
    "a_writer_that_is_paused_past_its_fence",
    ("_fleet_writes:Fleet._end", "rest = [key for key in keys if key not in stored]", "rest = []"),
)
mutant(
    "an exit publishes nothing",
    "V6",
    "a_load_inside_the_fence",
    ("_fleet_writes:Fleet._end", "message=self._hearing.say_drop(keys, tags)", "message=None"),
)
mutant(
    "an exit does not forget at its end",
    "V13",
    "a_writer_that_is_paused_past_its_fence",
    ("_fleet_writes:Fleet.release", "process.forget(keys, tags)", "pass"),
)
mutant(
    "a block that raised voids nothing",
    "V14",
    "two_fences",
    (
        "_writing:Fence.exit",
        "process.forget(self._keys, self._tags)",
        "if not clean:\n        return await process.background.finish(self._engine.authority._remote.release(self._keys, self._tags, self._token, message=None))",
    ),
)
mutant(
    "a cancelled change is not carried through",
    "V11",
    "changes_that_are_cancelled",
    ("_background:Background.finish", "return await asyncio.shield(self.begin(work))", "return await work"),
)
mutant(
    "a committed value is held near whatever was cleared",
    "V10",
    "an_invalidation_inside_anothers_fence",
    ("_fleet_writes:Fleet.release", "unswept = not heard.swept(since=block.mark)", "unswept = True"),
    scheduler="pct",
)

# --- tags and stamps --------------------------------------------------------------------------------

mutant(
    "tag versions are read after the load",
    "late_versions",
    "changed_by_tag_no_near",
    (
        "_fleet:FleetLoads._load_under",
        "outcome = await self._load(flight)\n",
        "outcome = await self._load(flight)\n        versions = await remote.versions([SPACE, *tags], ttl=600)\n",
    ),
    scheduler="pct",
)
mutant(
    "tags do not count",
    "tags",
    "changed_by_tag_no_near",
    ("_finding:valid", "versions[tag] != version", "False"),
)
mutant(
    "a missing version is a match",
    "tags",
    "changed_by_tag_no_near",
    ("_finding:valid", "versions[tag] != version", "versions[tag] not in (version, None)"),
)
mutant(
    "the namespace's version does not count",
    "tags",
    "changed_by_clear_no_near",
    ("_finding:valid", "versions.get(space) != stored.space", "False"),
)
mutant(
    "a plain hit is not asked for its tags",
    "tags",
    "changed_by_tag_no_near",
    ("_finding:Finder._serve", "not stored.tags.items() <= held.items()", "False"),
)
mutant(
    "a plain hit is of whatever version the namespace has",
    "tags",
    "changed_by_clear_no_near",
    ("_finding:Finder._serve", "or stored.space != space", ""),
)
mutant(
    "a plain hit may be of a tag that is pending",
    "V15",
    "a_pending_invalidation_that_lands",
    ("_finding:Finder._tell", "not self._pending.some and", ""),
)
mutant(
    "a version that is held near outlives the message",
    "held_versions",
    "held_versions_and_drops_of_the_tag",
    ("_near:Near.forget", "self.versions.pop(tag, None)", "pass"),
)
mutant(
    "a version is held near whatever was heard since it was asked for",
    "held_versions",
    "held_versions_and_drops_of_the_tag",
    ("_near:Near.hold_versions", 'elif self.ledger.quiet("", (tag,), since=since):', "else:"),
    scheduler="pct",
)
mutant(
    "a version that is held near is always trusted",
    "held_versions",
    "held_versions_while_the_feed_is_slow",
    ("_near:Near.versions_at", "if now < self.trusted_until", "if True"),
    ("_near:Near.hold_versions", "now >= self.trusted_until", "False"),
)
mutant(
    "an entry that differs from what is held near is a miss",
    "held_versions",
    "held_versions_of_a_tag_that_was_evicted",
    ("_finding:valid", "current = None\n", "current = False if tag in held else None\n"),
)
mutant(
    "an entry is stamped with what is held near",
    "held_versions",
    "held_versions_of_a_tag_that_was_evicted",
    (
        "_fleet:FleetLoads._load_under",
        "outcome = await self._load(flight)\n",
        "versions |= process.near.versions\n        outcome = await self._load(flight)\n",
    ),
)

mutant(
    "the stamp is not read again after the load",
    "V7",
    "late_tags",
    ("_fleet:FleetLoads._prepare", "late and await remote.stamp() != stamp", "False"),
    scheduler="pct",
)
mutant(
    "the stamp is first read after the load",
    "V7",
    "late_tags",
    (
        "_fleet:FleetLoads._load_under",
        "outcome = await self._load(flight)\n",
        "outcome = await self._load(flight)\n        stamp = await remote.stamp()\n",
    ),
    scheduler="pct",
)
mutant(
    "the version goes before the stamp",
    "V7",
    "late_tags_that_nobody_hears_of",
    (
        "testing.remote:LeasingRemote.drop",
        'await self._replace_stamps("drop", tags)',
        "pass",
        'await self._change("drop", steps, message)',
        'await self._change("drop", steps, message)\n    await self._replace_stamps("drop", tags)',
    ),
    scheduler="pct",
)
mutant(
    "a stamp that was evicted comes back as it was",
    "V7",
    "a_stamp_that_is_evicted_during_a_load",
    ("testing.server:MemoryServer.stamp", "self.unique()", "bytes(16)"),
    (
        "testing.server:MemoryServer.replace_stamp",
        "self.unique()",
        "bytes(15) + bytes([1 + self._state.stamps.get(namespace, bytes(16))[15]])",
    ),
    scheduler="pct",
)
mutant(
    "joiners get a value whose late tag was dropped",
    "V7",
    "alone_with_late_tags_and_writers",
    ("_engine:Engine.read", "if arrival.tags and", "if False and"),
)
mutant(
    "what a look found does not name its tags",
    "V7",
    "joiners_of_a_judgement_of_anothers_value",
    ("_fleet:FleetLoads._served", "tags=entry.tags, ", ""),
    scheduler="pct",
)

# --- near and the feed ------------------------------------------------------------------------------

mutant(
    "near puts ignore messages",
    "V8 V10",
    "changed_by_key_near",
    ("_near:Near.put", "if not self.ledger.quiet(key, entry.tags, since=since):", "if False:"),
)
mutant(
    "near puts of stored values ignore messages",
    "V10 void_after_commit",
    "a_store_and_a_drop_close_behind",
    ("_near:Near.put_own", "quiet = self.ledger.quiet(key, entry.tags, since=since)", "quiet = True"),
    ("_fleet_writes:Fleet.release", "unswept and heard.quiet(key, commits[key].tags, since=since)", "True"),
)
mutant(
    "a gap is no message",
    "V8",
    "gaps_in_the_feed",
    ("_feed:Hearing.gap", "self._process.forget_near()", "pass"),
)
mutant(
    "a gap empties near and counts as no message",
    "V8",
    "an_answer_that_comes_after_the_gap",
    ("_near:Near.forget_everything", "self.ledger.hear_everything()", "pass"),
    scheduler="pct",
)
mutant(
    "trust counts from the answer of a ping",
    "V9",
    "a_feed_slower_than_the_contract",
    (
        "_feed:Hearing.alive",
        "until = sent +",
        "until = clock - sent + sent - (clock - asyncio.get_running_loop().time()) +",
    ),
)
mutant(
    "near is always trusted",
    "V9",
    "a_feed_slower_than_the_contract",
    ("_engine:Engine.judge", ">= near.trusted_until", "< 0"),
)
mutant(
    "messages go before the change",
    "early_message",
    "a_drop_that_takes_its_time",
    (
        "testing.remote:LeasingRemote._change",
        "        self.server.publish(message)\n",
        "        pass\n",
        "await self._ask(verb, [*steps[:-1], last])",
        "self.server.publish(message)\n    await self._ask(verb, [*steps[:-1], last])",
    ),
    scheduler="pct",
)
mutant(
    "any inline value is taken",
    "V16",
    "an_inline_value_after_an_own_drop",
    ("_fleet:FleetLoads._fly", "news.data if news.holder == grant.holder else None", "news.data"),
)
mutant(
    "what was said after an inline value is not counted",
    "V16",
    "an_inline_value_and_a_drop_close_behind",
    (
        "_fleet:FleetLoads._fly",
        "near_mark = news.mark if process.current(flight) else NEVER",
        "near_mark = process.near.ledger.mark",
    ),
    scheduler="pct",
)
mutant(
    "an inline value from before an own drop is held near",
    "V16",
    "an_inline_value_after_an_own_drop",
    ("_fleet:FleetLoads._fly", " if process.current(flight) else NEVER", ""),
)
mutant(
    "an own store keeps the older near copy",
    "V17",
    "a_refresh_whose_commit_is_interrupted",
    ("_near:Near.put_own", "self.stored_elsewhere((key,))", "pass"),
)
mutant(
    "an interrupted commit keeps the older near copy",
    "V17",
    "a_refresh_whose_commit_is_interrupted",
    ("_fleet:FleetLoads._commit", "process.near.stored_elsewhere((key,))\n        raise", "raise"),
)
mutant(
    "an own store that may not be near keeps the older near copy",
    "V17",
    "a_refresh_whose_commit_is_interrupted",
    ("_fleet:FleetLoads._commit", "process.keep(key", "since == NEVER or process.keep(key"),
)
mutant(
    "an invalidation makes no second pass",
    "second_pass",
    "changed_by_key_near",
    ("_fleet_writes:Fleet.invalidate", "self._process.forget(keys, tags)", "pass"),
)

# --- flights ----------------------------------------------------------------------------------------

mutant(
    "an invalidation does not forget the flight",
    "V5 first_pass",
    "alone_changed_by_key",
    ("_process:Process._void", "self.flights.forget(flight)", "pass"),
)
mutant(
    "messages do not reach flights",
    "V5",
    "slow_loads_that_others_join",
    ("_feed:Hearing.heard", "self._process.forget(keys, tags)", "self._process.near.forget(keys, tags)"),
    scheduler="pct",
)
mutant(
    "flights of any age are joined while the feed is away",
    "V5",
    "slow_loads_while_the_feed_is_away",
    ("_engine:Engine._joinable", "now - flight.started > process.max_join_age", "False"),
    scheduler="pct",
)
mutant(
    "a void load is stored",
    "void_flight",
    "alone_changed_by_key",
    ("_solo:Solo._keep", "elif self._process.current(flight, entry.tags):", "elif True:"),
    ("_near:Near.put", "if not self.ledger.quiet(key, entry.tags, since=since):", "if False:"),
)
mutant(
    "a void load is kept while the store is away",
    "void_flight",
    "fallbacks",
    ("_finding:Finder.keep_fallback", "if not near.ledger.quiet(key, entry.tags, since=since):", "if False:"),
)
mutant(
    "a void load keeps its lease",
    "void_load",
    "void_loads_give_way",
    ("_process:Process._void", "flight.on_void()", "pass"),
)
mutant(
    "a refresh asks for no lease",
    "P2",
    "one_refresh_in_the_fleet",
    (
        "_fleet:FleetLoads._fly",
        "grant = await self._ask(key, token, seen)",
        "if flight.refresh:\n                return await self._load_under(flight, token, previous)\n            grant = await self._ask(key, token, seen)",
    ),
)
mutant(
    "a refresh that somebody joined gives up",
    "joined_refresh",
    "refreshes_of_what_was_just_dropped",
    (
        "_fleet:FleetLoads._standing",
        "if flight.refresh and flight.kept and not flight.waiting:",
        "if flight.refresh:",
    ),
)
mutant(
    "leases are not renewed",
    "P2",
    "one_load_in_the_fleet",
    ("_fleet:renew", "while True:", "while False:"),
)
mutant(
    "the last caller but one cancels the load",
    "P3",
    "callers_who_are_cancelled",
    (
        "_singleflight:Flight.leave",
        "if self._waiter is None and not self._more and not self.kept:",
        "if not self.kept:",
    ),
)
mutant(
    "a failed load is joined by who comes later",
    "P4",
    "one_error_for_all",
    ("_singleflight:Flight._end", "self.registry.forget(self)", "self._error or self.registry.forget(self)"),
)
mutant(
    "a cancelled load keeps its lease",
    "P3",
    "all_callers_of_a_process_are_cancelled",
    ("_fleet:FleetLoads._give_back", "self._process.background.begin(self._release(key, token))", "pass"),
)
mutant(
    "a cancelled commit keeps its lease",
    "P3",
    "all_callers_of_a_process_are_cancelled",
    (
        "_fleet:FleetLoads._load_under",
        "held = not await self._commit",
        "held = False\n                await self._commit",
    ),
    scheduler="pct",
)
mutant(
    "a batch is joined after it was sent",
    "batch",
    "batch_loads",
    ("_batching:Batcher._depart", "del self._open[group]", "pass"),
)
mutant(
    "a look is joined after it was sent",
    "batch",
    "joiners_of_a_look_at_late_tags",
    ("_looking:Looks._leave", "looked, self._filling = self._filling, None", "looked = self._filling"),
)

mutant(
    "a load that failed is joined by those who come later",
    "errors",
    "waiters_of_a_load_that_fails",
    (
        "_singleflight:Flight._end",
        "self.registry.forget(self)",
        "self._error is None and self.registry.forget(self)",
    ),
)
mutant(
    "alone, what an invalidation overtook is stored",
    "void_flight register",
    "register_alone",
    ("_solo:Solo._keep", "elif self._process.current(flight, entry.tags):", "elif True:"),
    ("_near:Near.put", "if not self.ledger.quiet(key, entry.tags, since=since):", "if False:"),
)
mutant(
    "a tag's version does not count in a history",
    "tags register",
    "register_near",
    ("_finding:valid", "versions[tag] != version", "False"),
)

# --- the store away ---------------------------------------------------------------------------------

mutant(
    "a pending invalidation is forgotten",
    "pending",
    "outages",
    ("_pending:Pending.add", "self._noted += 1", "return"),
    scheduler="pct",
)
mutant(
    "a block stores what a pending invalidation covers",
    "pending_inside",
    "an_invalidation_pending_inside_a_fence",
    ("_fleet_writes:Fleet._end", " or self.pending.covers(key, entry.tags)", ""),
)
mutant(
    "a pending invalidation does not keep readers off",
    "V15",
    "a_pending_invalidation_that_lands",
    ("_pending:Pending.covers", "if not self.some:", "if True:"),
)
mutant(
    "a retry that lands makes no pass",
    "V12",
    "looks_while_a_retry_lands",
    ("_pending:Pending.attempt", "self._process.forget(keys, tags)", "pass"),
)
mutant(
    "a retry that lands speaks for what came later",
    "pending",
    "invalidated_again_while_the_first_lands",
    (
        "_pending:Pending.attempt",
        "for key, at in self._keys.items() if at > noted",
        "for key, at in ()",
        "if self._everything <= noted:",
        "if True:",
    ),
)
mutant(
    "the pending list has no bound",
    "collapse",
    "too_many_to_remember",
    ("_pending:Pending.add", "len(self) > LIMIT", "False"),
)
mutant(
    "a lost invalidation raises nothing",
    "raise",
    "lost_invalidations_that_raise",
    ("_fleet_writes:Fleet._complain", "if not landed and self._raises:", "if False:"),
)
mutant(
    "the breaker never opens",
    "P5",
    "a_server_that_hangs",
    ("_breaker:Breaker.failed", "self.open = True", "pass"),
)
mutant(
    "requests have no net",
    "P5",
    "a_server_that_hangs",
    ("_remote:Remote._ask", "asyncio.timeout(self._net)", "asyncio.timeout(None)"),
)
mutant(
    "a failed look fails the read",
    "P5",
    "no_read_fails",
    ("_remote:Remote._peek_and_tell", "except StoreUnavailable:", "except ZeroDivisionError:"),
)
mutant(
    "a prompt store that fails is waited for without end",
    "P5",
    "reads_without_a_task",
    ("_remote:_Reply.set_exception", "tell(None)", "pass"),
)
mutant(
    "fallbacks live from when they were loaded to the end",
    "fallback",
    "fallbacks_lag_by_their_time",
    (
        "_finding:Finder.keep_fallback",
        "min(entry.fresh_until, entry.born + policy.fallback_ttl)",
        "entry.fresh_until",
    ),
)
mutant(
    "a lease is given back once",
    "P6",
    "a_lease_that_could_not_be_given_back",
    (
        "_fleet:FleetLoads._release",
        "self._process.background.start(self._release_later(key, token, message))",
        "pass",
    ),
)

# --- writing through --------------------------------------------------------------------------------

mutant(
    "a put caches what was given, not what the source made of it",
    "rows",
    "two_writers_through",
    ("write_through:WriteThrough._save", "saved.rows.get(id, items[id])", "items[id]"),
)
mutant(
    "a put saves before it fences",
    "V4",
    "writers_through_that_are_killed",
    (
        "write_through:WriteThrough._save",
        "    async with self._cache.writing(*keys, tags=self._tags_of(items)) as writer:\n        with self._reaching():\n            saved = await self._writable.save(items)\n",
        "    saved = await self._writable.save(items)\n    async with self._cache.writing(*keys, tags=self._tags_of(items)) as writer:\n",
    ),
)
mutant(
    "a put sets without a fence",
    "V1",
    "two_writers_through",
    (
        "write_through:WriteThrough._save",
        "    async with self._cache.writing(*keys, tags=self._tags_of(items)) as writer:",
        "    for _ in (1,):",
        "writer.commit(key, row, policy=self._reader.policy, tags=self.tags(id))",
        "await self._cache.set(key, row, policy=self._reader.policy, tags=self.tags(id), type=int)",
    ),
)
mutant(
    "a removal removes and then invalidates",
    "V4",
    "writers_through_that_are_killed",
    (
        "write_through:WriteThrough.remove",
        ", self._cache.writing(*keys, tags=self._tags_of(ids)):",
        ":",
        "self._complain(saved.refused, of=len(keys))",
        "await self._cache.invalidate(*keys, tags=self._tags_of(ids))",
    ),
)
mutant(
    "a put that failed leaves what was cached",
    "V14",
    "two_writers_through",
    (
        "write_through:WriteThrough._save",
        "    async with self._cache.writing(*keys, tags=self._tags_of(items)) as writer:\n        with self._reaching():\n            saved = await self._writable.save(items)\n",
        "    saved = await self._writable.save(items)\n    async with self._cache.writing(*keys, tags=self._tags_of(items)) as writer:\n",
    ),
)
mutant(
    "alone, a put sets without a fence",
    "V1",
    "alone_written_through",
    (
        "write_through:WriteThrough._save",
        "    async with self._cache.writing(*keys, tags=self._tags_of(items)) as writer:",
        "    for _ in (1,):",
        "writer.commit(key, row, policy=self._reader.policy, tags=self.tags(id))",
        "await self._cache.set(key, row, policy=self._reader.policy, tags=self.tags(id), type=int)",
    ),
)

# --- without leases, without a store, side by side --------------------------------------------------

mutant(
    "a plain store's exit makes the version after its turn",
    "plain V3",
    "a_tag_dropped_while_a_writer_leaves",
    ("_leases_here:LeasesHere.settle", "        made = await", "    made = await"),
)
mutant(
    "a plain store's commit takes no turn",
    "plain",
    "a_store_without_leases",
    ("_leases_here:LeasesHere.commit", "self._turns.held([item.key])", "self._turns.held([])"),
)
mutant(
    "without a store fences count for nothing and exits forget nothing",
    "V7",
    "alone_with_late_tags_and_writers",
    ("_solo:Solo._fenced", "return ", "return False and "),
    ("_solo:Solo.release", "process.forget(keys, tags)", "pass"),
    ("_writing:Fence.exit", "process.forget(self._keys, self._tags)", "pass"),
)
mutant(
    "a tag named like the namespace is the namespace",
    "namespaces",
    "namespaces_side_by_side",
    ("_remote:Remote.names", "word == SPACE", "word in (SPACE, space)"),
    scheduler="pct",
)
mutant(
    "a disabled cache reads the store",
    "disabled",
    "a_cache_that_is_disabled",
    ("_finding:Finder._at_once", "not self._process.enabled or", ""),
)
mutant(
    "an explicit refresh takes what is stored",
    "P2",
    "forced_refreshes",
    ("_fleet:FleetLoads._run", "if served is not None and not flight.forced:", "if served is not None:"),
)


def missed(mutant: Mutant) -> bool:
    """Say whether a mutant is caught by no seed; for a look at candidates."""
    try:
        mutant.caught_at()
    except ViolationMissed:
        return True
    return False
