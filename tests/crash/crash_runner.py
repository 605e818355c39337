"""Kill processes that write behind, and look at what reached the database.

    python crash_runner.py --kills 200 --seed 1 --json crash.json

Then every acknowledged write must be in the database, or a later one of its key, and no row may have gone
back in time. With --mutants the planted bugs are run as well: each must be caught."""

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from crash_figures import Figures, as_json, table
from crash_mutants import MUTANTS
from crash_scenarios import SCENARIOS

ALL = sum(kills for _, kills in SCENARIOS.values())


def run(name: str, kills: int, seed: int) -> Figures:
    """Run one scenario in a folder of its own."""
    scenario, _ = SCENARIOS[name]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="acache-crash-") as folder:
        figures = scenario(Path(folder), random.Random(f"{seed}/{name}"), kills)
    figures.seconds = time.monotonic() - start
    return figures


def caught(name: str, kills: int, seed: int) -> Figures:
    """Run the scenario that catches a planted bug, with the bug, until it does; at most *kills* kills."""
    plant, scenario = MUTANTS[name]
    total = Figures()
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        for turn in range(40):
            found = run(scenario, min(3, kills), seed + turn)
            found.kills += total.kills
            found.seconds += total.seconds
            total = found
            if total.violations or total.skipped or total.kills >= kills:
                break
    return total


def main() -> int:
    """Run what was asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=ALL, help=f"in all, shared out as in {ALL}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=SCENARIOS, help="one scenario")
    parser.add_argument("--mutants", action="store_true", help="also plant bugs, which must be caught")
    parser.add_argument("--plant", choices=MUTANTS, help="only this bug, which must be caught")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    logging.getLogger("acache").setLevel(logging.CRITICAL)  # what fails here fails on purpose
    if options.plant:
        return 1 if plant_all([options.plant], options.seed) else 0
    found: dict[str, Figures] = {}
    for name, (_, share) in SCENARIOS.items():
        if options.only in (None, name):
            kills = max(1, round(share * options.kills / ALL))
            say(f"{name}: {kills} kills ...")
            found[name] = run(name, kills, options.seed)
    print(table(found))
    failed = any(figures.violations for figures in found.values())
    escaped = plant_all(MUTANTS, options.seed) if options.mutants else []
    if options.json:
        figures = {"seed": options.seed, "scenarios": as_json(found), "escaped": escaped}
        options.json.write_text(json.dumps(figures, indent=2))
    return 1 if failed or escaped else 0


def plant_all(names: Iterable[str], seed: int) -> list[str]:
    """Plant these bugs in turn; return those that nothing caught."""
    escaped = []
    for name in names:
        figures = caught(name, 100, seed)
        verdict = figures.skipped or (
            f"caught within {figures.kills} kills" if figures.violations else "ESCAPED"
        )
        say(f"planted: {name}: {verdict}, {figures.seconds:.1f} s")
        if not figures.violations and not figures.skipped:
            escaped.append(name)
    return escaped


def say(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
