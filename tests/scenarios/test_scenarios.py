"""Every scenario of the table, under both schedulers: no schedule may break a promise."""

import pytest
from scenario_registry import SCHEDULERS
from scenario_table import SCENARIOS


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.promise}-{scenario.name}")
def test_no_schedule_breaks_the_promise(scenario, scheduler):
    scenario.explore(scheduler)
