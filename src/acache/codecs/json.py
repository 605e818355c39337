"""JSON: larger and slower than MessagePack, readable by people and other programs. Knows no store."""

from collections.abc import Callable

import msgspec

from acache.codecs._annotations import check_annotation, refuse_value
from acache.codecs._typed import MAX_BYTES, TypedCodec, unencodable
from acache.errors import CodecError

__all__ = ["JSONCodec"]


class JSONCodec(TypedCodec):
    """JSON by msgspec, decoded into the annotation.

    Serves what `MsgpackCodec` serves, and integers of any size, but neither NaN nor infinity.
    """

    name: str = "json"

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        """Make a codec that refuses to decode more than *max_bytes*."""
        super().__init__(max_bytes=max_bytes)
        self._write = msgspec.json.Encoder(enc_hook=refuse_value).encode

    def encode(self, value: object) -> bytes:
        """Return *value* as JSON; raise CodecError if it has no such form."""
        try:
            return self._write(value)
        except CodecError:
            raise
        except Exception as error:  # noqa: BLE001 - code of the value's class may have run
            raise unencodable(self.name, value, error) from None

    def _compile(self, type: object) -> Callable[[bytes], object]:
        check_annotation(type)
        return msgspec.json.Decoder[object](type).decode
