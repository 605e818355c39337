"""Stop asking a server that does not answer. Pure: `now` is handed in, in seconds."""

from math import inf
from typing import Final

COOL_DOWN: Final = 1.0


class Breaker:
    """Closed while all is well; opened by a failure; after a cool-down one probe may try.

    One failure opens it: it has already cost its timeout, and the source can answer."""

    __slots__ = ("_cool_down", "_probing", "_until", "open")

    def __init__(self, cool_down: float = COOL_DOWN) -> None:
        """Start closed; stay open for *cool_down* seconds after a failure."""
        self._cool_down = cool_down
        self._until = 0.0
        self._probing = False
        self.open = False

    def allows(self, now: float) -> bool:
        """Say whether to ask at *now*; an open breaker lets one probe through per cool-down."""
        if not self.open:
            return True
        if now < self._until or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> bool:
        """Note an answer; say whether that closed the breaker."""
        closed = self.open
        self.open = self._probing = False
        return closed

    def failed(self, now: float) -> bool:
        """Note a failure at *now*; say whether that opened the breaker."""
        opened = not self.open
        self.open = True
        self._probing = False
        self._until = now + self._cool_down
        return opened

    def retry_now(self) -> None:
        """Let the next one probe, however short ago the failure was."""
        self._until = -inf
        self._probing = False

    def gave_up(self) -> None:
        """Note that a request ended without telling anything, because it was cancelled."""
        self._probing = False
