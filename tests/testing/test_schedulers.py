"""The schedulers as pure choosers: fairness, priorities, change points."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import pytest

from acache.testing._schedulers import PATIENCE, FifoScheduler, PctScheduler, RandomScheduler, scheduler_for


@dataclass
class Turn:
    arrival: int
    strand: str


def turns(names):
    return [Turn(arrival, name) for arrival, name in enumerate(names)]


def test_fifo_takes_the_oldest_wherever_it_stands():
    assert FifoScheduler().choose([Turn(7, "a"), Turn(3, "b"), Turn(5, "c")]) == 1


def test_random_takes_each_about_equally_often():
    scheduler = RandomScheduler(Random(0))
    counts = Counter(scheduler.choose(turns("abcd")) for _ in range(4_000))
    assert set(counts) == {0, 1, 2, 3}
    assert all(850 < count < 1_150 for count in counts.values())


def test_pct_without_change_points_keeps_to_its_favourite():
    for seed in range(20):
        scheduler = PctScheduler(Random(seed), depth=1, steps=50)
        assert len({scheduler.choose(turns("abc")) for _ in range(50)}) == 1


def test_pct_first_choices_are_spread_over_all_strands():
    counts = Counter(
        PctScheduler(Random(seed), depth=1, steps=50).choose(turns("abc")) for seed in range(600)
    )
    assert all(150 < counts[position] < 250 for position in range(3))


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_pct_changes_its_mind_at_most_depth_minus_one_times(depth):
    for seed in range(30):
        scheduler = PctScheduler(Random(seed), depth=depth, steps=60)
        chosen = [scheduler.choose(turns("abcdefgh")) for _ in range(60)]
        assert sum(one != other for one, other in pairwise(chosen)) <= depth - 1


def test_pct_change_points_reach_every_step():
    # The step whose strand is lowered is the last one of the first favourite.
    changed = set()
    for seed in range(400):
        scheduler = PctScheduler(Random(seed), depth=2, steps=10)
        chosen = [scheduler.choose(turns("ab")) for _ in range(11)]
        changed.add(next(step for step, one in enumerate(chosen, start=1) if one != chosen[0]) - 1)
    assert changed == set(range(1, 11))


@pytest.mark.parametrize("steps", [10, 300])
def test_pct_passes_nobody_over_for_ever_but_keeps_its_order_for_the_expected_steps(steps):
    for seed in range(20):
        scheduler = PctScheduler(Random(seed), depth=1, steps=steps)
        first_turn = {}
        for turn in range(5 * max(steps, PATIENCE)):
            first_turn.setdefault(scheduler.choose(turns("abc")), turn)
        assert set(first_turn) == {0, 1, 2}
        assert sorted(first_turn.values())[1] > max(steps, PATIENCE)


def test_pct_forgets_how_often_it_passed_a_strand_over_once_that_has_run():
    scheduler = PctScheduler(Random(1), depth=1, steps=10)
    favourite = scheduler.choose(turns("ab"))
    for _ in range(5):
        assert {scheduler.choose(turns("ab")) for _ in range(PATIENCE // 2)} == {favourite}
        scheduler.choose(turns("ab"[1 - favourite]))


def test_pct_counts_no_turn_against_a_strand_that_was_not_ready():
    scheduler = PctScheduler(Random(1), depth=1, steps=10)
    favourite = scheduler.choose(turns("ab"))
    for _ in range(PATIENCE * 3):
        scheduler.choose(turns("ab"[favourite]))
    assert scheduler.choose(turns("ab")) == favourite


@pytest.mark.parametrize(
    ("name", "depth", "match"), [("fair", 3, "scheduler must be"), ("pct", 0, "depth must be")]
)
def test_a_scheduler_that_makes_no_sense_is_refused(name, depth, match):
    with pytest.raises(ValueError, match=match):
        scheduler_for(name, Random(0), depth=depth, steps=10)
