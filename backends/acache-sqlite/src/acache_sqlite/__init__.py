"""SQLite for acache: a table as a source, hand-written SQL as a source, a durable journal."""

from acache_sqlite.journal import SQLiteJournal
from acache_sqlite.table import SQLiteTable

__all__ = ["SQLiteJournal", "SQLiteTable"]
