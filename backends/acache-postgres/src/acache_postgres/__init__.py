"""PostgreSQL for acache: tables and queries as sources, transactions, changes that others make."""

from acache_postgres.changes import PostgresChanges
from acache_postgres.query import QuerySource
from acache_postgres.table import PostgresTable
from acache_postgres.transactions import Transaction, transaction

__all__ = ["PostgresChanges", "PostgresTable", "QuerySource", "Transaction", "transaction"]
