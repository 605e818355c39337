"""What the tests of a fleet share: a real server, a register in a file."""

import itertools
import sys
from pathlib import Path

import pytest
from fleet_register import Register

sys.path.append(str(Path(__file__).parents[1]))  # where the launcher is

from valkey_server import valkey


@pytest.fixture(scope="module")
def server(request):
    """One server, unless the test is marked with `fleet_process.everywhere`."""
    kind = getattr(request, "param", "valkey")
    if kind != "valkey":
        yield request.getfixturevalue({"cluster": "a_cluster", "sentinel": "a_watched_primary"}[kind])
        return
    with valkey() as running:
        yield running


@pytest.fixture
def register(tmp_path):
    numbers = itertools.count()

    def make(keys):
        return Register(tmp_path / f"register{next(numbers)}", keys)

    return make
