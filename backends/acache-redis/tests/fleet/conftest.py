"""What the tests of a fleet share: a real server, a register in a file."""

import itertools
import sys
from pathlib import Path

import pytest
from fleet_register import Register

sys.path.append(str(Path(__file__).parents[1]))  # where the launcher is

from valkey_server import valkey


@pytest.fixture(scope="module")
def server():
    with valkey() as running:
        yield running


@pytest.fixture
def register(tmp_path):
    numbers = itertools.count()

    def make(keys):
        return Register(tmp_path / f"register{next(numbers)}", keys)

    return make
