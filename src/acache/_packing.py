"""Entries to a remote store's bytes and back, and whether they are worth anything here.

A stored entry has wall times, because it travels between hosts; one in this process has times of
its monotonic clock. It is *valid* while the versions that it was stored with - of the namespace and
of each of its tags - equal the current ones; a missing version is no match."""

from collections import abc
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from math import inf
from sys import maxsize
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

from acache._entry import MAX_EXPONENTIAL, Entry
from acache._envelope import EnvelopeError, Sealer, Stored
from acache.clock import Clock
from acache.codecs import AnyCodec, decoder, same
from acache.codecs._typed import TypedCodec
from acache.errors import CodecError

CHECKED_AT_FIRST: Final = 8  # stores of a type that are compared with what comes back (P8)
CHECKED_EVERY: Final = 64  # ... and then one in so many
CHECKED_UP_TO: Final = 16 * 1024  # bytes; smaller ones of an open type are compared at every store
MAX_TYPES: Final = 1024
NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})

BARE: Final[frozenset[object]] = frozenset((Any, object, dict, list, tuple, set, frozenset))
ABSTRACT: Final[frozenset[object]] = frozenset(
    (abc.Collection, abc.Iterable, abc.Mapping, abc.MutableMapping, abc.Sequence, abc.Set)
)  # with an element type or without: what a value was, a tuple or a list, they do not say


class Packer:
    """Packs for one namespace with one codec."""

    __slots__ = ("_clock", "_codec", "_counts", "_decoders", "_known", "_sealer", "now", "open")

    def __init__(self, codec: AnyCodec, sealer: Sealer, clock: Clock) -> None:
        """Pack with *codec* into the envelopes of *sealer*."""
        self._codec = codec
        self._sealer = sealer
        self.open = sealer.open
        """Return what bytes found under a key say of themselves; CodecError for what is none of ours."""
        self._clock = clock
        self.now = clock.time
        """Return the time by which stored entries are judged."""
        self._decoders: dict[object, Callable[[bytes], object]] = {}
        # The same by the identity of the annotation, which is kept: some take long to hash.
        self._known: dict[int, tuple[object, Callable[[bytes], object]]] = {}
        self._counts: dict[object, int] = {}

    def pack(
        self,
        key: str,
        entry: Entry,
        type: object,
        *,
        space: bytes,
        versions: Mapping[str, bytes],
    ) -> bytes:
        """Return the bytes to store; CodecError if the value would not come back as it is."""
        offset = self._clock.time() - self._clock.monotonic()
        missing = entry.value is None
        payload = b"" if missing else self._encode(entry.value)
        if (
            not missing
            and self._is_checked(type, len(payload))
            and not self._comes_back(payload, entry.value, type)
        ):
            raise CodecError(
                f"a value of {key!r} does not come back from codec {self._codec.name!r} as it was:"
                " annotate the result with the type that it has, or name it by type=; or choose another codec"
            )
        stored = Stored(
            payload=payload,
            codec=self._codec.name,
            born=entry.born + offset,
            fresh_until=entry.fresh_until + offset,
            expires=entry.expires + offset,
            delta=entry.delta,
            version=entry.version,
            space=space,
            missing=missing,
            tags=dict(versions),
        )
        return self._sealer.seal(key, stored)

    def value(self, stored: Stored, type: object) -> Any:
        """Return the value of what was opened; CodecError if it is none of *type* or of another codec."""
        if stored.codec != self._codec.name:
            raise EnvelopeError("foreign")
        if stored.missing:
            return None
        known = self._known.get(id(type))
        return (known[1] if known is not None else self._decoder(type))(stored.payload)

    def reader(self, type: object) -> Callable[[Stored], Any]:
        """Return `value` for one *type*; raises CodecError if the codec cannot serve it."""
        decode, codec = self._decoder(type), self._codec.name

        def read(stored: Stored) -> Any:
            if stored.codec != codec:
                raise EnvelopeError("foreign")
            return None if stored.missing else decode(stored.payload)

        return read

    def calm(self, stored: Stored, beta: float) -> bool:
        """Say whether a hit needs no decision at all, because not even XFetch can fire yet."""
        return self._clock.time() < stored.fresh_until - MAX_EXPONENTIAL * beta * stored.delta

    def entry(self, stored: Stored, value: object, beta: float) -> Entry:
        """Return the entry that was stored, with times of this process."""
        offset = self._clock.time() - self._clock.monotonic()
        return Entry.of(
            value,
            born=stored.born - offset,
            fresh_until=stored.fresh_until - offset,
            keep=0.0 if stored.expires == inf else max(0.0, stored.expires - stored.fresh_until),
            delta=stored.delta,
            beta=beta,
            tags=tuple(stored.tags),
            version=stored.version,
        )

    def _encode(self, value: object) -> bytes:
        try:
            return self._codec.encode(value)
        except CodecError:
            raise
        except Exception as error:  # a stranger's codec may raise anything
            raise self._broke(error) from error

    def _decoder(self, type: object) -> Callable[[bytes], object]:
        """Return what decodes into *type*; raises CodecError, as does what it returns, and nothing else."""
        try:
            decode = self._decoders.get(type)
        except TypeError:  # an unhashable annotation
            return self._guarded(type)
        if decode is None:
            if len(self._decoders) >= MAX_TYPES:
                self._decoders.clear()
            decode = self._decoders[type] = self._guarded(type)
        if len(self._known) >= MAX_TYPES:
            self._known.clear()
        self._known[id(type)] = type, decode
        return decode

    def _guarded(self, type: object) -> Callable[[bytes], object]:
        decode = decoder(self._codec, type)
        if isinstance(self._codec, TypedCodec):  # ours, which lets nothing else out
            return decode

        def guarded(payload: bytes) -> object:
            try:
                return decode(payload)
            except CodecError:
                raise
            except Exception as error:
                raise self._broke(error) from error

        return guarded

    def _broke(self, error: Exception) -> CodecError:
        return CodecError(f"codec {self._codec.name!r} raised {error.__class__.__name__}")

    def _comes_back(self, payload: bytes, value: object, type: object) -> bool:
        """Say whether *payload* is *value*; CodecError if it is none of *type*.

        After one that was not every value of the type is compared, not only a sample."""
        back = False
        try:
            back = same(self._decoder(type)(payload), value)
        finally:
            if not back:
                with suppress(TypeError):  # an unhashable annotation, always compared
                    self._counts[type] = -maxsize
        return back

    def _is_checked(self, type: object, size: int) -> bool:
        try:
            if size <= CHECKED_UP_TO and is_open(type):
                return True
            count = self._counts.get(type, 0)
            if len(self._counts) >= MAX_TYPES:
                self._counts.clear()
            self._counts[type] = count + 1
        except TypeError:
            return True
        return count < CHECKED_AT_FIRST or count % CHECKED_EVERY == 0


@lru_cache(MAX_TYPES)
def is_open(type: object) -> bool:
    """Say whether *type* leaves it open what some part of a value is: that may come back as another type."""
    return type in BARE or (get_origin(type) or type) in ABSTRACT or any(map(is_open, get_args(type)))


def valid(
    stored: Stored, space: str, versions: Mapping[str, bytes | None], held: Mapping[str, bytes] = NOTHING
) -> bool | None:
    """Say whether what an entry was stored with is current; *versions* are the current ones.

    *held*, which may be older, can tell that a tag which they do not name is current, never that it is
    not: None then, and where neither knows the tag."""
    if versions.get(space) != stored.space:
        return False
    current: bool | None = True
    for tag, version in stored.tags.items():
        if tag in versions:
            if versions[tag] != version:
                return False
        elif held.get(tag) != version:
            current = None
    return current
