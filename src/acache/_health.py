"""How a cache is doing now, beyond what it counts. A value: knows nothing of where it comes from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of one cache in this process. Times in seconds."""

    remote: Literal["none", "up", "down"] = "none"  # "down": the circuit breaker is open
    near_trusted: bool = True  # False: what is held in front of the remote store is not served
    near_lag: float | None = None  # since when nothing was missed; None: no remote store, or not heard yet
    pending_invalidations: int = 0  # keys and tags that the remote store has not been told of (P6)
    entries: int = 0  # in the local store
    loading: int = 0  # loads and looks under way
