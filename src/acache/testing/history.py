"""What was loaded, changed and read, and whether some order of it is allowed. Knows no cache and no loop.

The model is one register per key. A read may return any value whose load began after the last change
(an invalidation, a `set`, a `writing` block) that was over before the read began; a value that the change
itself stored counts as loaded at its end. Reads of another process than the changer's may lag by `max_lag`
seconds. That is what acache promises as P1, and what a cache of your own must keep."""

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any, Final

_UNSET: Final = object()


@dataclass(slots=True, kw_only=True, eq=False)
class Operation:
    """One load, change or read, from its begin to its end; set `value` to what it brought."""

    key: Hashable
    process: str
    began: int  # steps, one apart for each begin and each end: they order what has the same time
    value: Any = _UNSET
    ended: float = inf
    landed: float = inf  # seconds: when a change bound everybody
    boundary: int = 0  # loads that began before this step are stale after the change
    _step: Callable[[], int] = field(repr=False)

    def from_here(self) -> None:
        """Let the change outdate also what was loaded since it began, up to now.

        For the moment of a commit, or the end of a `writing` block, whose promise is about loads that
        began before it."""
        self.boundary = self._step()


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A read that no allowed order explains. `str()` of it says why."""

    key: Hashable
    process: str
    value: object
    why: str

    def __str__(self) -> str:
        """Return one line."""
        where = f" in {self.process}" if self.process else ""
        return f"a read of {self.key!r}{where} returned {self.value!r}: {self.why}"


class StaleRead(AssertionError):
    """`History.check` found a violation; the message lists the first ones."""


class History:
    """Note operations as they happen, then ask for the reads that should not have been.

    *now* returns seconds, `sim.loop.time` under `explore`. *max_lag*: for how many seconds after a change
    another process may still read what was loaded before. Values are compared by equality; let each load
    bring another one, or a stale read looks like a fresh one. An operation that raises counts for nothing:
    whether an interrupted change happened is unknown, and both is allowed."""

    def __init__(self, now: Callable[[], float], *, max_lag: float = 0.0) -> None:
        """Start empty."""
        self._now = now
        self._max_lag = max_lag
        self._step: Callable[[], int] = count(1).__next__
        self._loads: defaultdict[Hashable, list[Operation]] = defaultdict(list)
        self._changes: defaultdict[Hashable, list[Operation]] = defaultdict(list)
        self._reads: list[tuple[Operation, float, int]] = []  # with when it began, and the step of its end

    # --- noting -------------------------------------------------------------------------------------

    @contextmanager
    def loading(self, key: Hashable, *, process: str = "") -> Generator[Operation]:
        """Note a load of *key* around the block, which sets `value` on what it is given."""
        load = self._begin(key, process)
        self._loads[key].append(load)
        yield load

    @contextmanager
    def changing(self, key: Hashable, *, process: str = "", lands: bool = True) -> Generator[Operation]:
        """Note a change around the block; set `value` if the change stores one.

        With *lands* False it binds its own process only, until `land` says that it reached the others."""
        change = self._begin(key, process)
        self._changes[key].append(change)
        yield change
        change.ended = self._step()
        if lands:
            change.landed = self._now()

    def land(self, change: Operation) -> None:
        """Note that *change* has reached everybody now."""
        change.landed = self._now()

    @contextmanager
    def reading(self, key: Hashable, *, process: str = "") -> Generator[Operation]:
        """Note a read around the block, which sets `value` on what it is given, or leaves it for a miss."""
        at = self._now()
        read = self._begin(key, process)
        yield read
        if read.value is not _UNSET:
            self._reads.append((read, at, self._step()))

    def _begin(self, key: Hashable, process: str) -> Operation:
        step = self._step()
        return Operation(key=key, process=process, began=step, boundary=step, _step=self._step)

    # --- judging ------------------------------------------------------------------------------------

    @property
    def reads(self) -> int:
        """How many reads are judged."""
        return len(self._reads)

    def violations(self) -> list[Violation]:
        """Return the reads that no allowed order explains, in the order in which they ended."""
        found = (self._judge(*noted) for noted in self._reads)
        return [violation for violation in found if violation is not None]

    def check(self) -> None:
        """Raise StaleRead if there is a violation."""
        found = self.violations()
        if found:
            raise StaleRead("\n".join(map(str, found[:5])))

    def _judge(self, read: Operation, at: float, ended: int) -> Violation | None:
        changes = self._changes[read.key]
        born = max(
            [
                *_births(self._loads[read.key], read.value, before=ended),
                # What a change stores may be seen while it is under way, and stands from its end.
                *(change.ended for change in changes if change.value == read.value and change.began < ended),
            ],
            default=None,
        )
        if born is None:
            return _violation(read, "nobody had loaded or stored it")
        binding = [change.boundary for change in changes if self._binds(change, read, at)]
        if born >= max(binding, default=0):
            return None
        return _violation(read, "its load began before a change that was over when the read began")

    def _binds(self, change: Operation, read: Operation, at: float) -> bool:
        if change.process == read.process and change.ended < read.began:
            return True
        if self._max_lag:
            return change.landed + self._max_lag < at
        return change.ended < read.began and change.landed <= at


def _births(loads: Iterable[Operation], value: object, *, before: int) -> list[int]:
    return [load.began for load in loads if load.value == value and load.began < before]


def _violation(read: Operation, why: str) -> Violation:
    return Violation(key=read.key, process=read.process, value=read.value, why=why)
