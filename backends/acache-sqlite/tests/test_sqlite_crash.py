"""P7 with real processes: what was acknowledged survives kill -9."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("crash_runner.py")


@pytest.mark.real
@pytest.mark.slow
def test_acknowledged_writes_survive_kill_minus_nine():
    done = subprocess.run(
        [sys.executable, str(RUNNER), "--kills", "12"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["acknowledged"] > 0
    assert found["deepest"] > found["batch"]
    assert (found["lost"], found["back"], found["failed"]) == (0, 0, 0)
