"""A TCP proxy that does to a connection what networks do. Knows no protocol and no store.

Put it between a client and a real server and turn the weather: every setting may be changed at any time and
holds for what is on its way, too. Chance is drawn from the proxy's seed, so a run repeats its draws, though
not the moments at which a real server answers."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Final, Self

_READ: Final = 64 * 1024  # bytes taken from a connection at once
_QUEUE: Final = 64  # pieces on their way, per direction; then the sender has to wait
_ABORT: Final = struct.pack("ii", 1, 0)  # linger for zero seconds: closing sends RST


class Proxy:
    """One listening port in front of one server. `async with Proxy("127.0.0.1", 6379) as proxy:`.

    Settings: *latency* and *jitter* (seconds each way, jitter uniform on top), *bandwidth* (bytes per second
    and direction), *fragment* (no piece is longer than so many bytes), *corruption* and *cuts* (chances per
    piece that one of its bits is flipped, that the connection ends after half of it), *blackhole* (nothing
    passes, nothing is closed). `refuse`, `reset` and `cut` act at once. `struck` counts what happened."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        """Forward to *host* and *port*; nothing listens before the proxy is entered."""
        self.latency = 0.0
        self.jitter = 0.0
        self.bandwidth: float | None = None
        self.fragment: int | None = None
        self.corruption = 0.0
        self.cuts = 0.0
        self.struck: Counter[str] = Counter()
        self.port = 0
        """Where it listens, on 127.0.0.1; stays the same while it is entered."""
        self._target = (host, port)
        self._rng = Random(seed)  # noqa: S311 - weather, no secret
        self._clear = asyncio.Event()
        self._clear.set()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life ---------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Listen, on a free port the first time. OSError if the port has been taken since."""
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and end every connection; no task is left."""
        await self.refuse()
        self.reset()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    @property
    def connections(self) -> int:
        """How many pass through it now."""
        return len(self._links)

    # --- weather ------------------------------------------------------------------------------------

    @property
    def blackhole(self) -> bool:
        """Whether nothing passes. Afterwards what was on its way goes on, as TCP would send it again."""
        return not self._clear.is_set()

    @blackhole.setter
    def blackhole(self, dark: bool) -> None:
        if dark:
            self.struck["blackhole"] += 1
            self._clear.clear()
        else:
            self._clear.set()

    def calm(self) -> None:
        """Set everything back to a perfect network; one that refuses goes on refusing."""
        self.latency = self.jitter = self.corruption = self.cuts = 0.0
        self.bandwidth = self.fragment = None
        self.blackhole = False

    async def refuse(self) -> None:
        """Refuse new connections, as a server that is not there; those that stand stay."""
        server, self._server = self._server, None
        if server is not None:
            self.struck["refuse"] += 1
            server.close()

    async def accept(self) -> None:
        """Listen, again on the same port if it refused."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, "127.0.0.1", self.port, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def reset(self) -> None:
        """Break every connection at once: both ends see a reset."""
        for link in list(self._links):
            self.struck["reset"] += 1
            link.abort()

    def cut(self) -> None:
        """End every connection in good order, whatever was on its way."""
        for link in list(self._links):
            self.struck["cut"] += 1
            link.close()

    # --- forwarding ---------------------------------------------------------------------------------

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            _abort(writer)
            return
        link = _Link(writer, back)
        self._links.add(link)
        try:
            await asyncio.gather(self._one_way(reader, back, link), self._one_way(there, writer, link))
        finally:
            self._links.discard(link)
            link.close()

    async def _one_way(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: "_Link"
    ) -> None:
        """Carry bytes in one direction until either end is closed; then close both."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)
        sender = asyncio.create_task(self._send(line, writer, link))
        try:
            with suppress(OSError):
                while data := await reader.read(_READ):
                    for piece in self._pieces(data):
                        await line.put((self._arrival(), piece))
            await line.put((0.0, b""))
            await sender
        finally:
            sender.cancel()
            await asyncio.wait([sender])
            link.close()

    async def _send(
        self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, link: "_Link"
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await line.get()
            if not piece:
                return
            pause = due - loop.time()
            if self.bandwidth is not None:
                pause = max(pause, 0.0) + len(piece) / self.bandwidth
            if pause > 0:
                await asyncio.sleep(pause)
            await self._clear.wait()
            cut = self._strikes("cuts", self.cuts)
            if self._strikes("corruption", self.corruption):
                piece = self._damaged(piece)
            with suppress(OSError):
                writer.write(piece[: len(piece) // 2] if cut else piece)
                await writer.drain()
            if cut:
                link.close()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = self.fragment or len(data)
        for start in range(0, len(data), size):
            yield data[start : start + size]

    def _arrival(self) -> float:
        return asyncio.get_running_loop().time() + self.latency + self.jitter * self._rng.random()

    def _strikes(self, what: str, chance: float) -> bool:
        struck = chance > 0 and self._rng.random() < chance
        if struck:
            self.struck[what] += 1
        return struck

    def _damaged(self, piece: bytes) -> bytes:
        place = self._rng.randrange(len(piece))
        flipped = piece[place] ^ (1 << self._rng.randrange(8))
        return piece[:place] + bytes([flipped]) + piece[place + 1 :]


class _Link:
    """The two ends of one connection through the proxy."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def abort(self) -> None:
        for writer in self._writers:
            _abort(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an end."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()
