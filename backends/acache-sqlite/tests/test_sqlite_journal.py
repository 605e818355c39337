"""The journal in files: the contract, and what only files can do."""

import pytest

from acache.testing.contracts.journal import JournalContract
from acache_sqlite import SQLiteJournal


class TestSQLiteJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.path = tmp_path / "some" / "folder"

    def open(self):
        return SQLiteJournal(self.path)
