"""A write as the journal keeps it, and back. Knows one pattern's types and keys, no journal and no loop."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final, cast

from msgspec import Struct

from acache._overlay import Standing
from acache.clock import Clock
from acache.codecs import MsgpackCodec, decoder, plain, same
from acache.errors import CodecError, ConfigurationError
from acache.protocols import Codec, Write

LARGEST_PLAIN: Final = 65_536  # bytes; beyond, the codec's limit of size may count


class Draft(Struct, kw_only=True, eq=False, gc=False):
    """A write that has no number yet; like `Standing` built in C."""

    key: str
    id: Any
    value: Any  # None for a removal
    encoded: bytes  # the id
    payload: bytes | None
    tags: tuple[str, ...]
    write: Write | None = None  # once it has a number

    def numbered(self, sequence: int, at: float) -> Write:
        """Return what the journal keeps."""
        return Write(
            key=self.key, id=self.encoded, payload=self.payload, tags=self.tags, sequence=sequence, at=at
        )


class Records:
    """How the ids and values of one pattern become bytes that bring them back as they are."""

    __slots__ = (
        "_codec",
        "_decode_id",
        "_decode_value",
        "_id_may_differ",
        "_key",
        "_may_differ",
        "_template",
    )

    def __init__(
        self, codec: Codec | None, *, type: Any, id_type: Any, key: Callable[[Any], str], template: str
    ) -> None:
        """Encode with *codec* (default: MessagePack); *key* makes an id's key from *template*."""
        self._codec = codec or MsgpackCodec()
        self._decode_value = decoder(self._codec, type)
        self._decode_id = decoder(self._codec, id_type)
        # What is plain comes back as it is, where nothing but MessagePack has a say.
        self._may_differ = _always if codec or type is not Any else _unless_plain
        self._id_may_differ = _always if codec or id_type is not Any else _unless_plain
        self._key = key
        self._template = template

    def draft(self, key: str, id: Any, value: Any, tags: tuple[str, ...]) -> Draft:
        """Return the write of *value*, None for a removal. Raises CodecError for what would not come back."""
        encoded = self._codec.encode(id)
        if self._id_may_differ(id, encoded) and not same(self._decode_id(encoded), id):
            raise CodecError(
                f"an id of {self._template!r} would not be recovered as it is: name its id_type="
            )
        payload = None if value is None else self._codec.encode(value)
        own = None if payload is None else self._own(value, payload)
        return Draft(key=key, id=id, value=own, encoded=encoded, payload=payload, tags=tags)

    def _own(self, value: Any, payload: bytes) -> Any:
        """Return a copy of *value*: its caller may change it once it is written."""
        if not self._may_differ(value, payload):
            return _copied(value)
        recovered = self._decode_value(payload)
        if not same(recovered, value):
            raise CodecError(f"a value of {self._template!r} would not be recovered as it is: name its type=")
        return recovered

    def value(self, write: Write) -> Any:
        """Return the value of *write*, None for a removal; a new one each time, which nobody else holds."""
        return None if write.payload is None else self._decode_value(write.payload)

    def recovered(self, write: Write, clock: Clock) -> Standing:
        """Return how *write*, read from the journal, stands in the overlay.

        Raises CodecError, and ConfigurationError for a write of another pattern."""
        try:
            id = self._decode_id(write.id)
            value = self.value(write)
        except CodecError as error:
            raise CodecError(
                f"journal=: a write of {write.key!r} cannot be read back ({error}); it stays in the journal: "
                f"use the type= and id_type= that wrote it"
            ) from error
        if self._key(id) != write.key:
            raise ConfigurationError(
                f"journal=: it holds a write of {write.key!r}, which is no key of {self._template!r}; "
                f"give each pattern a journal of its own"
            )
        since = clock.monotonic() - max(0.0, clock.time() - write.at)
        return Standing(write=write, id=cast("Any", id), value=value, since=since)


def private(value: Any) -> Any:
    """Return a copy of *value*, all the way down: whoever gets it may change it in place."""
    return _copied(value) if plain(value) else deepcopy(value)


def _copied(value: Any) -> Any:
    """Return a copy of *value*, which is plain."""
    return cast("Any", value).copy() if type(value) is dict else value


def _always(value: object, data: bytes) -> bool:  # noqa: ARG001 - as `_unless_plain`
    return True


def _unless_plain(value: object, data: bytes) -> bool:
    return len(data) > LARGEST_PLAIN or not plain(value)
