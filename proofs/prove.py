"""Run every scenario under many seeds, and every mutant until it is caught, in two processes."""

import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from proofs._catalogue import WANTED, bugs, programs
from proofs._figures import Figure, table
from proofs._workers import processor_time, spread

SCHEDULERS = ("random", "pct")
CHUNK = 40  # schedules that a worker runs before it tells
LIMIT = 1_000  # seeds within which a mutant has to be caught
TIME, MUTANT_TIME = 120.0, 60.0  # seconds that all schedules, and all mutants, may take on two cores
MIN_MUTANTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some seeds of one scenario under one scheduler."""

    program: str
    scheduler: str
    seeds: range


@dataclass(slots=True, kw_only=True)
class Ran:
    """What came of a chunk."""

    promise: str
    schedules: int
    turns: int
    faults: int
    violations: list[str]


@dataclass(slots=True, kw_only=True)
class Caught:
    """What came of a mutant; *seed* is None if no seed caught it."""

    name: str
    part: str
    promise: str
    program: str
    seed: int | None


@dataclass(slots=True, kw_only=True)
class Proof:
    """Everything that was found."""

    seeds: range
    ran: list[Ran] = field(default_factory=list)
    caught: list[Caught] = field(default_factory=list)
    schedules_took: float = 0.0
    mutants_took: float = 0.0
    schedules_cpu: float = 0.0  # seconds of all workers together
    mutants_cpu: float = 0.0

    @property
    def violations(self) -> list[str]:
        """The failures of all schedules, each with its replay."""
        return [text for ran in self.ran for text in ran.violations]

    @property
    def missed(self) -> list[Caught]:
        """The mutants that no seed caught."""
        return [each for each in self.caught if each.seed is None]


def arguments(parser: ArgumentParser) -> None:
    """Add what this proof can be told."""
    parser.add_argument("--schedules", type=int, default=10_000, help="how many, over all scenarios")
    parser.add_argument("--seed", type=int, default=0, help="the first seed of each scenario")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 runs it all in this one")
    parser.add_argument("--only", default="", help="names of scenarios and mutants that hold this text")
    parser.add_argument("--no-mutants", action="store_true", help="leave the planted bugs out")


def run(options: Namespace) -> tuple[list[Figure], dict[str, object]]:
    """Prove it, print the tables, and return the figures and the rest of what JSON shall hold."""
    proof = prove(options)
    print(by_promise(proof))
    if proof.caught:
        print(f"\n{by_part(proof)}")
    for text in proof.violations[:3]:
        print(f"\n{text}")
    for missed in proof.missed:
        print(f"\nnot caught by {LIMIT} seeds of {missed.program}: {missed.name}")
    return figures(proof), {"promises": rows(proof), "mutants": [vars_of(each) for each in proof.caught]}


def prove(options: Namespace) -> Proof:
    """Run all of it."""
    names = [name for name in programs() if options.only in name]
    chunks = list(plan(names, options.schedules, options.seed))
    mutants = [] if options.no_mutants else [name for name in bugs() if options.only in name]
    last = max((chunk.seeds.stop for chunk in chunks), default=options.seed)
    proof = Proof(seeds=range(options.seed, last))
    started, cpu = time.monotonic(), processor_time()
    proof.ran = list(spread(run_chunk, chunks, options.workers, "schedules", [len(c.seeds) for c in chunks]))
    proof.schedules_took, proof.schedules_cpu = time.monotonic() - started, processor_time() - cpu
    started, cpu = time.monotonic(), processor_time()
    proof.caught = sorted(
        spread(catch, mutants, options.workers, "mutants", [1] * len(mutants)), key=lambda each: each.name
    )
    proof.mutants_took, proof.mutants_cpu = time.monotonic() - started, processor_time() - cpu
    return proof


def plan(names: Iterable[str], schedules: int, first: int) -> Iterator[Chunk]:
    """Share *schedules* out by weight, to the last one, and cut them into chunks."""
    known = programs()
    lanes = [(name, scheduler) for name in names for scheduler in SCHEDULERS]
    total = sum(known[name].weight for name, _ in lanes)
    weight = given = 0
    for name, scheduler in lanes:
        weight += known[name].weight
        share = schedules * weight // total - given
        given += share
        for start in range(first, first + share, CHUNK):
            seeds = range(start, min(start + CHUNK, first + share))
            yield Chunk(program=name, scheduler=scheduler, seeds=seeds)


# --- in a worker ------------------------------------------------------------------------------------


def run_chunk(chunk: Chunk) -> Ran:
    """Run a chunk."""
    program = programs()[chunk.program]
    found = program.explore(chunk.seeds, chunk.scheduler)
    return Ran(
        promise=program.promise,
        schedules=found.schedules,
        turns=found.turns,
        faults=found.faults,
        violations=[f"{program.name}: {failure}" for failure in found.failures],
    )


def catch(name: str) -> Caught:
    """Plant a bug and look for the seed that finds it."""
    bug = bugs()[name]
    return Caught(
        name=name,
        part=bug.part,
        promise=programs()[bug.program].promise,
        program=bug.program,
        seed=bug.caught_at(LIMIT),
    )


# --- telling ----------------------------------------------------------------------------------------


def rows(proof: Proof) -> list[dict[str, object]]:
    """Return a line per promise."""
    scenarios = Counter(program.promise for program in programs().values())
    lines = []
    for promise in sorted({ran.promise for ran in proof.ran}):
        ran = [each for each in proof.ran if each.promise == promise]
        planted = [each for each in proof.caught if each.promise == promise]
        lines.append(
            {
                "promise": promise,
                "scenarios": scenarios[promise],
                "schedules": sum(each.schedules for each in ran),
                "turns": sum(each.turns for each in ran),
                "faults": sum(each.faults for each in ran),
                "violations": sum(len(each.violations) for each in ran),
                "mutants caught": sum(each.seed is not None for each in planted),
                "planted": len(planted),
            }
        )
    return lines


def by_promise(proof: Proof) -> str:
    """Return the table of promises."""
    lines = rows(proof)
    names = [name for name in (lines[0] if lines else {"promise": 0}) if name != "promise"]
    body = [[line["promise"], *(line[name] for name in names)] for line in lines]
    body.append(["all", *(sum(line[name] for line in lines) for name in names)])
    return table(["promise", *names], body)


def by_part(proof: Proof) -> str:
    """Return the table of mutants."""
    body = []
    for part in sorted({each.part for each in proof.caught}):
        planted = [each for each in proof.caught if each.part == part]
        seeds = [each.seed for each in planted if each.seed is not None]
        body.append([part, len(planted), len(seeds), max(seeds, default=0)])
    return table(["part", "planted", "caught", "latest seed"], body)


def figures(proof: Proof) -> list[Figure]:
    """Judge it."""
    total, broken = sum(each.schedules for each in proof.ran), len(proof.violations)
    found = [
        Figure(
            name=f"schedules, seeds {proof.seeds.start} to {proof.seeds.stop - 1}",
            found=f"{total:,} with {sum(each.faults for each in proof.ran):,} faults, {broken} violations"
            f" ({proof.schedules_cpu:.0f} s of CPU)",
            target="0 violations",
            passed=total > 0 and not broken,
            # The workers share the processors with whatever else runs: what they used counts, if it is less.
            seconds=min(proof.schedules_took, proof.schedules_cpu),
            limit=TIME,
        )
    ]
    if proof.caught:
        parts = {each.part for each in proof.caught if each.seed is not None}
        caught = len(proof.caught) - len(proof.missed)
        found.append(
            Figure(
                name=f"mutants, within {LIMIT:,} seeds",
                found=f"{caught} of {len(proof.caught)} caught ({proof.mutants_cpu:.0f} s of CPU)",
                target=f"all, at least {MIN_MUTANTS}, over {', '.join(WANTED)}",
                passed=not proof.missed and caught >= MIN_MUTANTS and parts.issuperset(WANTED),
                seconds=min(proof.mutants_took, proof.mutants_cpu),
                limit=MUTANT_TIME,
            )
        )
    return found


def vars_of(each: Caught) -> dict[str, object]:
    """Return it for JSON."""
    return {name: getattr(each, name) for name in ("name", "part", "promise", "program", "seed")}
