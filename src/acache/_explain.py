"""Say where a key is and why the last read went as it did."""

from dataclasses import dataclass
from math import inf

from acache._engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of a key now. Times in seconds; values are never shown."""

    key: str
    where: tuple[str, ...]  # of "near", "remote": where an entry is that counts
    verdict: str  # what a read without stale options would make of it
    age: float | None = None  # since its load began
    fresh_for: float | None = None  # negative: expired since; None: until invalidated
    load_time: float | None = None
    tags: tuple[str, ...] = ()
    version: str | None = None
    loading: bool = False  # a load runs in this process
    waiters: int = 0
    retry_in: float = 0.0  # after a failed load
    last_miss: str | None = None
    # With a remote store:
    remote: str | None = None  # what it said: "an entry", "nothing", "refused: ...", "no answer"
    size: int | None = None  # bytes that it holds
    codec: str | None = None
    outdated: tuple[str, ...] = ()  # tags that were invalidated since it was stored
    cleared: bool = False  # the namespace was, since it was stored
    holder: str | None = None  # of the lease in the fleet, hexadecimal
    held_for: float | None = None  # seconds until the lease ends, unless it is renewed
    writers: int = 0  # inside `writing` of the key: nothing is stored until they are done
    pending: bool = False  # an invalidation by this process has not reached the store yet

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
    there = await engine.authority.explain(key)
    now = process.clock.monotonic()
    near = process.near.get(key, now)
    current = there.valid
    entry = near if near is not None else there.entry
    where = (*(("near",) if near is not None else ()), *(("remote",) if current else ()))
    fresh_for = None if entry is None else entry.fresh_until - now
    flight = process.flights.get(key)
    return Explanation(
        key=key,
        where=where,
        verdict="miss" if not where or fresh_for is None else "fresh" if fresh_for > 0 else "expired",
        age=None if entry is None else now - entry.born,
        fresh_for=None if fresh_for == inf else fresh_for,
        load_time=None if entry is None else entry.delta,
        tags=() if entry is None else entry.tags,
        version=None if entry is None else entry.version,
        loading=flight is not None,
        waiters=0 if flight is None else flight.waiting,
        retry_in=max(0.0, process.retry_at.get(key, 0.0) - now),
        last_miss=process.misses.get(key),
        remote=there.said or None,
        size=there.size,
        codec=there.codec,
        outdated=there.outdated,
        cleared=there.cleared,
        holder=there.holder,
        held_for=there.held_for,
        writers=there.writers,
        pending=there.pending,
    )
