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
_MANY: Final = 512
_SIZES: Final = [b"$%d\r\n" % size for size in range(_MANY)]  # of names: looked up, not written each time
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
            size = len(text)
            parts += (_SIZES[size] if size < _MANY else b"$%d\r\n" % size, text, b"\r\n")
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
        while True:
            if self._open:
                array, length = self._open[-1]
                at = _bulks(buffer, at, array, length)
                if len(array) == length:
                    self._open.pop()
                    self._put(array, whole)
                    continue
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            kind, line, rest = buffer[at], buffer[at + 1 : end], end + 2
            if kind == _ARRAY and int(line) > 0:
                self._open.append(([], int(line)))
            elif kind == _BULK and int(line) >= 0:
                stop = rest + int(line)
                if stop + 2 > len(buffer):
                    self._missing = stop + 2 - len(buffer)
                    return at
                self._put(buffer[rest:stop], whole)
                rest = stop + 2
            else:
                self._put(_line(kind, line), whole)
            at = rest
        if len(buffer) - at > _LONGEST_LINE:
            raise ValueError("a line without an end")
        self._missing = 1
        return at

    def _put(self, reply: Reply, whole: list[Reply]) -> None:
        (self._open[-1][0] if self._open else whole).append(reply)


def _bulks(buffer: bytes, at: int, into: list[Reply], length: int) -> int:
    """Append the bulks that stand whole at *at* until *into* has its *length*; return where the rest begins.

    Most of what is ever read is an array of these, so this is the loop that counts."""
    find, most = buffer.find, len(buffer) - 2
    while len(into) < length and (end := find(b"\r\n", at)) >= 0 and buffer[at] == _BULK:
        size = int(buffer[at + 1 : end])
        if size < 0:
            into.append(None)
            at = end + 2
            continue
        start = end + 2
        stop = start + size
        if stop > most:
            break
        into.append(buffer[start:stop])
        at = stop + 2
    return at


def _line(kind: int, line: bytes) -> Reply:
    """Return what a line means that heads neither a bulk nor an array with anything in it."""
    if kind == _NUMBER:
        return int(line)
    if kind in (_BULK, _ARRAY):
        return [] if int(line) == 0 else None
    if kind == _STATUS:
        return line
    if kind == _REFUSED:
        return Refused(line.decode("utf-8", "replace"))
    raise ValueError("not the protocol of Redis")
