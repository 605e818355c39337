"""All scenarios and planted bugs there are, by name. Made anew in each worker; knows no pool.

Scenarios live with the tests, so that the suite runs them too. Planted bugs are patched in at run time and
never live in the product."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from acache.testing import explore
from acache.testing.explore import Exploration, ViolationFound, ViolationMissed

HERE = Path(__file__).parent.parent / "tests" / "scenarios"

# Which part of the design a mutant breaks, by where it is planted; the longest match counts.
PARTS = {
    "_background": "flight",
    "_batching": "flight",
    "_breaker": "outage",
    "_claims": "fence",
    "_engine": "flight",
    "_feed": "feed",
    "_finding:Finder": "outage",
    "_finding:valid": "tags",
    "_finding:Finder._at_once": "near",
    "_fleet": "lease",
    "_fleet:FleetLoads._prepare": "tags",
    "_fleet_writes": "fence",
    "_flusher": "flusher",
    "_leases_here": "plain store",
    "_near": "near",
    "_overlay": "flusher",
    "_pending": "outage",
    "_process": "flight",
    "_remote": "outage",
    "_remote:Looks": "flight",
    "_singleflight": "flight",
    "_solo": "flight",
    "_writing": "fence",
    "journal": "journal",
    "testing.remote:LeasingRemote._change": "feed",
    "testing.remote:LeasingRemote.commit": "lease",
    "testing.remote:LeasingRemote": "tags",
    "testing.server:MemoryServer": "tags",
    "testing.server:MemoryServer.commit": "lease",
    "testing.server:MemoryServer.put": "lease",
    "write_behind": "flusher",
    "write_through": "write-through",
}
WANTED = ("lease", "fence", "tags", "near", "feed", "flight", "journal", "flusher")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A scenario: what it proves, and the share of all schedules that it gets."""

    name: str
    promise: str
    weight: int
    run: Callable[..., object]

    def explore(self, seeds: range, scheduler: str) -> Exploration:
        """Run these schedules and return what came of them, violations too."""
        try:
            return explore(self.run, seeds=seeds, scheduler=scheduler, keep_going=True)
        except ViolationFound as found:
            return found.exploration


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A mutant: the scenario that has to catch it, and how to plant it."""

    name: str
    part: str
    program: str
    scheduler: str
    planted: Callable[[], AbstractContextManager[object]]

    def caught_at(self, limit: int) -> int | None:
        """Return the first of *limit* seeds that catches it, if any does."""
        run = programs()[self.program].run
        with self.planted():
            try:
                found = explore(run, seeds=range(limit), scheduler=self.scheduler, expect_violation=True)
            except ViolationMissed:
                return None
        return found.first_failing_seed


@cache
def programs() -> dict[str, Program]:
    """Return every scenario."""
    _load()
    from scenario_table import SCENARIOS

    found = [
        Program(name=each.name, promise=each.promise, weight=each.seeds, run=each.run) for each in SCENARIOS
    ]
    return {program.name: program for program in [*found, *_behind()]}


@cache
def bugs() -> dict[str, Bug]:
    """Return every mutant."""
    _load()
    from scenario_mutants import MUTANTS
    from scenario_planting import planted

    found = [
        Bug(
            name=each.name,
            part=part_of(each.edits[0].where),
            program=each.scenario,
            scheduler=each.scheduler,
            planted=lambda edits=each.edits: planted(edits),
        )
        for each in MUTANTS
    ]
    return {bug.name: bug for bug in [*found, *_bugs_behind()]}


def part_of(where: str) -> str:
    """Return the part of the design that code at "module:Class.method" belongs to."""
    matches = [prefix for prefix in PARTS if where.startswith(prefix)]
    return PARTS[max(matches, key=len)] if matches else "other"


def _load() -> None:
    """Make the scenarios importable."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))


# --- P7, whose scenarios are made for each kind of cache and whose bugs are patches -------------------


def _behind() -> Iterator[Program]:
    import test_scenarios_p7 as p7
    import test_scenarios_shared as shared

    for run in shared.SCENARIOS:
        yield Program(name=f"shared_journal_{run.__name__}", promise="P7", weight=len(shared.SEEDS), run=run)
    for make in (p7.crash_and_recovery, p7.orderly_end):
        for remote in (False, True):
            name = f"{make.__name__}_{'remote' if remote else 'local'}"
            yield Program(name=name, promise="P7", weight=len(p7.SEEDS), run=make(remote))


def _bugs_behind() -> Iterator[Bug]:
    import test_scenarios_p7 as p7
    import test_scenarios_shared as shared

    for plant, scenario in shared.MUTANTS.items():
        yield Bug(
            name=f"shared journal: {_sentence(plant)}",
            part="journal",
            program=f"shared_journal_{scenario.__name__}",
            scheduler="random",
            planted=lambda plant=plant: _patched(plant),
        )
    marks = p7.test_a_planted_bug_is_caught.pytestmark
    for plant, scenario in next(mark.args[1] for mark in marks if mark.name == "parametrize"):
        yield Bug(
            name=_sentence(plant),
            part="journal" if "journal" in plant.__doc__ else "flusher",
            program=f"{scenario.__name__}_local",
            scheduler="random",
            planted=lambda plant=plant: _patched(plant),
        )


def _sentence(plant: Callable[..., object]) -> str:
    return (plant.__doc__ or plant.__name__).strip().rstrip(".")


@contextmanager
def _patched(plant: Callable[[pytest.MonkeyPatch], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        yield
