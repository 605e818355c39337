"""A search that finds nothing proves something only if it finds what was hidden: every planted bug is caught."""

import pytest
from scenario_mutants import MUTANTS
from scenario_table import SCENARIOS

RACES = (
    *(f"V{number}" for number in range(1, 18)),
    *("void_flight", "joined_refresh", "batch", "early_message", "kept_lease", "two_steps", "late_versions"),
    *("commit_check", "refused_exit", "second_pass", "pending", "first_pass", "pending_inside"),
    "held_versions",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(mutant):
    assert mutant.caught_at() < 1_000


@pytest.mark.parametrize("race", RACES)
def test_every_known_race_has_a_planted_bug(race):
    assert any(race in mutant.races for mutant in MUTANTS)


def test_every_promise_that_is_searched_for_has_a_planted_bug():
    searched = {scenario.promise for scenario in SCENARIOS}
    names = {scenario.name: scenario.promise for scenario in SCENARIOS}
    assert {names[mutant.scenario] for mutant in MUTANTS} == searched
