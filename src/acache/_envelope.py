"""The bytes of an entry in a remote store. Knows no store, no codec and no clock.

    magic  format version  kind of check  length of the body  check          body
    2      1               1              4, little endian    4 or 16 bytes  length

The body is one MessagePack array: `Stored`, in the order of its fields. The check reads namespace,
header, key and body, so bytes that were moved to another key or namespace are refused like damaged
ones: the namespace is read with its length, the header has a fixed one and names the body's, so no
two different inputs of the check are the same bytes. No body is parsed before its check passed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from math import inf
from struct import Struct as Layout
from typing import Annotated, Final, Literal
from zlib import crc32

from msgspec import Meta, Struct
from msgspec.msgpack import Decoder, Encoder

from acache.errors import CodecError, ConfigurationError

__all__ = ["MAX_BYTES", "EnvelopeError", "Reason", "Sealer", "Stored"]

MAX_BYTES: Final = 64 * 1024 * 1024

_MAGIC: Final = b"\xac\xca"  # no text in UTF-8, so no JSON, and no pickle begins like this
_VERSION: Final = 1
_HEADER: Final = Layout("<4sI")  # magic, version and kind of check in one; length of the body
_SUMMED: Final = Layout("<4sII")  # the same and the checksum
_HEADER_SIZE: Final = _HEADER.size
_SUMMED_SIZE: Final = _SUMMED.size
_CHECKSUM: Final = 0
_SIGNATURE: Final = 1
_MIN_KEY: Final = 16

Reason = Literal[
    "foreign",  # not an envelope at all
    "truncated",  # shorter than it says
    "corrupt",  # damaged, or moved from another key or namespace
    "unsigned",  # signing keys are configured, these bytes carry a checksum only
    "signature",  # signed with an unknown key, or altered or moved since
    "version",  # of a format that this release does not know
    "oversized",  # larger than `max_bytes`
]
"""Why bytes are refused."""

_EXPLAINED: Final[Mapping[Reason, str]] = {
    "foreign": "these bytes were not stored by acache",
    "truncated": "the stored bytes end too early",
    "corrupt": "the stored bytes are damaged or belong to another key or namespace",
    "unsigned": "the stored bytes are not signed, but signing_keys are configured",
    "signature": "the stored bytes are not signed with any of signing_keys for this key and namespace",
    "version": "the stored bytes have a format that this release of acache does not know",
    "oversized": "the bytes are more than max_value_bytes allows",
}

# What is wrong with the other kind of check than the one that this process is configured for.
_OTHER_KIND: Final[Mapping[int, Reason]] = {_CHECKSUM: "unsigned", _SIGNATURE: "signature"}


class EnvelopeError(CodecError):
    """Bytes cannot be trusted, or an entry cannot become bytes; `reason` says why in one word."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(_EXPLAINED[reason])
        self.reason: Reason = reason


# `ge` also keeps NaN out: an entry whose times compare with nothing would never end.
_Moment = Annotated[float, Meta(ge=-1e300)]


# A struct of msgspec and not a dataclass: it is built, written and read in C, once per remote hit.
# The field order is the wire format of version 1. When it has to change, this shape stays as the
# one that `_READERS[1]` reads, with a function from it to the new `Stored`.
class Stored(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An encoded value and what a reader in any process needs to judge it. Times are wall seconds."""

    payload: bytes
    codec: str  # name of the codec that wrote the payload
    born: _Moment  # when the load of the value began
    fresh_until: _Moment = inf  # inf: until invalidated
    expires: _Moment = inf  # after it nobody serves the value
    delta: _Moment = 0.0  # seconds that the load took
    version: str | None = None  # of the function that made the value
    space: bytes = b""  # the namespace's version, read before the load
    stamp: bytes | None = None  # the namespace's invalidation stamp, where late tags needed it
    missing: bool = False  # nothing exists under this key; the payload is empty
    tags: dict[str, bytes] = {}  # name to version; never changed

    def __repr__(self) -> str:
        """Show what decides, never the payload, which may be secret."""
        tags = list(self.tags)
        return (
            f"<Stored {len(self.payload)} bytes by {self.codec} fresh_until={self.fresh_until} tags={tags}>"
        )


_write: Final = Encoder().encode
_read: Final = Decoder(Stored).decode
_READERS: Final[Mapping[int, Callable[[bytes], Stored]]] = {_VERSION: _read}


class Sealer:
    """Turns entries into bytes and back, for one namespace.

    Without *signing_keys* the check is a CRC-32: it finds damage and misplaced bytes, and costs a
    fraction of a hash; against somebody who can write to the store only a key helps. With them it is
    keyed BLAKE2b of 128 bits; the first key signs, all of them verify. To change keys, append the new
    one everywhere, then move it to the front, then remove the old one.
    """

    __slots__ = ("_around", "_begins", "_begun", "_max_bytes", "_signers")

    def __init__(
        self, namespace: str, *, signing_keys: Sequence[bytes] = (), max_bytes: int = MAX_BYTES
    ) -> None:
        """Make a sealer; *max_bytes* bounds what it writes and reads.

        Raises ConfigurationError for signing keys that are not bytes or are shorter than 16.
        """
        space = namespace.encode()
        space = len(space).to_bytes(4, "little") + space
        # Checks that have read the namespace, and a key, already: each use continues a copy.
        self._begun = crc32(space)
        self._signers = [blake2b(space, key=key, digest_size=16) for key in _derived(signing_keys)]
        self._begins = _MAGIC + bytes([_VERSION, _SIGNATURE if self._signers else _CHECKSUM])
        self._around = _HEADER_SIZE + (16 if self._signers else 4)
        self._max_bytes = min(max_bytes, 2**32 - 1)  # the header can say no more

    def __repr__(self) -> str:
        """Say how many keys there are, never which."""
        return f"<Sealer signing_keys={len(self._signers)} max_bytes={self._max_bytes}>"

    def seal(self, key: str, stored: Stored) -> bytes:
        """Return the bytes to store under *key*.

        Raises EnvelopeError ("oversized") past `max_bytes`.
        """
        body = _write(stored)
        if self._around + len(body) > self._max_bytes:
            raise EnvelopeError("oversized")
        header = _HEADER.pack(self._begins, len(body))
        place = header + key.encode("utf-8", "surrogatepass")
        check = _signature(self._signers[0], place, body) if self._signers else self._checksum(place, body)
        return header + check + body

    def open(self, key: str, data: bytes) -> Stored:
        """Return what was sealed under *key*.

        Raises EnvelopeError, and nothing else, whatever the bytes are.
        """
        if not self._signers and _SUMMED_SIZE <= len(data) <= self._max_bytes:
            # Nearly every hit in a remote store: in few steps.
            begins, size, checksum = _SUMMED.unpack_from(data)
            rest = data[_SUMMED_SIZE:]
            if begins == self._begins and size == len(rest):
                at = crc32(key.encode("utf-8", "surrogatepass"), crc32(data[:_HEADER_SIZE], self._begun))
                if checksum == crc32(rest, at):
                    try:
                        return _read(rest)
                    except Exception:  # noqa: BLE001 - a checksum can be forged, so the body can be anything
                        raise EnvelopeError("corrupt") from None
        fits = _HEADER_SIZE <= len(data) <= self._max_bytes
        if fits and _HEADER.unpack_from(data) == (self._begins, len(data) - self._around):
            read = _READERS[_VERSION]
        else:
            read = self._judge(data)
        place = data[:_HEADER_SIZE] + key.encode("utf-8", "surrogatepass")
        check, body = data[_HEADER_SIZE : self._around], data[self._around :]
        if self._signers:
            if not any(compare_digest(check, _signature(signer, place, body)) for signer in self._signers):
                raise EnvelopeError("signature")
        elif check != self._checksum(place, body):
            raise EnvelopeError("corrupt")
        return _parsed(read, body)

    def _judge(self, data: bytes) -> Callable[[bytes], Stored]:
        # A header that this sealer would not write: say what is wrong, or what reads an older version.
        if len(data) > self._max_bytes:
            raise EnvelopeError("oversized")
        if data[:2] != _MAGIC:
            raise EnvelopeError("foreign")
        if len(data) < _HEADER_SIZE:
            raise EnvelopeError("truncated")
        begins, size = _HEADER.unpack_from(data)
        version, kind = begins[2], begins[3]
        if version not in _READERS:
            raise EnvelopeError("version")
        if kind != self._begins[3]:
            raise EnvelopeError(_OTHER_KIND.get(kind, "corrupt"))
        if len(data) != self._around + size:
            raise EnvelopeError("truncated" if len(data) < self._around + size else "corrupt")
        return _READERS[version]

    def _checksum(self, place: bytes, body: bytes) -> bytes:
        return crc32(body, crc32(place, self._begun)).to_bytes(4, "little")


def _parsed(read: Callable[[bytes], Stored], body: bytes) -> Stored:
    try:
        return read(body)
    except Exception:  # noqa: BLE001 - a checksum can be forged, so the body can be anything
        raise EnvelopeError("corrupt") from None


def _signature(signer: "blake2b", place: bytes, body: bytes) -> bytes:
    mac = signer.copy()
    mac.update(place)
    mac.update(body)
    return mac.digest()


def _derived(signing_keys: Iterable[object]) -> list[bytes]:
    # BLAKE2b takes keys of at most 64 bytes; hashing them first allows longer ones.
    if isinstance(signing_keys, bytes | str):
        raise ConfigurationError("signing_keys must be a sequence of bytes: write [key], not key")
    derived: list[bytes] = []
    for key in signing_keys:
        if not isinstance(key, bytes) or len(key) < _MIN_KEY:
            raise ConfigurationError(
                f"each of signing_keys must be at least {_MIN_KEY} bytes: use secrets.token_bytes(32)"
            )
        derived.append(blake2b(key, digest_size=32, person=b"acache-envelope").digest())
    return derived
