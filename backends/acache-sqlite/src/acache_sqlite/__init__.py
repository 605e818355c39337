"""SQLite for acache: a table as a source, hand-written SQL as a source, a durable journal."""

from acache_sqlite.journal import SQLiteJournal
from acache_sqlite.journals import SQLiteJournals
from acache_sqlite.query import QuerySource
from acache_sqlite.table import SQLiteTable
from acache_sqlite.transactions import transaction

__all__ = ["QuerySource", "SQLiteJournal", "SQLiteJournals", "SQLiteTable", "transaction"]
