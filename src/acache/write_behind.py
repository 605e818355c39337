"""Write-behind: acknowledged once journaled, flushed to the source in batches.

A write that `put` has acknowledged reaches the source although the process is killed at any instant
(P7), if the journal is durable. Until then reads through the pattern see it first."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Final, Literal, Self, Unpack, cast

from acache._answers import Partly
from acache._background import Background
from acache._cache import Cache
from acache._flusher import Flusher, Pace
from acache._intake import Call, Intake
from acache._key_locks import KeyLocks
from acache._overlay import Standing
from acache._own_backlog import OwnBacklog
from acache._policy import Options, Policy, seconds
from acache._process import log
from acache._records import Records, private
from acache._room import Room
from acache._shared_backlog import SharedBacklog
from acache._singleflight import running_loop
from acache.errors import CacheClosed, ConfigurationError, JournalFailed
from acache.protocols import Codec, DeadLetter, Journal, Saved, SharedJournal, WritableSource
from acache.read_through import K, ReadThrough, V, by_key, listed

CLOSE_TIMEOUT: Final = 10.0  # seconds that closing waits for the last flush


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What has not reached the source."""

    pending: int  # keys
    oldest_age: float  # seconds; 0 if nothing is pending
    retrying: int  # records of the batch whose last attempt failed
    dead: int  # dead letters


class WriteBehind(ReadThrough[K, V]):
    """Values of a source, by id, read through a cache and written behind it.

    Use it as an async context manager: entering recovers what an earlier run left in the journal."""

    def __init__(
        self,
        cache: Cache,
        source: WritableSource[K, V],
        *,
        key: str,
        journal: Journal,
        tags: Iterable[str] = (),
        type: Any = Any,
        id_type: Any = Any,
        codec: Codec | None = None,
        batch_size: int = 500,
        max_delay: float = 0.1,
        max_backlog: int = 100_000,
        on_full: Literal["wait", "raise"] = "wait",
        max_rate: float | None = None,
        claim_ttl: float = 10.0,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Take what `ReadThrough` takes, and a journal.

        *journal*: where acknowledged writes wait for the source. *type*, *id_type*: what a recovered
        value and id are decoded into; needed where MessagePack alone would not bring them back as they
        are. *codec*: how they become bytes in the journal; MessagePack by default. *batch_size*:
        records per statement. *max_delay*: seconds that a write waits for its batch. *max_backlog*:
        pending keys at most, beside those that are just being written again; of a shared journal each
        process learns it about once a second.
        *on_full*: beyond `max_backlog`, `put` waits ("wait") or raises BacklogFull ("raise").
        *max_rate*: records per second towards the source; None: any number. *claim_ttl*: seconds after
        which other processes flush what one that died had begun to; of a shared journal.

        Raises ConfigurationError."""
        if on_full not in ("wait", "raise"):
            raise ConfigurationError(f'on_full={on_full!r} must be "wait" or "raise"')
        if batch_size < 1 or max_backlog < 1:
            raise ConfigurationError("batch_size and max_backlog must be at least 1")
        if not claim_ttl > 0:
            raise ConfigurationError(f"claim_ttl={claim_ttl!r} must be more than zero seconds")
        if max_rate is not None and not max_rate > 0:
            raise ConfigurationError(
                f"max_rate={max_rate!r} must be more than zero records per second, or None"
            )
        super().__init__(cache, source, key=key, tags=tags, type=type, policy=policy, **options)
        self._journal = journal
        self._writable = source
        self._records = Records(codec, type=type, id_type=id_type, key=self.key, template=self._key.text)
        self._locks = KeyLocks()
        self._pace = Pace(batch_size=batch_size, max_delay=seconds("max_delay", max_delay), max_rate=max_rate)
        self._max_backlog = max_backlog
        self._full_raises = on_full == "raise"
        self._claim_ttl = seconds("claim_ttl", claim_ttl)
        self._process = self._reader.engine.process
        self._background: Background | None = None
        self._ready_in: asyncio.AbstractEventLoop | None = None  # where all is recovered and flushed
        self._started: asyncio.Task[None] | None = None
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        """Forget what is known of the backlog: the journal knows it, and others may have taken it over."""
        room = self._room = Room(
            self._max_backlog, pending=lambda: len(self._backlog), raises=self._full_raises
        )
        process, journal, pace, records = self._process, self._journal, self._pace, self._records
        self._backlog: OwnBacklog | SharedBacklog
        if isinstance(journal, SharedJournal):
            self._backlog = SharedBacklog(
                process, journal, pace, records, tell=room.look, claim_ttl=self._claim_ttl
            )
        else:
            self._backlog = OwnBacklog(process, journal, pace, records, tell=room.look)
        self._flusher = Flusher(
            process, self._backlog, self._writable, pace, value=records.value, drop=self._drop
        )

    # --- life ---------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Recover what is pending in the journal and begin to flush.

        Raises JournalFailed if the journal cannot be read."""
        self._closed = False
        await self._start()
        return self

    async def _start(self) -> Background:
        loop = running_loop()
        if self._closed:
            raise CacheClosed("this WriteBehind was closed: open it again with `async with`")
        background = self._background
        if background is None or background.loop is not loop or self._failed():
            background = self._background = Background(loop)
            self._begin()
            self._intake = Intake(
                self._cache,
                self._backlog,
                self._reader.policy,
                background,
                ended=partial(self._taken, self._room),
            )
            self._started = background.begin(self._recover(background))
        started = self._started
        assert started is not None  # noqa: S101 - set above
        if not started.done():
            await asyncio.shield(started)
        started.result()  # an eager task may have failed before anybody could wait for it
        if self._background is not background:
            raise CacheClosed("this WriteBehind was closed while its journal was read")
        self._ready_in = loop
        return background

    def _failed(self) -> bool:
        """Say whether the journal could not be read: then the next call tries again."""
        started = self._started
        return started is not None and started.done() and started.exception() is not None

    async def _recover(self, background: Background) -> None:
        await self._backlog.start(background)
        background.start(self._flusher.run())

    async def aclose(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Flush, for at most *timeout* seconds, and stop; what is left stays in the journal.

        What is left is flushed at the next start; `backlog` says how much it is. Writes that wait for
        room are refused. The journal is closed too: another process may take it over. Cancelled, it
        stops at once."""
        background = self._background
        if self._closed or background is None:
            self._closed = True
            return
        here = background.loop is running_loop()  # tasks of a loop that has ended are gone
        try:
            if here:
                async with asyncio.timeout(timeout):
                    await background.settle()  # writes on their way into the journal are to be flushed, too
                    await self._backlog.flushed()
        except (TimeoutError, JournalFailed):
            pass
        finally:
            self._closed, self._background, self._ready_in = True, None, None
            if here:
                self._room.close()
                await background.aclose()
            await self._journal.aclose()
        if self._backlog:
            log.warning("closed with %d writes left in the journal for the next start", len(self._backlog))

    # --- reading ------------------------------------------------------------------------------------

    async def get(self, id: K) -> V | None:
        """Return the value of *id*, acknowledged writes included; None if it does not exist.

        Raises what `ReadThrough.get` raises, and JournalFailed if a shared journal cannot be asked for
        what is not cached."""
        await self._start()
        standing = self._backlog.find(self.key(id))
        if standing is not None:
            return cast("V | None", standing.value)
        return await super().get(id)

    async def get_many(self, ids: Iterable[K]) -> dict[K, V]:
        """Return the values of those of *ids* that exist, acknowledged writes included.

        Raises what `ReadThrough.get_many` raises."""
        await self._start()
        found: dict[K, V] = {}
        away: list[K] = []
        for key, id in by_key(listed(ids), self.key).items():
            standing = self._backlog.find(key)
            if standing is None:
                away.append(id)
            elif standing.value is not None:
                found[id] = cast("V", standing.value)
        return found | await super().get_many(away)

    async def _load(self, ids: Sequence[K]) -> Mapping[K, V]:
        """Load *ids*: what is pending in a shared journal from there, the rest from the source."""
        keys = {self.key(id): id for id in ids}
        pending = await self._backlog.look(list(keys))
        if not pending:
            return await super()._load(ids)
        found: dict[K, V] = {keys[key]: each.value for key, each in pending.items() if each.value is not None}
        rest = [id for key, id in keys.items() if key not in pending]
        if not rest:
            return found
        loaded = await super()._load(rest)
        found |= loaded
        return Partly(found, loaded.errors) if isinstance(loaded, Partly) else found

    # --- writing ------------------------------------------------------------------------------------

    async def put(self, id: K, value: V) -> None:
        """Write *value*; when this returns the write is in the journal and will reach the source.

        What is changed in *value* later is not written. Raises JournalFailed (not acknowledged),
        BacklogFull, CodecError, CacheClosed if it closes meanwhile. If the caller is cancelled
        the write may or may not have been taken; it is never half done."""
        _refuse_none("put()", value)
        key = self.key(id)
        items = {id: value}  # before the key is held: an id that cannot be hashed must not keep it
        if not self._locks.take(key):
            await self._locks.acquire((key,))
        await self._put({key: id}, items)

    async def put_many(self, items: Mapping[K, V]) -> None:
        """Write several values; they are acknowledged together."""
        for value in items.values():
            _refuse_none("put()", value)
        await self._write(items)

    async def remove(self, *ids: K) -> None:
        """Remove *ids*; a removal is a write like any other."""
        await self._write(dict.fromkeys(by_key(ids, self.key).values()))

    async def update(self, id: K, change: Callable[[V | None], V | Awaitable[V]]) -> V:
        """Read *id*, put what *change* makes of it, and return that.

        *change*, a plain or an async function, gets a copy, which it may change in place, or None for an
        id that does not exist. Updates and puts of one id take turns in this process."""
        key = self.key(id)
        await self._locks.acquire((key,))
        try:
            current = private(await self.get(id))
            with self._locks.changing(key):
                changed = change(current)
                value = cast("V", await changed if isawaitable(changed) else changed)
            _refuse_none("update()", value)
        except BaseException:
            self._locks.release((key,))
            raise
        await self._put({key: id}, {id: value})
        return value

    async def _write(self, items: Mapping[K, Any]) -> None:
        keys = {self.key(id): id for id in items}
        if keys:
            await self._locks.acquire(sorted(keys))
            await self._put(keys, items)

    async def _put(self, keys: Mapping[str, K], items: Mapping[K, Any]) -> None:
        """Write *items*, whose keys are held by the caller; they are free when this has ended.

        A cancelled caller does not end it: the next write of a key may not overtake it."""
        try:
            if self._ready_in is not asyncio.get_running_loop():
                await self._start()
            draft = self._records.draft
            drafts = [draft(key, id, items[id], self.tags(id)) for key, id in keys.items()]
            new = self._backlog.new(keys)
            if not self._room.take_now(new):
                await self._room.take(new)
        except BaseException:
            self._locks.release(keys)
            raise
        await self._intake.take(drafts, new)

    def _taken(self, room: Room, calls: Sequence[Call]) -> None:
        room.give_back(sum([call.new for call in calls]))
        self._locks.release([draft.key for call in calls for draft in call.drafts])
        self._backlog.wake()

    # --- flushing -----------------------------------------------------------------------------------

    async def _drop(self, batch: Sequence[Standing], saved: Saved[Any, Any]) -> None:
        """Forget what the cache may hold that is older than what the source now has.

        An entry that is exactly the one of this write may stay, unless the source holds another row
        or refused it; a record with tags loses it with them."""
        changed = {*saved.rows, *saved.refused}
        keep = {
            each.write.key: each.receipt
            for each in batch
            if each.receipt is not None and each.id not in changed
        }
        tags = tuple(dict.fromkeys(tag for each in batch for tag in each.write.tags))
        await self._reader.engine.changes.drop_older([each.write.key for each in batch], tags, keep=keep)

    async def flush(self) -> None:
        """Wait until all that is acknowledged now has reached the source, or is a dead letter.

        While the source is away this waits; cancelling ends the wait only."""
        await self._start()
        await self._backlog.flushed()

    @property
    def backlog(self) -> Backlog:
        """What has not reached the source, now."""
        return Backlog(
            pending=len(self._backlog),
            oldest_age=self._backlog.age(),
            retrying=self._flusher.retrying,
            dead=self._backlog.dead,
        )

    # --- dead letters -------------------------------------------------------------------------------

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the writes that the source refused for their data, oldest first."""
        await self._start()
        async for letter in self._journal.dead():
            yield letter

    async def requeue(self, letter: DeadLetter) -> None:
        """Try a dead letter again, with its old number.

        Raises JournalFailed if a newer write of its key was acknowledged or flushed meanwhile, CodecError
        if this type= cannot read it. Cancelling ends only the wait."""
        background = await self._start()
        await background.finish(self._backlog.revive(letter))

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter; the write is lost, by decision."""
        await self._start()
        await self._backlog.discard(letter)


def _refuse_none(verb: str, value: object) -> None:
    if value is None:
        raise TypeError(f"{verb} of None: to remove an id, use remove()")
