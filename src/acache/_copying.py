"""A local store that hands every reader a copy of its own (`copy="codec"`).

By default a local store holds values by reference: what one reader changes, all later readers see.
This one holds bytes where the codec brings a value back as it was, which is tried on every put, and
else a deep copy. Callers who wait for one and the same load still share its result."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from acache._entry import Entry
from acache._memory import MemoryStore
from acache.clock import Clock
from acache.codecs import AnyCodec, decoder, same


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes, and how to read them."""

    payload: bytes
    decode: Callable[[bytes], object]


class CopyingStore:
    """A `MemoryStore` behind copies."""

    def __init__(self, store: MemoryStore, codec: AnyCodec) -> None:
        """Hold copies in *store*, made with *codec* where it can."""
        self._store = store
        self._codec = codec
        self.lookup: Callable[[str], Entry | None] = self._read

    def _read(self, key: str) -> Entry | None:
        held = self._store.lookup(key)
        if held is None:
            return None
        held.used = True  # the reader marks its copy, which nobody evicts
        value = held.value
        twin = held.twin()
        twin.value = value.decode(value.payload) if isinstance(value, Encoded) else deepcopy(value)
        return twin

    def put(self, key: str, entry: Entry) -> None:
        """Keep a copy of *entry*."""
        twin = entry.twin()
        twin.value = self._kept(entry.value)
        self._store.put(key, twin)

    def _kept(self, value: object) -> object:
        try:
            payload, decode = self._codec.encode(value), decoder(self._codec, type(value))
            if same(decode(payload), value):
                return Encoded(payload, decode)
        except Exception:  # noqa: BLE001, S110 - a stranger's codec may raise anything
            pass
        return deepcopy(value)

    def drop(self, key: str) -> None:
        """Forget *key*."""
        self._store.drop(key)

    def drop_tag(self, tag: str) -> None:
        """Forget what carries *tag*."""
        self._store.drop_tag(tag)

    def thin_tag(self, tag: str, limit: int) -> int:
        """Forget up to *limit* of the entries that carry *tag*, and return how many still do."""
        return self._store.thin_tag(tag, limit)

    def clear(self) -> None:
        """Forget everything."""
        self._store.clear()

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._store)

    @property
    def clock(self) -> Clock:
        """The clock of the store."""
        return self._store.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._store.clock = clock

    @property
    def on_evict(self) -> Callable[[str, Entry], None] | None:
        """What is told of each evicted entry."""
        return self._store.on_evict

    @on_evict.setter
    def on_evict(self, told: Callable[[str, Entry], None] | None) -> None:
        self._store.on_evict = told
