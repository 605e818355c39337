"""The fence around a write to the source: `async with cache.writing(...)`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Unpack, cast

from msgspec import Struct

from acache._engine import Engine
from acache._entry import Entry
from acache._given import checked, checked_tags
from acache._plans import Plans
from acache._policy import Options, Policy, entry_of
from acache.errors import InvalidationFailed
from acache.events import Invalidated


class Commit(Struct, frozen=True, kw_only=True, eq=False):
    """A value to store when the block ends cleanly."""

    value: Any
    policy: Policy
    tags: tuple[str, ...]


class Fence:
    """What `writing` does on entry and exit.

    While the block runs no value of its keys and tags is stored by anybody: loads are served, not
    kept. On exit, however it comes, everything loaded meanwhile is void; after a clean one the
    committed values are stored, where no other writer touched the key or its tags."""

    __slots__ = ("_commits", "_engine", "_keys", "_names", "_open", "_tags", "_token", "receipts")

    def __init__(self, engine: Engine, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Prepare a fence; nothing happens before it is entered."""
        self._engine = engine
        self._keys = keys
        self._tags = tags
        self._names = frozenset(keys), frozenset(tags)
        self._token = b""
        self._open = False
        self._commits: dict[str, Commit] = {}
        self.receipts: Mapping[str, object] = {}  # of what was stored at the end, by key

    def note(self, key: str, commit: Commit) -> None:
        """Store *commit* when the block ends cleanly. Raises ValueError if it is not fenced now."""
        if not self._open:
            raise ValueError(f"commit of {key!r}: the block of writing() has ended; commit inside of it")
        keys, tags = self._names
        if key not in keys:
            raise ValueError(f"commit of {key!r}: it is not among the keys of this writing()")
        if not tags.issuperset(commit.tags):
            strangers = set(commit.tags) - tags
            raise ValueError(
                f"commit of {key!r}: tags {sorted(strangers)} are not among those of this writing()"
            )
        self._commits[key] = commit

    def note_all(self, commits: Mapping[str, Commit]) -> None:
        """Store *commits*, whose names are all those of this block, when it ends cleanly. For patterns."""
        self._commits.update(commits)

    @property
    def tags(self) -> Sequence[str]:
        """The tags of the block."""
        return self._tags

    async def enter(self) -> None:
        """Raise the fence. If the caller is cancelled meanwhile it is taken down again."""
        engine = self._engine
        process = engine.process
        process.enter()
        await engine.changes.thin(self._tags)
        process.enter()  # it may have been closed meanwhile
        process.forget(self._keys, self._tags)
        self._token = process.ids()
        self._commits.clear()
        raised = process.background.begin(engine.authority.fence(self._keys, self._tags, self._token))
        try:
            await asyncio.shield(raised)
        except BaseException:
            await process.background.finish(self._take_down(raised))
            raise
        self._open = True

    async def _take_down(self, raised: asyncio.Task[None]) -> None:
        await asyncio.wait([raised])
        with suppress(InvalidationFailed):
            await self._engine.authority.release(self._keys, self._tags, self._token, commits={})

    async def exit(self, *, clean: bool) -> None:
        """Take the fence down; after a *clean* block store what was committed.

        Raises InvalidationFailed after a clean block only: another's own error, or its cancellation,
        is what has to come out of it, and events and the log tell the rest."""
        process = self._engine.process
        self._open = False
        process.forget(self._keys, self._tags)
        commits = self._entries() if clean and process.enabled else {}
        try:
            self.receipts = await process.background.finish(self._lower(commits))
        except InvalidationFailed:
            if clean:
                raise

    async def _lower(self, commits: Mapping[str, Entry]) -> Mapping[str, object]:
        engine = self._engine
        stored = await engine.authority.release(self._keys, self._tags, self._token, commits=commits)
        engine.process.emit(Invalidated(keys=tuple(self._keys), tags=tuple(self._tags)))
        return stored

    def _entries(self) -> dict[str, Entry]:
        process = self._engine.process
        now = process.clock.monotonic()
        entries = {
            key: entry_of(
                commit.value,
                cast("float | None", commit.policy.ttl),
                now=now,
                policy=commit.policy,
                rand=process.draw(),
                born=now,
                tags=commit.tags,
            )
            for key, commit in self._commits.items()
        }
        return {key: entry for key, entry in entries.items() if now < entry.expires}


class Writer:
    """The writer inside `async with cache.writing(...)`."""

    __slots__ = ("_fence", "_planned", "_plans")

    def __init__(self, plans: Plans, fence: Fence) -> None:
        """Write behind *fence*; *plans* tells the policy of a commit."""
        self._plans = plans
        self._fence = fence
        self._planned: tuple[Policy, Policy] | None = None  # the last one that was given, and what it means

    @property
    def receipts(self) -> Mapping[str, object]:
        """After the block: what tells, by key, whether a value that was stored still stands. For patterns."""
        return self._fence.receipts

    def commit(
        self,
        key: str,
        value: object,
        *,
        tags: Iterable[str] | None = None,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Note *value* to be stored under *key* if the block ends cleanly.

        *key* and *tags* (default: all) must be among those of the block; ValueError otherwise."""
        given = tuple(self._fence.tags) if tags is None else checked_tags(tags)
        self._fence.note(checked(key), Commit(value=value, policy=self._plan(policy, options), tags=given))

    def _plan(self, policy: Policy | None, options: Options) -> Policy:
        last = self._planned
        if last is not None and last[0] is policy and not options:
            return last[1]  # many are committed under one policy
        planned = self._plans.of("commit", policy, options)
        if policy is not None and not options:
            self._planned = policy, planned
        return planned
