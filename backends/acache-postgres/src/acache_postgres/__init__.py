"""PostgreSQL for acache: a table as a source, hand-written SQL as a source, changes heard of."""

from acache_postgres.table import PostgresTable

__all__ = ["PostgresTable"]
