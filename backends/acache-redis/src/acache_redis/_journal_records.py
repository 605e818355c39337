"""What a journal in Redis keeps of a write, as bytes. Pure; the scripts look at none of it.

A record is a line of JSON, which a person with redis-cli can read, then the id, then the payload. A
place is a key between its length and a number (`_journal_scripts`)."""

import json
from collections.abc import Sequence
from typing import Any, Final

from acache.protocols import DeadLetter, Write

DIGITS: Final = 20
"""Of a number, so that the order of text is that of numbers."""

_HEAD: Final = 8  # hexadecimal digits of a key's length, before it


def number(sequence: int) -> bytes:
    """Return a sequence number as the scripts compare it."""
    return b"%020d" % sequence


def key_bytes(key: str) -> bytes:
    """Return a key as the scripts take it; any character of a key has its bytes."""
    return key.encode("utf-8", "surrogatepass")


def key_text(key: bytes) -> str:
    """Return the key that `key_bytes` made these of."""
    return key.decode("utf-8", "surrogatepass")


def pack(write: Write) -> bytes:
    """Return the record of *write*, but for its key and number."""
    head = {"v": 1, "at": write.at, "tags": write.tags, "id": len(write.id), "gone": write.payload is None}
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + write.id + (write.payload or b"")


def unpack(place: bytes, record: bytes) -> Write:
    """Return the write. Raises ValueError, KeyError or TypeError if these are not a place and a record."""
    line, _, rest = record.partition(b"\n")
    head: dict[str, Any] = json.loads(line)
    if head["v"] != 1:
        raise ValueError("a record of another release of acache-redis")
    length = int(head["id"])
    return Write(
        key=key_text(place[_HEAD:-DIGITS]),
        id=rest[:length],
        payload=None if head["gone"] else rest[length:],
        tags=tuple(head["tags"]),
        sequence=int(place[-DIGITS:]),
        at=float(head["at"]),
    )


def unpack_all(found: Sequence[bytes]) -> list[Write]:
    """Return the writes of a reply that is place, record, place, record."""
    return [unpack(place, record) for place, record in zip(found[::2], found[1::2], strict=True)]


def pack_head(error: str, at: float) -> bytes:
    """Return what a dead letter says beside its write."""
    return json.dumps({"error": error, "at": at}, separators=(",", ":")).encode()


def unpack_letter(place: bytes, letter: bytes) -> DeadLetter:
    """Return the dead letter. Raises what `unpack` raises if these are not a place and a letter."""
    attempts, length = int(letter[:10]), int(letter[10:20])
    head, record = letter[20 : 20 + length], letter[20 + length + DIGITS :]
    said, write = json.loads(head), unpack(place, record)
    return DeadLetter(
        id=f"{write.sequence}:{write.key}",
        key=write.key,
        write=write,
        error=said["error"],
        attempts=attempts,
        at=said["at"],
    )
