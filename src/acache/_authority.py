"""Who may store values, and where a reader looks: what the engine asks of either. Knows no engine."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from acache._elsewhere import Elsewhere
from acache._entry import Entry
from acache._health import Health
from acache._process import CacheFlight, Call, Found


class Finder(Protocol):
    """Where a reader looks before it loads."""

    def begin(self, key: str, call: Call, tags: tuple[str, ...]) -> Awaitable[Any] | None:
        """Begin to look with others of this turn; None where it takes a `find`.

        What comes is the value of a plain hit, counted, or a `Found`."""
        ...

    async def find(self, key: str, call: Call, *, seen: Found | None = None) -> Found:
        """Return what is stored under *key* and what it is worth to *call*; *seen* is a first look."""
        ...

    async def find_many(self, calls: Mapping[str, Call]) -> dict[str, Found]:
        """Return the same for each key of *calls*."""
        ...


class Authority(Protocol):
    """Who may store what."""

    @property
    def finder(self) -> Finder | None:
        """Where else than near values are; None: nowhere."""
        ...

    def start(self, flight: CacheFlight) -> None:
        """Drive a registered flight until it lands."""
        ...

    async def look(self, keys: Sequence[str], type: object) -> dict[str, Entry]:
        """Return the entries of *keys* that are held elsewhere than near."""
        ...

    async def set(self, items: Mapping[str, Entry], type: object) -> None:
        """Store *items*."""
        ...

    async def invalidate(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Drop *keys* and *tags*."""
        ...

    async def clear(self) -> None:
        """Drop everything."""
        ...

    async def fence(self, keys: Sequence[str], tags: Sequence[str], token: bytes) -> None:
        """Drop *keys* and *tags* and keep everybody from storing them."""
        ...

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, commits: Mapping[str, Entry]
    ) -> Mapping[str, object]:
        """End the fence, storing *commits* where nobody else touched them; return a receipt for each."""
        ...

    async def drop_older(
        self, keys: Sequence[str], tags: Sequence[str], *, keep: Mapping[str, object]
    ) -> None:
        """Drop *keys* and *tags*, but for entries that are still those of the receipts in *keep*."""
        ...

    async def explain(self, key: str) -> Elsewhere:
        """Return what else than near knows of *key*."""
        ...

    def health(self) -> Health:
        """Say how the way to the remote store is; `entries` and `loading` are not for it to know."""
        ...

    def guarantees(self, *, signed: bool) -> Mapping[str, str]:
        """Say which promises hold."""
        ...

    async def aclose(self) -> None:
        """Close what was opened."""
        ...
