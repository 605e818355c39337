"""The journal in one Redis or Valkey server, shared by the processes of a fleet. Knows nothing of sources.

The asynchronous shell: what a verb does is in `_journal_scripts`, atomic on the server; what a write
looks like there in `_journal_records`."""

import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, TypeVar, final

from redis.asyncio import ConnectionPool, Redis

from acache.errors import ConfigurationError, JournalFailed, StoreUnavailable
from acache.protocols import DeadLetter, Depth, Write
from acache_redis import _journal_records as records
from acache_redis import _journal_scripts as scripts
from acache_redis import _journal_server as servers
from acache_redis._homes import Homes
from acache_redis._journal_records import key_bytes, number
from acache_redis._names import journal_keys, journal_request
from acache_redis._place import dialer_of
from acache_redis._resp import Command, Reply
from acache_redis._script import Script
from acache_redis._scripts import milliseconds
from acache_redis._server import Server

T = TypeVar("T")
log: Final = logging.getLogger("acache_redis")

PAGE: Final = 500  # writes or letters in one reply, and at most about as many bytes:
PAGE_BYTES: Final = 1_000_000
REMEMBERED: Final = 10.0  # seconds, beside twice the timeout, for which a request may come again


class WallClock(Protocol):
    """Where the dates of dead letters come from."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        ...


@final
class RedisJournal:
    """Acknowledged writes of any number of processes, in one Redis or Valkey server (6.2 or newer).

    *server*: a URL (`redis://`, `unix://`), or a client or pool of `redis.asyncio` that says where to
    connect and is never used otherwise nor closed. *name*: which of the server's journals; one per
    pattern. *timeout*: seconds that a round trip may take, counted from the call (5 unless the URL
    says). *clock*: dates dead letters. *ids*: makes 16 bytes that name a request.

    A write is as durable as the server: with `appendonly yes` and `appendfsync always` it is on the
    server's disk when it is acknowledged; with `everysec` it survives the death of the server's process
    and a power cut may take the last second or two; without `appendonly` it is in memory. A replica
    that becomes primary lacks what had not reached it yet. The server must not evict the journal:
    `maxmemory-policy` has to be `noeviction` or one of `volatile-*`.

    Every method raises `JournalFailed`, with the cause kept; an append that failed so may have been
    taken all the same, whole or not at all. Cancelling is always safe, with the same uncertainty.
    The journal may be made before any loop runs, used in one loop after the other and after a fork,
    and again after `aclose`."""

    _name = "that could not be made"

    def __init__(
        self,
        server: "str | Redis | ConnectionPool",
        *,
        name: str = "default",
        timeout: float | None = None,
        clock: WallClock = time,
        ids: Callable[[], bytes] | None = None,
    ) -> None:
        """Prepare; nothing is connected before the first call. Raises ConfigurationError."""
        try:
            self._dialer = dialer_of(server, timeout=5.0)
        finally:
            del server  # the frame of a traceback would show the password in it
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigurationError(f"name={name!r}: letters, digits, _, . and - only")
        self._name = f"{name!r} in {self._dialer.name}"
        self._shown = f"journal {name!r}"  # an error goes on with the server's name
        timeout = self._dialer.timeout if timeout is None else timeout
        self._timeout = timeout
        self._homes = Homes(self._open)
        self._keys = journal_keys(name)
        self._request = partial(journal_request, name)
        self._remembered = milliseconds(REMEMBERED + 2 * timeout)
        self._looked = False
        self._clock = clock
        self._ids = partial(os.urandom, 16) if ids is None else ids

    def __repr__(self) -> str:
        return f"<RedisJournal {self._name}>"

    # --- appending ------------------------------------------------------------------------------

    async def append(self, writes: Sequence[Write]) -> None:
        """Keep every write under the number that it has; all of them or none."""
        if writes:
            await self._look_at_the_server()
            parts = ((key_bytes(each.key), number(each.sequence), records.pack(each)) for each in writes)
            await self._ask_once(scripts.APPEND, self._ids(), *chain.from_iterable(parts), read=_nothing)

    async def append_next(self, writes: Sequence[Write]) -> Sequence[Write]:
        """Keep every write under the next numbers, all of them or none; return them as they stand.

        A write that nobody is flushing is replaced by a newer one of its key."""
        if not writes:
            return []
        await self._look_at_the_server()
        parts = ((key_bytes(each.key), records.pack(each)) for each in writes)
        first = await self._ask_once(scripts.APPEND_NEXT, self._ids(), *chain.from_iterable(parts), read=int)
        return [
            Write(
                key=each.key,
                id=each.id,
                payload=each.payload,
                tags=each.tags,
                sequence=first + place,
                at=each.at,
            )
            for place, each in enumerate(writes)
        ]

    async def last(self) -> int:
        """Return the highest number that anybody ever had, 0 for a new journal."""
        return await self._ask(scripts.DEPTH, read=lambda reply: int(reply[0]))

    # --- reading --------------------------------------------------------------------------------

    async def pending(self, keys: Sequence[str]) -> Mapping[str, Write]:
        """Return the newest pending write of each of *keys* that has one, claimed or not."""
        if not keys:
            return {}
        found = await self._ask(scripts.PENDING, *map(key_bytes, keys), read=records.unpack_all)
        return {write.key: write for write in found}

    async def recover(self) -> AsyncIterator[Write]:
        """Yield what is pending, claimed or not, per key in the order of numbers.

        Of what comes and goes meanwhile some is yielded and some not."""
        after, end = b"", await self.last()
        while True:
            found = await self._ask(scripts.PAGE, after, PAGE, PAGE_BYTES, read=list)
            if not found:
                return
            for write in self._read(partial(records.unpack_all, found)):
                if write.sequence <= end:
                    yield write
            after = found[-2]

    async def depth(self) -> Depth:
        """Return how much is pending and dead now."""
        return await self._ask(scripts.DEPTH, read=_depth)

    # --- flushing -------------------------------------------------------------------------------

    async def claim(self, limit: int, token: bytes, *, ttl: float) -> Sequence[Write]:
        """Take up to *limit* keys to flush, the longest waiting first; return the newest write of each.

        Claims of others whose time is over are among them. Sent again, it returns the same keys."""
        arguments = (token, milliseconds(ttl), limit)
        return await self._ask_once(scripts.CLAIM, token, *arguments, read=records.unpack_all)

    async def renew(self, keys: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong the claims on *keys*; return False if any of them is no longer this token's."""
        if not keys:
            return True
        return await self._ask(scripts.RENEW, token, milliseconds(ttl), *map(key_bytes, keys), read=_is_one)

    async def settle(self, flushed: Mapping[str, int], token: bytes) -> Sequence[str]:
        """Acknowledge what was flushed under a claim and end the claim; return what is another's by now."""
        if not flushed:
            return []
        lost = await self._ask(scripts.SETTLE, token, *_pairs(flushed), read=list)
        return [records.key_text(key) for key in lost]

    async def release(self, keys: Sequence[str], token: bytes) -> None:
        """End this token's claims, nobody else's."""
        if keys:
            await self._ask(scripts.RELEASE, token, *map(key_bytes, keys), read=_nothing)

    async def acknowledge(self, flushed: Mapping[str, int]) -> None:
        """Forget, per key, everything up to this number, whoever flushed it. Ends no claim."""
        if flushed:
            await self._ask(scripts.ACKNOWLEDGE, *_pairs(flushed), read=_nothing)

    # --- dead letters ---------------------------------------------------------------------------

    async def bury(self, write: Write, error: str) -> None:
        """Move a pending write to the dead letters; nothing happens if it is pending no longer."""
        head = records.pack_head(error, self._clock.time())
        await self._ask(scripts.BURY, key_bytes(write.key), number(write.sequence), head, read=_nothing)

    async def dead(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        after = 0
        while True:
            found = await self._ask(scripts.LETTERS, after, PAGE, read=list)
            if not found:
                return
            for place, letter in zip(found[::3], found[2::3], strict=True):
                yield self._read(partial(records.unpack_letter, place, letter))
            after = found[-2]

    async def revive(self, letter: DeadLetter) -> None:
        """Make a dead letter pending again, under its old number.

        Refused, with `JournalFailed`, if a newer write of its key was flushed since its burial or if it
        is no longer there."""
        key, sequence = key_bytes(letter.key), number(letter.write.sequence)
        outcome = await self._ask(scripts.REVIVE, key, sequence, read=bytes)
        if outcome == b"gone":
            raise JournalFailed("there is no such dead letter any more")
        if outcome == b"outdated":
            msg = "a newer write of this key has been flushed: the dead letter would take the source back"
            raise JournalFailed(msg)

    async def discard(self, letter: DeadLetter) -> None:
        """Delete a dead letter; nothing happens if it is gone."""
        key, sequence = key_bytes(letter.key), number(letter.write.sequence)
        await self._ask(scripts.DISCARD, key, sequence, read=_nothing)

    async def aclose(self) -> None:
        """Close this loop's connection, ending calls that wait with an error. Safe to call twice."""
        await self._homes.close()

    # --- how ------------------------------------------------------------------------------------

    async def _look_at_the_server(self) -> None:
        """Before the first append: refuse a server that evicts, warn of one that forgets."""
        if not self._looked:
            with self._failing():
                replies = await self._homes.here().ask(servers.QUESTIONS)
            said = servers.read(replies)
            if said.evicts:
                raise JournalFailed(f"{self._shown}: {servers.EVICTS}")
            if said.forgets and not self._looked:
                log.warning("%s: %s", self._shown, servers.FORGETS)
            self._looked = True

    async def _ask_once(
        self, script: Script, request: bytes, *arguments: bytes | int, read: Callable[[Any], T]
    ) -> T:
        """Run a script that must not act twice for one *request*."""
        keys = (*self._keys, self._request(request))
        return await self._run(script.run(keys, self._remembered, *arguments), read)

    async def _ask(self, script: Script, *arguments: bytes | int, read: Callable[[Any], T]) -> T:
        return await self._run(script.run(self._keys, *arguments), read)

    async def _run(self, command: Command, read: Callable[[Any], T]) -> T:
        with self._failing():
            [reply] = await self._homes.here().call([command])
        return self._read(partial(read, reply))

    def _open(self) -> Server:
        return Server(self._dialer, b"", timeout=self._timeout, loads=scripts.LOADS)

    @contextmanager
    def _failing(self) -> Generator[None]:
        """Give the store's errors the name of the journal's."""
        try:
            yield
        except StoreUnavailable as error:
            raise JournalFailed(f"{self._shown}: {error}") from error.__cause__

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, KeyError, TypeError) as error:
            raise JournalFailed(f"{self._shown} holds what it never wrote") from error


def _nothing(_: Reply) -> None:
    """Return None: that no error came is all there is to know."""


def _is_one(reply: Reply) -> bool:
    return bool(reply == 1)


def _depth(reply: Reply) -> Depth:
    _, pending, oldest, now, dead = reply
    age = max(0.0, (int(now) - int(oldest)) / 1e6) if oldest else 0.0
    return Depth(pending=pending, oldest=int(oldest) if oldest else None, oldest_age=age, dead=dead)


def _pairs(flushed: Mapping[str, int]) -> list[bytes]:
    return [part for key, upto in flushed.items() for part in (key_bytes(key), number(upto))]
