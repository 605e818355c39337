"""Pickle, for values that nothing else serves. Knows no store; only for bytes that are signed."""

from acache.codecs._typed import describe
from acache.errors import CodecError

__all__ = ["PickleCodec"]


class PickleCodec:
    """Pickle, protocol 5. Reading a pickle can run any code, so a cache takes it with signing_keys only.

    Whoever knows a signing key can run code in every process that reads; neither the size nor the type
    of what is read is bounded by anything but that trust.
    """

    name: str = "pickle"
    needs_signature: bool = True

    def __repr__(self) -> str:
        """Show the name."""
        return "PickleCodec()"

    def encode(self, value: object) -> bytes:
        """Return *value* pickled; raise CodecError if it cannot be."""
        import pickle

        try:
            return pickle.dumps(value, protocol=5)
        except Exception as error:  # noqa: BLE001 - code of the value's class ran
            raise CodecError(f"{describe(type(value))} cannot be pickled: {type(error).__name__}") from None

    def decode(self, data: bytes, type: object) -> object:  # noqa: ARG002 - the protocol's words
        """Return what was pickled, whatever *type* is; raise CodecError if it cannot be rebuilt."""
        import pickle

        try:
            return pickle.loads(data)  # noqa: S301 - the envelope's signature was verified
        except Exception as error:  # noqa: BLE001 - a class may have moved or changed
            raise CodecError(f"a pickle cannot be read: {error.__class__.__name__}") from None

    def check_type(self, type: object) -> bool:  # noqa: ARG002
        """Return True: a pickle brings its types along."""
        return True
