"""Compression around another codec. Knows no store; imports zstandard only when a codec is made."""

import threading
from collections.abc import Callable
from typing import Final

from acache.codecs._ask import AnyCodec, check_type, decoder
from acache.codecs._typed import MAX_BYTES
from acache.errors import CodecError, ConfigurationError

__all__ = ["ZstdCodec"]

# The first byte of what is stored.
_RAW: Final = b"\x00"
_ZSTD: Final = b"\x01"


class ZstdCodec:
    """Compresses what *inner* encodes, where it is large enough and gets smaller.

    `name` is the inner one's and "+zstd".
    """

    def __init__(
        self, inner: AnyCodec, *, threshold: int = 1024, max_bytes: int = MAX_BYTES, level: int = 3
    ) -> None:
        """Compress from *threshold* bytes on; refuse to compress or to expand to more than *max_bytes*.

        Raises ConfigurationError if zstandard is not installed.
        """
        try:
            import zstandard
        except ImportError as error:
            raise ConfigurationError(
                'compression needs zstandard: pip install "acache-core[zstd]"'
            ) from error

        # One of each per thread: they are expensive to make and not safe to share.
        class Tools(threading.local):
            def __init__(self) -> None:
                self.compress = zstandard.ZstdCompressor(level=level).compress
                self.decompress = zstandard.ZstdDecompressor().decompress

        self._inner = inner
        self._tools = Tools()
        self._size = zstandard.frame_content_size
        self._threshold = threshold
        self._max_bytes = max_bytes
        self.name = f"{inner.name}+zstd"
        self.needs_signature: bool = getattr(inner, "needs_signature", False)

    def __repr__(self) -> str:
        """Show the codec inside."""
        return f"ZstdCodec({self._inner!r})"

    def encode(self, value: object) -> bytes:
        """Return *value* encoded and, where that is smaller, compressed; raise CodecError past max_bytes."""
        data = self._inner.encode(value)
        if len(data) > self._max_bytes:
            raise self._too_large(len(data))
        if len(data) >= self._threshold:
            smaller = self._tools.compress(data)
            if len(smaller) < len(data):
                return _ZSTD + smaller
        return _RAW + data

    def decode(self, data: bytes, type: object) -> object:
        """Return the value in *data* as an instance of *type*; raise CodecError if it is none."""
        return self._inner.decode(self._expand(data), type)

    def decoder(self, type: object) -> Callable[[bytes], object]:
        """Return `decode` for one *type*, to keep."""
        inner = decoder(self._inner, type)
        return lambda data: inner(self._expand(data))

    def check_type(self, type: object) -> bool:
        """Return what the codec inside says about the annotation."""
        return check_type(self._inner, type)

    def _expand(self, data: bytes) -> bytes:
        kind, rest = data[:1], data[1:]
        if kind == _RAW:
            return rest
        if kind != _ZSTD:
            raise CodecError("these bytes were not written by ZstdCodec")
        try:
            # The frame says how large its content is, and more than it says is not decompressed; so
            # the bound holds before anything of that size is allocated.
            size = self._size(rest)
            if 0 <= size <= self._max_bytes:
                return self._tools.decompress(rest, allow_extra_data=False)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with them
            raise CodecError(f"compressed bytes are damaged: {type(error).__name__}") from None
        raise self._too_large(size) if size > 0 else CodecError("compressed bytes do not tell their size")

    def _too_large(self, size: int) -> CodecError:
        return CodecError(f"{size} bytes of {self._inner.name} are more than max_bytes={self._max_bytes}")
