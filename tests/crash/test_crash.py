"""P7 with real processes: what was acknowledged survives kill -9, and the kills find planted bugs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("crash_runner.py")
QUICK = ["acknowledge_before_journal", "range_acknowledgement"]  # the others: nox -s crash -- --mutants

SLOW_MODES = {"PYTHONDEVMODE", "PYTHONASYNCIODEBUG"}  # hundreds of processes start and end here

pytestmark = [pytest.mark.real, pytest.mark.slow]


def kill(*arguments):
    """Run the kills in a process that has no threads: it forks."""
    command = [sys.executable, RUNNER, *arguments]
    env = {name: value for name, value in os.environ.items() if name not in SLOW_MODES}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


def test_acknowledged_writes_survive_kill_minus_nine(tmp_path):
    figures = tmp_path / "figures.json"
    kill("--kills", "12", "--json", figures)
    scenarios = json.loads(figures.read_text())["scenarios"]
    assert len(scenarios) == 6
    for name, found in scenarios.items():
        assert found["skipped"] or found["acknowledged"] > 0, name
        assert found["skipped"] or found["deepest"] > found["batch"], name


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught_by_the_kills(name):
    kill("--plant", name)
