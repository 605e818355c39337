"""One message about names on several nodes. Pure.

Each node's subscription is heard in an order of its own. So that a message stays in order with every
other one about the same name, a copy of it is published by each node that has changed something, and
it is heard with the last of them: once, and after all the changes.
"""

from struct import Struct
from typing import Final, final

_HEAD: Final = Struct(">H16s")
_MOST: Final = 1000  # messages of which a copy is missing
_PATIENCE: Final = 1.0  # seconds


def copy_of(message: bytes, number: int, unique: bytes) -> bytes:
    """Return what each of *number* nodes is to publish; *unique*: 16 bytes."""
    return _HEAD.pack(number, unique if number > 1 else bytes(16)) + message


def alone(copy: bytes) -> bytes:
    """Return the message of *copy* as one that a single node is to publish."""
    return copy_of(copy[_HEAD.size :], 1, b"")


@final
class Copies:
    """Puts copies together again."""

    def __init__(self) -> None:
        self._missing: dict[bytes, tuple[int, float, bytes]] = {}

    def take(self, copy: bytes, now: float) -> list[bytes]:
        """Return the messages to hear now. Raises ValueError for what is no copy.

        A copy stays out if its node refused or was lost; whoever said it then says it all again. What
        did arrive is heard after a while in any case."""
        if len(copy) < _HEAD.size:
            raise ValueError("not what a subscription of a cluster brings")
        number, unique = _HEAD.unpack_from(copy)
        message = copy[_HEAD.size :]
        if number == 1:
            return [message]
        missing, since, _ = self._missing.get(unique, (number, now, message))
        if missing == 1:
            del self._missing[unique]
            return [message]
        self._missing[unique] = (missing - 1, since, message)
        return self.overdue(now) if len(self._missing) > _MOST else []

    def overdue(self, now: float) -> list[bytes]:
        """Return the messages that have waited long enough, or are too many."""
        late = [
            unique
            for place, (unique, (_, since, _)) in enumerate(self._missing.items())
            if since <= now - _PATIENCE or place < len(self._missing) - _MOST
        ]
        return [self._missing.pop(unique)[2] for unique in late]

    def clear(self) -> None:
        """Forget all of it: there was a gap."""
        self._missing.clear()
