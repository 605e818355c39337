"""Decide which of the ready turns comes next. Pure: knows no loop, no task and no clock."""

from collections.abc import Hashable, Sequence
from random import Random
from typing import Final, Literal, Protocol

PATIENCE: Final = 100
"""How often PCT passes a strand over, at least, before that comes first: strands that poll, or that anyio
cancels again and again, would otherwise starve the very strand that they wait for."""

SchedulerName = Literal["random", "pct", "fifo"]


class Turn(Protocol):
    """Something that could run now."""

    @property
    def arrival(self) -> int:
        """Return its place in the order in which turns became ready."""
        ...

    @property
    def strand(self) -> Hashable:
        """Return whose turn it is: a task, or the plain callbacks of one process."""
        ...


class Scheduler(Protocol):
    """Picks the turn to run; told of every turn, also when there is no choice."""

    def choose(self, ready: Sequence[Turn]) -> int:
        """Return a position in *ready*, which is not empty."""
        ...


class FifoScheduler:
    """The order of an ordinary event loop: whoever became ready first."""

    def choose(self, ready: Sequence[Turn]) -> int:
        """Return the position of the oldest turn."""
        return min(range(len(ready)), key=lambda position: ready[position].arrival)


class RandomScheduler:
    """Every ready turn is equally likely."""

    def __init__(self, rng: Random) -> None:
        self._random = rng.random

    def choose(self, ready: Sequence[Turn]) -> int:
        """Return any position."""
        return int(self._random() * len(ready)) if len(ready) > 1 else 0


class PctScheduler:
    """Probabilistic concurrency testing: random priorities with d-1 change points.

    Finds a bug that needs d ordering constraints among n strands within k turns with a probability of at
    least 1/(n k^(d-1)) per schedule (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010)."""

    def __init__(self, rng: Random, *, depth: int, steps: int) -> None:
        self._random = rng.random
        places = rng.sample(range(1, max(steps, depth) + 1), depth - 1)
        # The paper's i-th change point lowers to priority i; strands start above all of those.
        self._changes = {place: rank / depth for rank, place in enumerate(places, start=1)}
        self._priority: dict[Hashable, float] = {}
        # Within the expected number of steps the priorities alone decide, as the bound above needs.
        self._patience = max(steps, PATIENCE)
        self._passed_over: dict[Hashable, int] = {}
        self._turns = 0

    def choose(self, ready: Sequence[Turn]) -> int:
        """Return the position of the ready strand of the highest priority."""
        best = max(range(len(ready)), key=lambda position: self._rank(ready[position].strand))
        strand = ready[best].strand
        self._turns += 1
        if (lowered := self._changes.get(self._turns)) is not None:
            self._priority[strand] = lowered
        self._passed_over[strand] = 0
        for turn in ready:
            if turn.strand is not strand:
                self._pass_over(turn.strand)
        return best

    def _rank(self, strand: Hashable) -> float:
        rank = self._priority.get(strand)
        if rank is None:
            rank = self._priority[strand] = 1.0 + self._random()
        return rank

    def _pass_over(self, strand: Hashable) -> None:
        times = self._passed_over[strand] = self._passed_over.get(strand, 0) + 1
        if times > self._patience:
            self._priority[strand] = max(self._priority.values()) + 1.0


def scheduler_for(name: SchedulerName, rng: Random, *, depth: int, steps: int) -> Scheduler:
    """Return the scheduler called *name*; *depth* and the expected number of *steps* matter to PCT alone.

    Raises ValueError for another name or a depth below 1."""
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    if name == "random":
        return RandomScheduler(rng)
    if name == "pct":
        return PctScheduler(rng, depth=depth, steps=steps)
    if name == "fifo":
        return FifoScheduler()
    raise ValueError(f'scheduler must be "random", "pct" or "fifo", got {name!r}')
