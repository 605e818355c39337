"""What this process heard: which keys and tags changed, and when. Pure, bounded, no clock.

"When" is a counter of messages. Whoever starts to read or load takes a *mark*; what it brings back
may be kept only if nothing was heard of its key or tags since. A message may name everything (a
gap in the feed, `clear`); so may the ledger itself, when it forgets in order to stay small."""

from collections.abc import Callable, Iterable
from typing import Final

LIMIT: Final = 50_000
NEVER: Final = -1  # a mark since which nothing was quiet


class Ledger:
    """The last message about each key and tag."""

    __slots__ = ("_everything", "_keys", "_limit", "_tags", "mark")

    def __init__(self, limit: int = LIMIT) -> None:
        """Remember at most *limit* keys and tags each; older ones count as heard."""
        self._limit = limit
        self._keys: dict[str, int] = {}
        self._tags: dict[str, int] = {}
        self._everything = 0
        self.mark = 0

    def hear(self, keys: Iterable[str] = (), tags: Iterable[str] = ()) -> None:
        """Note that *keys* and *tags* changed now."""
        self.mark += 1
        mark = self.mark
        for key in keys:
            self._keys[key] = mark
        for tag in tags:
            self._tags[tag] = mark
        if len(self._keys) > self._limit or len(self._tags) > self._limit:
            self.hear_everything()

    def hear_everything(self) -> None:
        """Note that anything may have changed now."""
        self.mark += 1
        self._everything = self.mark
        self._keys.clear()
        self._tags.clear()

    def heard(self, is_key: Callable[[str], object], is_tag: Callable[[str], object]) -> bool:
        """Say whether anything was heard of a key or tag that these accept, as far as it is remembered."""
        return self._everything > 0 or any(map(is_key, self._keys)) or any(map(is_tag, self._tags))

    def swept(self, *, since: int) -> bool:
        """Say whether anything may have changed after the mark *since*."""
        return self._everything > since

    def quiet(self, key: str, tags: Iterable[str], *, since: int) -> bool:
        """Say whether nothing was heard of *key* or *tags* after the mark *since*."""
        if self.mark <= since:  # nothing was heard at all
            return True
        if self._everything > since or self._keys.get(key, 0) > since:
            return False
        heard = self._tags.get
        for tag in tags:  # noqa: SIM110 - every remote hit asks, and a generator costs more than the answer
            if heard(tag, 0) > since:
                return False
        return True
