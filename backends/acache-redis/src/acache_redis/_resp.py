"""The protocol of Redis, as much as is needed of it (RESP2). Pure: bytes in, replies out.

redis-py shakes hands on every connection; after that these few lines take over, because a coroutine
per value costs more than everything else about a batch.
"""

from collections.abc import Sequence
from typing import Any, Final, final

Command = Sequence[bytes | int]
Reply = Any
"""Bytes, an int, None, a list of these, or `Refused`."""

_STATUS, _REFUSED, _NUMBER, _BULK, _ARRAY = b"+-:$*"
_LONGEST_LINE: Final = 65_536


class Refused(Exception):
    """The server's answer to a command is an error."""

    @property
    def code(self) -> str:
        """The first word, by which errors are told apart: OOM, NOSCRIPT, READONLY and so on."""
        return str(self).partition(" ")[0]


def pack(commands: Sequence[Command]) -> bytes:
    """Return what to write for *commands*."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            text = argument if isinstance(argument, bytes) else b"%d" % argument
            parts += (b"$%d\r\n" % len(text), text, b"\r\n")
    return b"".join(parts)


@final
class Replies:
    """Takes what was received in pieces of any size and returns each reply once it is whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._missing = 0  # bytes until it is worth looking again: large values come in many pieces
        self._open: list[tuple[list[Reply], int]] = []  # arrays that are not full yet, outermost first

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that *data* completes. Raises ValueError if this is not RESP2."""
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return []
        buffer = data if len(self._pieces) == 1 else b"".join(self._pieces)
        whole: list[Reply] = []
        at = self._read(buffer, whole)
        self._pieces = [buffer[at:]] if at < len(buffer) else []
        return whole

    def _read(self, buffer: bytes, whole: list[Reply]) -> int:
        """Append what is whole to *whole*; return where the rest begins and note what it misses."""
        at = 0
        reply: Reply
        while (end := buffer.find(b"\r\n", at)) >= 0:
            kind, size = buffer[at], 0
            if kind == _BULK:
                size = int(buffer[at + 1 : end])
                start, stop = end + 2, end + 2 + size
                if size < 0:
                    reply, stop = None, end
                elif stop + 2 > len(buffer):
                    self._missing = stop + 2 - len(buffer)
                    return at
                else:
                    reply = buffer[start:stop]
                at = stop + 2
            else:
                line, at = buffer[at + 1 : end], end + 2
                reply = _line(kind, line)
                if kind == _ARRAY and reply > 0:
                    self._open.append(([], reply))
                    continue
                if kind == _ARRAY:
                    reply = [] if reply == 0 else None
            while self._open:
                array, length = self._open[-1]
                array.append(reply)
                if len(array) < length:
                    break
                reply = self._open.pop()[0]
            else:
                whole.append(reply)
        if len(buffer) - at > _LONGEST_LINE:
            raise ValueError("a line without an end")
        self._missing = 1
        return at


def _line(kind: int, line: bytes) -> Reply:
    """Return what a line means that is not the head of a bulk; the length if it heads an array."""
    if kind in (_NUMBER, _ARRAY):
        return int(line)
    if kind == _STATUS:
        return line
    if kind == _REFUSED:
        return Refused(line.decode("utf-8", "replace"))
    raise ValueError("not the protocol of Redis")
