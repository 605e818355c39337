"""What is asked of any codec, also of one that has nothing but `name`, `encode` and `decode`."""

from collections.abc import Callable, Collection
from typing import Protocol

from acache.errors import ConfigurationError

__all__ = ["AnyCodec", "check_signing", "check_type", "copier", "decoder"]


class AnyCodec(Protocol):
    """A codec, as `acache.protocols` a floor above has it: each is the other to a type checker."""

    name: str

    def encode(self, value: object) -> bytes:
        """Return *value* as bytes."""
        ...

    def decode(self, data: bytes, type: object) -> object:
        """Return the value in *data* as an instance of *type*."""
        ...


def decoder(codec: AnyCodec, type: object) -> Callable[[bytes], object]:
    """Return *codec*'s `decode` for one *type*, to keep.

    Raises CodecError if the codec knows already that it cannot serve the annotation.
    """
    make: Callable[[object], Callable[[bytes], object]] | None = getattr(codec, "decoder", None)
    return make(type) if make else lambda data: codec.decode(data, type)


def check_type(codec: AnyCodec, type: object) -> bool:
    """Return whether *codec* serves the annotation *type*; False while it names what is not defined yet.

    Raises CodecError, with the remedy, if it cannot. A codec that does not say is taken at its word on
    the first value.
    """
    check: Callable[[object], bool] | None = getattr(codec, "check_type", None)
    return check(type) if check else True


def check_signing(codec: AnyCodec, signing_keys: Collection[bytes]) -> None:
    """Raise ConfigurationError if *codec* can run code while it reads and nothing says who wrote."""
    if getattr(codec, "needs_signature", False) and not signing_keys:
        raise ConfigurationError(
            f"codec={codec.name!r} can run any code that somebody puts into the store: "
            f"give the cache signing_keys=[...], or use another codec"
        )


def copier(codec: AnyCodec, type: object) -> Callable[[object], object]:
    """Return a function that copies a value of *type* by encoding and decoding it; it raises CodecError."""
    encode, decode = codec.encode, decoder(codec, type)
    return lambda value: decode(encode(value))
