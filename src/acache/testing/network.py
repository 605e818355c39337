"""What may happen to a message between a client and its server. Knows nothing of stores.

Every setting may be changed at any time; the chances are drawn from the network's own generator, so
that a seed repeats them whatever else draws. A new network is a perfect one without delay.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from acache.errors import StoreUnavailable


@dataclass(slots=True, kw_only=True)
class Network:
    """The way of one client's requests, and of the messages to it. Chances are between 0 and 1.

    Clients that share a network share its outages: so a server is away for all of them.
    """

    rng: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - tests repeat themselves
    down: bool = False  # nothing passes; requests fail and listening is interrupted
    delay: float = 0.0  # seconds each way
    delays: Mapping[str, float] = field(default_factory=dict[str, float])  # the same for one verb
    spike: float = 0.0  # chance that a way takes `spike_delay` instead
    spike_delay: float = 1.0
    refused: float = 0.0  # chance that a request fails before it has any effect
    cut: float = 0.0  # chance that a request fails after some of its steps
    lost: float = 0.0  # chance that a request fails after its effect: the answer got lost
    lands_late: float = 0.0  # chance that a request cancelled on its way has its effect all the same
    message_delay: float = 0.0  # seconds; messages never overtake each other
    message_lost: float = 0.0  # chance that a message is never heard, without a gap
    message_twice: float = 0.0  # chance that a message is heard twice
    on_fault: Callable[[], object] | None = None  # called whenever chance or an order made something fail
    _orders: deque[tuple[str | None, str]] = field(default_factory=deque)

    def fail_next(self, verb: str | None = None, *, how: str = "refused") -> None:
        """Let the next request (of *verb*) fail once: "refused", "cut" or "lost"."""
        self._orders.append((verb, how))

    async def travel(self, verb: str) -> None:
        """Take a request or its answer one way. Always suspends."""
        delay = self.delays.get(verb, self.delay)
        await asyncio.sleep(self.spike_delay if self._strikes(self.spike) else delay)

    def fate(self, verb: str, steps: int) -> tuple[int, bool]:
        """Decide how many of its *steps* a request makes, and whether its answer arrives."""
        how = self._order(verb)
        if how is not None or self.down:
            self._tell()
        if self.down or how == "refused" or self._strikes(self.refused):
            return 0, False
        if how == "cut" or self._strikes(self.cut):
            return (self.rng.randrange(1, steps) if steps > 1 else 0), False
        return steps, not (how == "lost" or self._strikes(self.lost))

    def check(self, verb: str, *, arrives: bool) -> None:
        """Raise `StoreUnavailable` where no answer comes."""
        if self.down or not arrives:
            raise StoreUnavailable(f"the simulated network lost {verb}")

    def happens(self, chance: float) -> bool:
        """Draw."""
        return chance > 0 and self.rng.random() < chance

    def _strikes(self, chance: float) -> bool:
        struck = self.happens(chance)
        if struck:
            self._tell()
        return struck

    def _tell(self) -> None:
        if self.on_fault is not None:
            self.on_fault()

    def copies(self) -> int:
        """Decide how often a message is heard."""
        if self.down or self._strikes(self.message_lost):
            return 0
        return 2 if self._strikes(self.message_twice) else 1

    def _order(self, verb: str) -> str | None:
        for order in self._orders:
            if order[0] in {None, verb}:
                self._orders.remove(order)
                return order[1]
        return None
