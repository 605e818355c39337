"""The verbs of a store: read records, decide, swap them in, and again where somebody was faster."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from math import ceil
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

from acache.errors import ConfigurationError, StoreUnavailable
from acache.protocols import (
    BUSY,
    FENCED,
    FOUND,
    GRANTED,
    Claim,
    ClaimKind,
    Grant,
    Item,
    digest,
    namespace_of,
)
from acache_memcached._client import Change, Client, Found
from acache_memcached._record import Record, pack, unpack

R = TypeVar("R")

MONTH: Final = 30 * 86_400  # seconds; memcached reads more as a date
ENTRY, TAG, STAMP = "e", "t", "s"


class MemcachedStore:
    """Bytes and claims in one memcached server; no feed.

    *timeout*: seconds that a round trip may take. Made without a loop; each loop has its own connections.
    Every method raises `StoreUnavailable` and may be cancelled at any await."""

    def __init__(self, host: str = "localhost", port: int = 11211, *, timeout: float = 1.0) -> None:
        self.timeout = timeout
        self._address = (host, port)
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<MemcachedStore {self._address[0]}:{self._address[1]}>"

    # --- RemoteStore ---

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes under each of *keys*."""
        return (await self.peek(keys, []))[0]

    async def set_many(self, items: Sequence[Item]) -> None:
        """Store every item, whatever stands on its key."""
        last = {_place(ENTRY, item.key): item for item in items}
        await self._change(last, lambda place, record, now: _store(record, last[place], now))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete *keys*, whatever stands on them."""
        await self._change(_places(ENTRY, keys), lambda _, record, __: record.forget())

    async def aclose(self) -> None:
        """Close the connections of this loop; used again, it opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # --- Leases: reading ---

    async def peek(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return entries and versions as they are."""
        places = [*_places(ENTRY, keys), *_places(TAG, tags)]
        found, now = await self._fetch(places), time.time()
        data = [unpack(found[place].data, now).data if place in found else None for place in places]
        return data[: len(keys)], data[len(keys) :]

    async def stamp(self, namespace: str) -> bytes:
        """Return the namespace's stamp, made if missing."""
        place = _place(STAMP, namespace)
        while True:
            found = await self._fetch([place])
            if place in found:
                return found[place].data
            made = os.urandom(16)
            async with self._reaching() as client:
                if (await client.change([Change(place, made, 0, None)]))[0]:
                    return made

    async def claims(self, key: str) -> Sequence[Claim]:
        """Return what stands on *key* now."""
        place = _place(ENTRY, key)
        found, now = await self._fetch([place]), time.time()
        record = unpack(found[place].data, now) if place in found else Record()
        kind = ClaimKind.FENCE if record.shared else ClaimKind.LEASE
        return [
            Claim(kind=kind, token=bytes.fromhex(token), remaining=until - now, tainted=record.tainted)
            for token, until in record.tokens.items()
        ]

    # --- Leases: claiming ---

    async def versions(self, tags: Sequence[str], *, ttl: float) -> list[bytes | None]:
        """Return the version of each tag: made if missing, prolonged to *ttl*; None while fenced."""

        def step(_: str, record: Record, now: float) -> bytes | None:
            if record.shared:
                return None
            record.store(record.data or os.urandom(16), max(record.until, now + ttl))
            return record.data

        places = _places(TAG, tags)
        made = await self._change(places, step)
        return [made[place] for place in places]

    async def lease(self, key: str, token: bytes, *, ttl: float, seen: bytes | None) -> Grant:
        """Ask to be the only loader of *key*."""

        def step(_: str, record: Record, now: float) -> Grant:
            if record.data is not None and digest(record.data) != seen:
                return Grant(kind=FOUND, data=record.data)
            if record.lease(token, now + ttl):
                return Grant(kind=GRANTED)
            if record.shared:
                return Grant(kind=FENCED)
            [(holder, until)] = record.tokens.items()
            return Grant(kind=BUSY, remaining=until - now, holder=bytes.fromhex(holder))

        [grant] = (await self._change(_places(ENTRY, [key]), step)).values()
        return grant

    async def renew(self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong this token's claims; False if any is no longer there."""

        def step(_: str, record: Record, now: float) -> bool:
            if record.holds(token):
                record.prolong(token, now + ttl)
                return True
            return False

        return all((await self._change([*_places(ENTRY, keys), *_places(TAG, tags)], step)).values())

    async def commit(self, item: Item, token: bytes, *, message: bytes | None) -> bool:
        """Store the entry if the token may; end its claim either way."""
        del message  # nobody listens

        def step(_: str, record: Record, now: float) -> bool:
            if record.sole(token):
                _store(record, item, now)
            record.release(token)
            return record.data == item.data

        [stored] = (await self._change(_places(ENTRY, [item.key]), step)).values()
        return stored

    # --- Leases: changing ---

    async def put(self, items: Sequence[Item], *, message: bytes | None) -> None:
        """Store entries whatever lease stands, ending it; under a fence delete and taint instead."""
        del message
        last = {_place(ENTRY, item.key): item for item in items}

        def step(place: str, record: Record, now: float) -> None:
            record.taint()
            if record.shared:
                record.forget()
            else:
                _store(record, last[place], now)

        await self._change(last, step)

    async def drop(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        *,
        keep: Mapping[str, bytes] = {},
        message: bytes | None,
    ) -> None:
        """Delete entries and versions, end leases, taint fences."""
        del message
        await self._replace_stamps(tags)
        spared = {_place(ENTRY, key): data for key, data in keep.items()}

        def step(place: str, record: Record, now: float) -> None:
            del now
            record.taint()
            if record.data is None or record.data != spared.get(place):
                record.forget()

        await self._change([*_places(ENTRY, keys), *_places(TAG, tags)], step)

    async def fence(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float, message: bytes | None
    ) -> None:
        """Like `drop`, and add a fence to each key and tag."""
        del message
        await self._replace_stamps(tags)
        places = [*_places(ENTRY, keys), *_places(TAG, tags)]
        await self._change(places, lambda _, record, now: record.fence(token, now + ttl))

    async def settle(self, tags: Sequence[str], token: bytes, *, ttl: float) -> list[bytes | None]:
        """Delete each version and end the fence; make a new version where the token may."""
        await self._replace_stamps(tags)

        def step(_: str, record: Record, now: float) -> bytes | None:
            sole = record.sole(token)
            record.release(token)
            record.taint()
            record.forget()
            if sole:
                record.store(os.urandom(16), now + ttl)
            return record.data

        places = _places(TAG, tags)
        made = await self._change(places, step)
        return [made[place] for place in places]

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, message: bytes | None
    ) -> None:
        """End this token's claims, nobody else's."""
        del message
        places = [*_places(ENTRY, keys), *_places(TAG, tags)]
        await self._change(places, lambda _, record, __: record.release(token))

    # --- how ---

    async def _change(self, places: Iterable[str], step: Callable[[str, Record, float], R]) -> dict[str, R]:
        """Change each record by *step*, atomically for each; return what *step* said of it.

        Where somebody else was faster the record is read again and *step* decides anew."""
        left, said = list(dict.fromkeys(places)), dict[str, R]()
        while left:
            found, now = await self._fetch(left), time.time()
            changes: list[Change] = []
            for place in left:
                known = found.get(place)
                record = unpack(None if known is None else known.data, now)
                said[place] = step(place, record, now)
                data, ends = pack(record), record.ends
                if known is None and ends <= now:  # nothing was, nothing is
                    continue
                changes.append(Change(place, data, _seconds(ends - now), known and known.unique))
            if not changes:
                break
            async with self._reaching() as client:
                stored = await client.change(changes)
            left = [change.key for change, good in zip(changes, stored, strict=True) if not good]
        return said

    async def _fetch(self, places: Sequence[str]) -> dict[str, Found]:
        if not places:
            return {}
        async with self._reaching() as client:
            return await client.fetch(list(dict.fromkeys(places)))

    async def _replace_stamps(self, tags: Sequence[str]) -> None:
        for namespace in dict.fromkeys(map(namespace_of, tags)):
            async with self._reaching() as client:
                await client.put(_place(STAMP, namespace), os.urandom(16), 0)

    @asynccontextmanager
    async def _reaching(self) -> AsyncIterator[Client]:
        """Hand out this loop's client; whatever goes wrong on the way is `StoreUnavailable`."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = Client(*self._address, timeout=self.timeout), loop
        try:
            yield self._client
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            raise StoreUnavailable(f"memcached at {self._address[0]}:{self._address[1]}") from error


def _place(kind: str, name: str) -> str:
    """Return the item's key: any text in at most 250 plain characters."""
    hashed = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=24)
    return f"acache:{kind}:{hashed.hexdigest()}"


def _places(kind: str, names: Iterable[str]) -> list[str]:
    return [_place(kind, name) for name in names]


def _store(record: Record, item: Item, now: float) -> None:
    record.store(item.data, now + item.ttl)


def _seconds(left: float) -> int:
    """Return for how long memcached shall keep what ends in *left* seconds: never shorter, 0 for ever."""
    if left <= 0:
        return -1
    return ceil(left) + 1 if left < MONTH - 2 else 0


def from_url(url: str) -> MemcachedStore:
    """Return the store at `memcached://host:port?timeout=1`. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 11211
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        timeout = float(options.pop("timeout", "1"))
    except ValueError:
        raise ConfigurationError("write memcached://host:port?timeout=seconds") from None
    if options or parts.path not in {"", "/"} or parts.username or not timeout > 0:
        raise ConfigurationError("memcached:// takes a host, a port and a timeout of more than zero")
    return MemcachedStore(host, port, timeout=timeout)
