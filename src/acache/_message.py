"""What processes tell each other about keys and tags. Knows no store, no feed and no cache.

    magic  format version  body
    2      1               a MessagePack array: `Message`, in the order of its fields

A message is published in the same atomic step as the change that it tells, so its bytes are made
before the change and may be sent again by a client's retry: hearing one twice does no harm.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.msgpack import Decoder, Encoder

from acache.errors import CodecError

__all__ = ["DONE", "DROP", "MAX_MESSAGE_BYTES", "STORE", "Kind", "Message", "MessageError", "pack", "unpack"]

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024  # half of what Redis lets a slow subscriber fall behind

_MAGIC: Final = b"\xac\xfe"
_VERSION: Final = 1
_BEGINS: Final = _MAGIC + bytes([_VERSION])
_ID_SIZE: Final = 16


class Kind(Enum):
    """What happened."""

    DROP = "drop"  # entries and versions are gone: near copies go, running loads are void
    STORE = "store"  # a loader's result stands: near copies go, waiters wake, no load is void
    DONE = "done"  # a lease was released and nothing was stored: waiters wake


DROP: Final = Kind.DROP
STORE: Final = Kind.STORE
DONE: Final = Kind.DONE


class MessageError(CodecError):
    """Bytes from the feed are no message, or of a format that this release does not know.

    What they meant to say is unknown, so the listener treats them like a gap: as a message about
    everything.
    """


# Built, written and read in C; the field order is the wire format of version 1.
class Message(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One thing that happened to any number of keys and tags."""

    origin: Annotated[bytes, Meta(min_length=_ID_SIZE, max_length=_ID_SIZE)]  # id of the cache that says it
    kind: Kind
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    holder: bytes | None = None  # STORE and DONE: the token of the lease that ended
    data: bytes | None = None  # STORE of a small value: its envelope, checked like one that was read

    def __repr__(self) -> str:
        """Show what it is about, never the value."""
        return f"<Message {self.kind.value} keys={list(self.keys)} tags={list(self.tags)}>"


_write: Final = Encoder().encode
_READERS: Final[Mapping[int, Callable[[memoryview], Message]]] = {1: Decoder(Message).decode}


def pack(message: Message) -> bytes:
    """Return the bytes to publish.

    Raises MessageError if the origin is not 16 bytes long, or past `MAX_MESSAGE_BYTES`: say it in
    several messages then.
    """
    if len(message.origin) != _ID_SIZE:
        raise MessageError(f"origin must be {_ID_SIZE} bytes, not {len(message.origin)}")
    data = _BEGINS + _write(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"a message of {len(data)} bytes is too long: name fewer keys and tags in each")
    return data


def unpack(data: bytes) -> Message:
    """Return the message in *data*; raise MessageError, and nothing else, whatever the bytes are."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError("the message is too long")
    if data[:2] != _MAGIC or len(data) < len(_BEGINS):
        raise MessageError("these bytes are no message of acache")
    read = _READERS.get(data[2])
    if read is None:
        raise MessageError("the message has a format that this release of acache does not know")
    try:
        return read(memoryview(data)[len(_BEGINS) :])
    except Exception:  # noqa: BLE001 - whatever is wrong with bytes from outside, the answer is the same
        raise MessageError("the message is damaged") from None
