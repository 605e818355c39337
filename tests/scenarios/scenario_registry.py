"""The table of scenarios: what each is for, and how many schedules it gets. Knows no scenario."""

from collections.abc import Callable
from dataclasses import dataclass

from acache.testing import Sim, explore

SEEDS = 20  # of each scheduler, unless a scenario names its own number; `nox -s prove` runs more
SCHEDULERS = ("random", "pct")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One program that many schedules are run of."""

    name: str
    promise: str  # "P1" .. "P7"
    races: tuple[str, ...]  # the rows of the table of races that it covers
    seeds: int
    run: Callable[[Sim], object]

    def explore(self, scheduler: str) -> int:
        """Run all its schedules; return how many. Raises ViolationFound."""
        return explore(self.run, seeds=range(self.seeds), scheduler=scheduler).schedules


REGISTRY: dict[str, Scenario] = {}


def scenario(promise: str, races: str = "", *, seeds: int = SEEDS, name: str | None = None):
    """Register an async function of one Sim."""

    def register(run):
        known = name or run.__name__
        assert known not in REGISTRY, f"there are two scenarios {known}"
        REGISTRY[known] = Scenario(
            name=known, promise=promise, races=tuple(races.split()), seeds=seeds, run=run
        )
        return run

    return register
