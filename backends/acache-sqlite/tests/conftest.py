"""What the tests of SQLite share."""

import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"
