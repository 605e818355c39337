"""memcached's text protocol over a few connections. Knows no record and no claim.

A connection serves one call at a time; whatever ends a call early, cancellation too, ends its connection,
so that nobody ever reads another's answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

CONNECTIONS = 8
KEYS_PER_LINE = 100


class Found(NamedTuple):
    """An item, and what to compare when it is replaced."""

    data: bytes
    unique: bytes


class Change(NamedTuple):
    """An item to store: in place of the one with `unique`, or, with None, where nothing is."""

    key: str
    data: bytes
    seconds: int  # to live; -1 removes it
    unique: bytes | None


class ProtocolError(OSError):
    """The server said something that is no answer to what it was asked."""


class Client:
    """Connections to one server, of one event loop. Raises OSError and TimeoutError."""

    def __init__(self, host: str, port: int, *, timeout: float) -> None:
        self._address = (host, port)
        self._timeout = timeout
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def fetch(self, keys: Sequence[str]) -> dict[str, Found]:
        """Return those of *keys* that are there."""
        lines = [keys[start : start + KEYS_PER_LINE] for start in range(0, len(keys), KEYS_PER_LINE)]
        found: dict[str, Found] = {}
        async with self._connection() as (reader, writer):
            writer.write(b"".join(f"gets {' '.join(line)}\r\n".encode() for line in lines))
            for _ in lines:
                while (line := await _line(reader)) != b"END":
                    match line.split():
                        case [b"VALUE", key, _, size, unique]:
                            data = await reader.readexactly(int(size) + 2)
                            found[key.decode()] = Found(data[:-2], unique)
                        case _:
                            raise ProtocolError(repr(line[:80]))
        return found

    async def change(self, changes: Sequence[Change]) -> list[bool]:
        """Return of each whether it was stored: not where somebody else came first."""
        async with self._connection() as (reader, writer):
            for key, data, seconds, unique in changes:
                verb, compare = ("add", "") if unique is None else ("cas", f" {unique.decode()}")
                writer.write(f"{verb} {key} 0 {seconds} {len(data)}{compare}\r\n".encode() + data + b"\r\n")
            outcomes = [await _line(reader) for _ in changes]
        for outcome in outcomes:
            if outcome not in {b"STORED", b"EXISTS", b"NOT_STORED", b"NOT_FOUND"}:
                raise ProtocolError(repr(outcome[:80]))
        return [outcome == b"STORED" for outcome in outcomes]

    async def put(self, key: str, data: bytes, seconds: int) -> None:
        """Store an item whatever was there."""
        async with self._connection() as (reader, writer):
            writer.write(f"set {key} 0 {seconds} {len(data)}\r\n".encode() + data + b"\r\n")
            if (outcome := await _line(reader)) != b"STORED":
                raise ProtocolError(repr(outcome[:80]))

    async def aclose(self) -> None:
        """Close the idle connections; busy ones end with their calls."""
        while self._idle:
            self._idle.pop()[1].close()
        await asyncio.sleep(0)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(self._timeout), self._slots:
            connection = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
            try:
                yield connection
            except BaseException:
                connection[1].transport.abort()
                raise
            self._idle.append(connection)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection")
    return line[:-2]
