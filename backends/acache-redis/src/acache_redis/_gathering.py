"""The parts of one answer, from several nodes of a cluster, put together. Knows no connection."""

from collections.abc import Callable, Sequence
from typing import final

from acache_redis._resp import Reply


@final
class Gathering:
    """What is found under some names, place by place, an error where there is none."""

    def __init__(
        self,
        names: Sequence[bytes],
        parts: int,
        whole: Callable[[list[Reply]], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Call *whole* with what is found when so many *parts* of it are there."""
        self._found: list[Reply] = [None] * len(names)
        self._missing = parts
        self._whole = whole
        self.wanted = wanted

    def add(self, places: Sequence[int], answers: Sequence[Reply] | Exception) -> None:
        """Take one part."""
        for at, place in enumerate(places):
            self._found[place] = answers if isinstance(answers, Exception) else answers[at]
        self._missing -= 1
        if not self._missing:
            self._whole(self._found)


@final
class Part:
    """Who waits for what one node says of the names at some places."""

    def __init__(
        self,
        gathering: Gathering,
        places: Sequence[int],
        note: Callable[[Sequence[Reply] | Exception], None],
    ) -> None:
        """Have *note* called with whatever comes, first of all."""
        self._gathering = gathering
        self._places = places
        self._note = note

    def done(self) -> bool:
        """Say whether nobody waits any more."""
        return not self._gathering.wanted()

    def set_result(self, found: list[bytes | None], /) -> None:
        """Take what was found."""
        self._note(found)
        self._gathering.add(self._places, found)

    def set_exception(self, error: Exception, /) -> None:
        """Take the error instead."""
        self._note(error)
        self._gathering.add(self._places, error)
