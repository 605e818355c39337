"""The log of one run: loads, reads and invalidations as they happen. Knows no strategy and no database."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

from acache.cli.demo.measure import Span


@dataclass(slots=True)
class LoadRecord:
    """One query: asked for at `began`, on a connection since `ran`, done at `ended` (inf: not yet)."""

    key: int
    began: float
    ran: float = inf
    ended: float = inf
    voided: float = inf
    """Since when it coincides with an invalidation of its key, which may or may not have seen it."""

    @property
    def span(self) -> Span:
        """While it was in flight, waiting for a connection included."""
        return self.began, self.ended

    @property
    def valid_span(self) -> Span:
        """While it was in flight and not void."""
        return self.began, min(self.ended, self.voided)


@dataclass(slots=True)
class ReadRecord:
    """One read, and `floor`: the newest version whose invalidation had returned when the read began."""

    key: int
    floor: int
    began: float
    ended: float = inf
    version: int = 0

    @property
    def stale(self) -> bool:
        """Whether it returned an older version than it had to."""
        return self.ended < inf and self.version < self.floor


class Recorder:
    """Writes down what happens, in the order in which it happens; judges nothing."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Record times of *now*, a clock in seconds, as seconds since this call."""
        self._now = now
        self._start = now()
        self._running: defaultdict[int, list[LoadRecord]] = defaultdict(list)
        self._invalidating: defaultdict[int, int] = defaultdict(int)
        self._floors: defaultdict[int, int] = defaultdict(int)
        self.loads: list[LoadRecord] = []
        self.reads: list[ReadRecord] = []
        self.writes = 0
        self.stopped = inf

    def elapsed(self) -> float:
        """Return the seconds since the recorder was made."""
        return self._now() - self._start

    def load_begins(self, key: int) -> LoadRecord:
        """Note that a query of *key* was asked for."""
        load = LoadRecord(key, self.elapsed())
        if self._invalidating[key]:
            load.voided = load.began
        self.loads.append(load)
        self._running[key].append(load)
        return load

    def load_runs(self, load: LoadRecord) -> None:
        """Note that the query got a connection."""
        load.ran = self.elapsed()

    def load_ends(self, load: LoadRecord) -> None:
        """Note that the query came back, failed or was given up."""
        load.ended = self.elapsed()
        self._running[load.key].remove(load)

    def invalidation_begins(self, key: int) -> None:
        """Note the call of an invalidation: loads of *key* that run before its return are void."""
        self._invalidating[key] += 1
        for load in self._running[key]:
            load.voided = min(load.voided, self.elapsed())

    def invalidation_returned(self, key: int, version: int) -> None:
        """Note its return: from now on reads must see *version*, or a newer one."""
        self._invalidating[key] -= 1
        self._floors[key] = max(self._floors[key], version)
        self.writes += 1

    def read_begins(self, key: int) -> ReadRecord:
        """Note that a reader asked for *key*."""
        read = ReadRecord(key, self._floors[key], self.elapsed())
        self.reads.append(read)
        return read

    def read_ends(self, read: ReadRecord, version: int) -> None:
        """Note the version that the reader got."""
        read.ended = self.elapsed()
        read.version = version

    def stop(self) -> None:
        """Note the end of the run: what is unfinished stays so."""
        self.stopped = self.elapsed()

    def latencies(self) -> Iterator[float]:
        """Yield how long each read took, in seconds; an unfinished one counts with its age at the end.

        Leaving those out would flatter exactly the strategies that keep readers waiting."""
        return (min(read.ended, self.stopped) - read.began for read in self.reads)
