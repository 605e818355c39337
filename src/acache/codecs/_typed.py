"""What codecs that decode into an annotation share. Knows no format."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from acache.errors import CodecError

__all__ = ["MAX_BYTES", "TypedCodec", "UnresolvedType", "describe", "unencodable"]

MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_DECODERS: Final = 1024  # annotations are few; more of them are made at run time, and then for ever

# What msgspec says about structure and types is worth repeating; what it and the classes of an
# application say about values may hold a secret.
_SAFE: Final = re.compile(
    r"(Expected `[^`]*`, got `[^`]*`|Object missing required field `[^`]*`|Input data was truncated"
    r"|Expected `array` of length [^`]*|(?:MessagePack data|JSON) is malformed: [\w\s()]*)( - at `[^`]*`)?"
)


class UnresolvedType(CodecError):
    """An annotation names something that is not defined yet; ask again at first use."""


class TypedCodec(ABC):
    """A codec that compiles each annotation once."""

    name: str
    needs_signature: bool = False

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        """Make a codec that refuses to decode more than *max_bytes*.

        The value may take up a few dozen times as much: in MessagePack an empty list is one byte.
        """
        self._max_bytes = max_bytes
        self._decoders: dict[object, Callable[[bytes], object]] = {}

    def __repr__(self) -> str:
        """Show the name."""
        return f"{type(self).__name__}()"

    @abstractmethod
    def encode(self, value: object) -> bytes:
        """Return *value* as bytes; raise CodecError if it has no such form."""

    @abstractmethod
    def _compile(self, type: object) -> Callable[[bytes], object]:
        """Return what decodes into *type*; raise CodecError, with the remedy, if nothing can."""

    def decode(self, data: bytes, type: object) -> object:
        """Return the value in *data* as an instance of *type*; raise CodecError if it is none."""
        return self.decoder(type)(data)

    def decoder(self, type: object) -> Callable[[bytes], object]:
        """Return `decode` for one *type*, to keep: looking up a union costs more than decoding a row."""
        hashable = True
        try:
            decode = self._decoders.get(type)
        except TypeError:
            hashable, decode = False, None
        if decode is None:
            decode = self._guarded(type)
            if len(self._decoders) >= _MAX_DECODERS:
                self._decoders.clear()
            if hashable:
                self._decoders[type] = decode
        return decode

    def check_type(self, type: object) -> bool:
        """Return whether the annotation *type* can be served; False while it names what is not defined yet.

        Raises CodecError, with the remedy, if it cannot.
        """
        try:
            self.decoder(type)
        except UnresolvedType:
            return False
        return True

    def _guarded(self, type: object) -> Callable[[bytes], object]:
        if isinstance(type, str):
            raise UnresolvedType(f"{type!r} is the name of a type, not a type")
        read = self._compile(type)
        name, max_bytes = self.name, self._max_bytes

        def decode(data: bytes) -> object:
            if len(data) > max_bytes:
                raise CodecError(f"{len(data)} bytes of {name} are more than max_bytes={max_bytes}")
            try:
                return read(data)
            except Exception as error:  # noqa: BLE001 - code of the type may have run
                raise CodecError(f"bytes of {name} are no {describe(type)}: {_safe(error)}") from None

        return decode


def describe(annotation: object) -> str:
    """Return the name of a class, or an annotation as it would be written."""
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def unencodable(codec: str, value: object, error: Exception) -> CodecError:
    """Return what to raise for an *error* of an encoder, without words that may hold the value."""
    kind = describe(type(value))
    if isinstance(error, OverflowError):
        return CodecError(
            f"{codec} holds integers of 64 bits, {kind} has a larger one: make it a str or a Decimal"
        )
    if isinstance(error, RecursionError):
        return CodecError(f"{kind} is nested too deeply, or contains itself")
    return CodecError(f"{kind} cannot be encoded as {codec}: {type(error).__name__}")


def _safe(error: Exception) -> str:
    text = str(error)
    return text if _SAFE.fullmatch(text) else type(error).__name__
