"""What every plugin has to do, as suites that its author subclasses. Imports no test framework."""

from acache.testing.contracts.local_store import LocalStoreContract
from acache.testing.contracts.remote_store import RemoteStoreContract

__all__ = ["LocalStoreContract", "RemoteStoreContract"]
