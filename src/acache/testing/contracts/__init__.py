"""What every plugin has to do, as suites that its author subclasses. Imports no test framework."""

from acache.testing.contracts.journal import JournalContract
from acache.testing.contracts.local_store import LocalStoreContract
from acache.testing.contracts.remote_store import RemoteStoreContract
from acache.testing.contracts.shared_journal import SharedJournalContract
from acache.testing.contracts.source import SourceContract

__all__ = [
    "JournalContract",
    "LocalStoreContract",
    "RemoteStoreContract",
    "SharedJournalContract",
    "SourceContract",
]
