"""How long a caller waits for flights, and what it takes instead. Knows no key and no store."""

from typing import Any

from acache._entry import Entry
from acache._policy import MISS, decide
from acache._process import Arrival, CacheFlight, Call, Process
from acache._singleflight import join_all
from acache.errors import LoadTimeout


class Patience:
    """What the policy of a call allows its caller."""

    __slots__ = ("_process",)

    def __init__(self, process: Process) -> None:
        """Take the state, for its clock."""
        self._process = process

    async def wait(self, flight: CacheFlight, call: Call) -> Arrival:
        """Wait as long as the policy lets this caller; then an old value may do."""
        if call.policy.soft_timeout is None and call.policy.timeout is None:
            return await flight.join()
        await self.wait_for([flight], call)
        return self.arrival(flight, call)

    async def wait_for(self, flights: list[CacheFlight], call: Call) -> None:
        """Wait until all are over, or as long as the policy lets this caller, who then looks at each."""
        soft, hard = call.policy.soft_timeout, call.policy.timeout
        if soft is not None and (hard is None or soft < hard):
            await join_all(flights, soft)
            flights = [each for each in flights if not each.over and self._fallback(each, call) is None]
            hard = None if hard is None else hard - soft
        if flights:
            await join_all(flights, hard)

    def arrival(self, flight: CacheFlight, call: Call) -> Arrival:
        """Return what came, or the old value that may do. Raises what the load raised, or LoadTimeout."""
        if flight.over:
            return flight.result()
        fallback = self._fallback(flight, call)
        if fallback is None:
            call.tally.timeouts += 1
            limit = call.policy.timeout
            raise LoadTimeout(f"{flight.key!r} was not loaded within {limit:g} s; the load goes on")
        return fallback

    async def refreshed(self, flight: CacheFlight, call: Call, standing: Entry | Arrival) -> Any:
        """Return the refreshed value, or the one that stands if none came."""
        try:
            return (await self.wait(flight, call)).value
        except Exception:  # noqa: BLE001 - told by an event; the value that stands is still good
            return standing.value

    def _fallback(self, flight: CacheFlight, call: Call) -> Arrival | None:
        now = self._process.clock.monotonic()
        if decide(flight.old, now=now, rand=1.0, policy=call.policy) is MISS or flight.old is None:
            return None
        return Arrival(value=flight.old.value, stale=True)
