"""MessagePack, the default: small, fast and typed. Knows no store."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final, NoReturn, cast
from uuid import UUID

import msgspec

from acache.codecs._annotations import check_annotation, refuse_value
from acache.codecs._typed import MAX_BYTES, TypedCodec, unencodable
from acache.errors import CodecError

__all__ = ["MsgpackCodec"]

# How the timestamp extension begins, in its sizes of 4, 8 and 12 bytes.
_TIMESTAMPS: Final = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")
_NATIVE: Final = (bytes, bytearray, memoryview, datetime, date, time, timedelta, Decimal, UUID)


class MsgpackCodec(TypedCodec):
    """MessagePack by msgspec, decoded into the annotation.

    Comes back equal, in value and type: dataclasses, TypedDict, NamedTuple, msgspec.Struct, attrs,
    each of them or None, generics and tagged unions of them, datetime, date, time, timedelta, Decimal,
    UUID, Enum, bytes, sets, frozensets and tuples. Refused with the remedy: a union of two classes
    without tags, integers beyond 64 bits, paths, IP addresses, pydantic models. What an annotation does
    not say is lost (under `Any` a set becomes a list, a UUID text): compare with `same`.
    """

    name: str = "msgpack"

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        """Make a codec that refuses to decode more than *max_bytes*."""
        super().__init__(max_bytes=max_bytes)
        self._write = msgspec.msgpack.Encoder(enc_hook=refuse_value).encode

    def encode(self, value: object) -> bytes:
        """Return *value* as MessagePack; raise CodecError if it has no such form."""
        try:
            data = self._write(value)
            if b"\xff" in data and any(mark in data for mark in _TIMESTAMPS):
                plain = msgspec.to_builtins(value, builtin_types=_NATIVE, enc_hook=refuse_value)
                data = self._write(_keep_offsets(plain))
        except CodecError:
            raise
        except Exception as error:  # noqa: BLE001 - code of the value's class may have run
            raise unencodable(self.name, value, error) from None
        return data

    def _compile(self, type: object) -> Callable[[bytes], object]:
        check_annotation(type)
        return msgspec.msgpack.Decoder[object](type, ext_hook=_refuse_extension).decode


def _keep_offsets(plain: object) -> object:
    # msgspec writes an aware datetime as a timestamp, which is always UTC: the same moment, but another
    # time of day. One with an offset is written as text instead, which typed decoding reads as well.
    if isinstance(plain, datetime):
        return plain.isoformat() if plain.utcoffset() else plain
    if isinstance(plain, dict):
        pairs = cast("dict[object, object]", plain).items()
        return {_keep_offsets(key): _keep_offsets(value) for key, value in pairs}
    if isinstance(plain, list | tuple):
        return [_keep_offsets(part) for part in cast("Sequence[object]", plain)]
    return plain


def _refuse_extension(code: int, data: memoryview) -> NoReturn:  # noqa: ARG001 - msgspec's signature
    raise CodecError(f"acache never writes extension {code} of MessagePack")
