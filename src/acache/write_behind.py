"""Write-behind: acknowledged once journaled, flushed to the source in batches.

A write that `put` has acknowledged reaches the source although the process is killed at any instant
(P7), if the journal is durable. Until then reads through the pattern see it first."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from itertools import chain
from typing import Any, Final, Literal, Self, Unpack, cast

from acache._background import Background
from acache._cache import Cache
from acache._flusher import Flusher, Pace
from acache._key_locks import KeyLocks
from acache._overlay import Overlay, Standing
from acache._policy import Options, Policy, seconds, unique
from acache._singleflight import running_loop
from acache.codecs import MsgpackCodec, decoder, same
from acache.errors import BacklogFull, CacheClosed, CodecError, ConfigurationError
from acache.protocols import Codec, DeadLetter, Journal, Saved, WritableSource, Write
from acache.read_through import K, ReadThrough, V

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
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Take what `ReadThrough` takes, and a journal.

        *type* and *id_type*: what a recovered value and id are decoded into; needed where MessagePack
        alone would not bring them back as they are. *batch_size*: records per statement. *max_delay*:
        seconds that a write waits for its batch. *max_backlog*: pending keys, beyond which `put`
        waits, or raises BacklogFull with on_full="raise". *max_rate*: records per second towards the
        source. Raises ConfigurationError."""
        if on_full not in ("wait", "raise"):
            raise ConfigurationError(f'on_full={on_full!r} must be "wait" or "raise"')
        if batch_size < 1 or max_backlog < 1:
            raise ConfigurationError("batch_size and max_backlog must be at least 1")
        if max_rate is not None and not max_rate > 0:
            raise ConfigurationError(
                f"max_rate={max_rate!r} must be more than zero records per second, or None"
            )
        super().__init__(cache, source, key=key, tags=tags, type=type, policy=policy, **options)
        self._journal = journal
        self._codec = codec or MsgpackCodec()
        self._decode_value = decoder(self._codec, type)
        self._decode_id = decoder(self._codec, id_type)
        self._max_backlog = max_backlog
        self._on_full = on_full
        self._locks = KeyLocks()
        self._overlay = Overlay()
        self._room: list[asyncio.Future[None]] = []
        self._sequence = 0
        self._dead = 0
        pace = Pace(batch_size=batch_size, max_delay=seconds("max_delay", max_delay), max_rate=max_rate)
        self._process = self._reader.engine.process
        self._flusher = Flusher(self._process, self._overlay, journal, source, pace, drop=self._drop)
        self._background: Background | None = None
        self._started: asyncio.Task[None] | None = None
        self._closed = False

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
        if self._background is None or self._background.loop is not loop:
            self._background = Background(loop)
            self._started = self._background.begin(self._recover(self._background))
        assert self._started is not None  # noqa: S101 - set above
        if not self._started.done():
            await asyncio.shield(self._started)
        self._started.result()
        return self._background

    async def _recover(self, background: Background) -> None:
        self._sequence = max(self._sequence, await self._journal.last())
        now = self._process.clock.monotonic()
        async for write in self._journal.recover():
            id = self._decode_id(write.id)
            value = None if write.payload is None else self._decode_value(write.payload)
            self._overlay.add(Standing(write=write, id=id, value=value, since=now))
        self._dead = sum([1 async for _ in self._journal.dead()])
        self._flusher.buried = 0
        background.start(self._flusher.run())

    async def aclose(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Flush, for at most *timeout* seconds, and stop; what is left stays in the journal.

        What is left is flushed at the next start; `backlog` says how much it is."""
        if self._closed or self._background is None:
            self._closed = True
            return
        try:
            async with asyncio.timeout(timeout):
                await self._flusher.flushed()
        except TimeoutError:
            pass
        self._closed = True
        background, self._background = self._background, None
        await background.aclose()
        self._overlay.forget_flushing()
        await self._journal.aclose()

    # --- reading ------------------------------------------------------------------------------------

    async def get(self, id: K) -> V | None:
        """Return the value of *id*, acknowledged writes included; None if it does not exist."""
        await self._start()
        standing = self._overlay.get(self.key(id))
        if standing is not None:
            return cast("V | None", standing.value)
        return await super().get(id)

    async def get_many(self, ids: Iterable[K]) -> dict[K, V]:
        """Return the values of those of *ids* that exist, acknowledged writes included."""
        await self._start()
        found: dict[K, V] = {}
        away: list[K] = []
        for id in ids:
            standing = self._overlay.get(self.key(id))
            if standing is None:
                away.append(id)
            elif standing.value is not None:
                found[id] = cast("V", standing.value)
        return found | await super().get_many(away)

    # --- writing ------------------------------------------------------------------------------------

    async def put(self, id: K, value: V) -> None:
        """Write *value*; when this returns the write is in the journal and will reach the source.

        Raises JournalFailed (not acknowledged), BacklogFull, CodecError. If the caller is cancelled
        the write may or may not have been taken; it is never half done."""
        await self.put_many({id: value})

    async def put_many(self, items: Mapping[K, V]) -> None:
        """Write several values; they are acknowledged together."""
        if any(value is None for value in items.values()):
            raise TypeError("put() of None: to remove an id, use remove()")
        await self._write(items)

    async def remove(self, *ids: K) -> None:
        """Remove *ids*; a removal is a write like any other."""
        await self._write(dict.fromkeys(ids))

    async def update(self, id: K, change: Callable[[V | None], V | Awaitable[V]]) -> V:
        """Read *id*, put what *change* makes of it, and return that.

        *change*, a plain or an async function, gets None for an id that does not exist. Updates and
        puts of one id take turns in this process."""
        key = self.key(id)
        async with self._locks.held((key,)):
            current = await self.get(id)
            changed = change(current)
            value = cast("V", await changed if isawaitable(changed) else changed)
            await self._put({key: id}, {id: value})
        return value

    async def _write(self, items: Mapping[K, Any]) -> None:
        keys = {self.key(id): id for id in items}
        if keys:
            async with self._locks.held(keys):
                await self._put(keys, items)

    async def _put(self, keys: Mapping[str, K], items: Mapping[K, Any]) -> None:
        background = await self._start()
        payloads = {id: self._encode(id, value) for id, value in items.items()}
        await self._wait_for_room(keys)
        # In a task of its own: a write that is durable must also stand in the overlay.
        await background.finish(self._take(keys, items, payloads))

    async def _take(
        self, keys: Mapping[str, K], items: Mapping[K, Any], payloads: Mapping[K, tuple[bytes, bytes | None]]
    ) -> None:
        tags = {key: self.tags(id) for key, id in keys.items()}
        async with self._cache.writing(*keys, tags=unique(chain.from_iterable(tags.values()))) as writer:
            writes = [self._next(key, payloads[id], tags[key]) for key, id in keys.items()]
            await self._journal.append(writes)
            now = self._process.clock.monotonic()
            standings = [
                Standing(write=write, id=keys[write.key], value=items[keys[write.key]], since=now)
                for write in writes
            ]
            for standing in standings:
                key, value = standing.write.key, standing.value
                self._overlay.add(standing)
                if value is not None:
                    writer.commit(key, value, policy=self._reader.policy, tags=tags[key])
        for standing in standings:
            standing.receipt = writer.receipts.get(standing.write.key)
        self._flusher.wake()

    def _next(
        self,
        key: str,
        payload: tuple[bytes, bytes | None],
        tags: tuple[str, ...],
    ) -> Write:
        """Return the next write; numbers never repeat, also over a journal that was emptied."""
        at = self._process.clock.time()
        self._sequence = max(self._sequence + 1, int(at * 1e6))
        return Write(key=key, id=payload[0], payload=payload[1], tags=tags, sequence=self._sequence, at=at)

    def _encode(self, id: K, value: Any) -> tuple[bytes, bytes | None]:
        """Return id and value as bytes, refusing what would not be recovered as it is."""
        encoded = self._codec.encode(id)
        if not same(self._decode_id(encoded), id):
            raise CodecError(
                f"an id of {self._key.text!r} would not be recovered as it is: name its id_type="
            )
        if value is None:
            return encoded, None
        payload = self._codec.encode(value)
        if not same(self._decode_value(payload), value):
            raise CodecError(f"a value of {self._key.text!r} would not be recovered as it is: name its type=")
        return encoded, payload

    async def _wait_for_room(self, keys: Mapping[str, K]) -> None:
        def full() -> bool:
            more = sum(key not in self._overlay for key in keys)
            return more > 0 and len(self._overlay) + more > max(self._max_backlog, more)

        while full():
            if self._on_full == "raise":
                raise BacklogFull(f"{len(self._overlay)} writes wait for the source: max_backlog is reached")
            room: asyncio.Future[None] = running_loop().create_future()
            self._room.append(room)
            await room

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
        await self._reader.engine.drop_older([each.write.key for each in batch], tags, keep=keep)
        waiting, self._room = self._room, []
        for room in waiting:
            if not room.done():
                room.set_result(None)

    async def flush(self) -> None:
        """Wait until all that is acknowledged now has reached the source, or is a dead letter.

        While the source is away this waits; cancelling ends the wait only."""
        await self._start()
        await self._flusher.flushed()

    @property
    def backlog(self) -> Backlog:
        """What has not reached the source, now."""
        oldest = self._overlay.oldest()
        return Backlog(
            pending=len(self._overlay),
            oldest_age=0.0 if oldest is None else self._process.clock.monotonic() - oldest,
            retrying=self._flusher.retrying,
            dead=self._dead + self._flusher.buried,
        )

    # --- dead letters -------------------------------------------------------------------------------

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the writes that the source refused for their data, oldest first."""
        await self._start()
        async for letter in self._journal.dead():
            yield letter

    async def requeue(self, letter: DeadLetter) -> None:
        """Try a dead letter again, with its old number.

        Raises JournalFailed if a newer write of its key was acknowledged or flushed meanwhile."""
        await self._start()
        await self._journal.revive(letter)
        write = letter.write
        value = None if write.payload is None else self._decode_value(write.payload)
        now = self._process.clock.monotonic()
        id = self._decode_id(write.id)
        self._overlay.add(Standing(write=write, id=id, value=value, since=now))
        self._dead -= 1
        self._flusher.wake()

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter; the write is lost, by decision."""
        await self._start()
        await self._journal.discard(letter)
        self._dead -= 1
