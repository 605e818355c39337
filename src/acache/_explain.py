"""Say where a key is and why the last read went as it did."""

from dataclasses import dataclass

from acache._engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of a key now. Times in seconds; values are never shown."""

    key: str
    where: tuple[str, ...]  # of "near", "remote"
    verdict: str  # what a read without stale options would make of it
    age: float | None = None  # since its load began
    fresh_for: float | None = None  # negative: expired since; None: until invalidated
    load_time: float | None = None
    tags: tuple[str, ...] = ()
    version: str | None = None
    loading: bool = False  # a load runs in this process
    waiters: int = 0
    retry_in: float = 0.0  # after a failed load
    holder: str | None = None  # of the lease in the fleet, hexadecimal
    last_miss: str | None = None

    def __str__(self) -> str:
        """Return one line per fact."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        return "\n".join(
            f"{name:>10}: {value}" for name, value in facts.items() if value not in (None, (), "")
        )


async def explain(engine: Engine, key: str) -> Explanation:
    """Return what is known of *key*, reading without a trace in statistics or eviction."""
    process = engine.process
    process.enter()
    now = process.clock.monotonic()
    entry = process.near.get(key, now)
    flight = process.flights.get(key)
    reason = process.misses.get(key)
    if entry is None:
        return Explanation(
            key=key,
            where=(),
            verdict="miss",
            loading=flight is not None,
            waiters=flight.waiting if flight is not None else 0,
            last_miss=reason,
        )
    fresh_for = entry.fresh_until - now
    return Explanation(
        key=key,
        where=("near",),
        verdict="fresh" if fresh_for > 0 else "expired",
        age=now - entry.born,
        fresh_for=None if fresh_for == float("inf") else fresh_for,
        load_time=entry.delta,
        tags=entry.tags,
        version=entry.version,
        loading=flight is not None,
        waiters=flight.waiting if flight is not None else 0,
        retry_in=max(0.0, process.retry_at.get(key, 0.0) - now),
        last_miss=reason,
    )
