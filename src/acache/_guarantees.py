"""Which promises hold with the parts that a cache has. Pure."""

from collections.abc import Mapping


def guarantees(
    *, remote: str | None, leases: bool, feed: bool, near: bool, signed: bool
) -> Mapping[str, str]:
    """Return one sentence for each promise. *remote* names the remote store, if there is one."""
    process = "in this process"
    fleet = "in every process of the fleet" if leases else process
    scope = process if remote is None else fleet
    lag = "; a near copy elsewhere may lag by max_staleness" if remote and feed and near else ""
    outage = "does not apply: there is no remote store"
    return {
        "P1 no stale set": f"holds {scope}{lag}",
        "P2 one load": f"holds {scope}{', while the lease is renewed' if remote and leases else ''}",
        "P3 cancellation is private": "holds",
        "P4 errors are shared, not kept": "holds",
        "P5 reads survive the cache": "holds" if remote else outage,
        "P6 invalidations are not lost silently": "holds" if remote else outage,
        "P7 acknowledged writes arrive": "belongs to WriteBehind and its journal",
        "P8 nothing unsafe by default": (
            "holds; values are held by reference and never encoded"
            if remote is None
            else "holds; entries are signed"
            if signed
            else "holds; entries are not signed: who can write to the store can forge them"
        ),
        "P9 nothing leaks": "holds",
    }
