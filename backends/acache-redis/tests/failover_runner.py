"""Kills primaries under load, again and again, and counts what it cost: `nox -s failover`.

Three ways: as a cache does by default; without telling a new primary what was invalidated a moment
ago; and without that but waiting for a replica with each invalidation.
"""

import argparse
import asyncio
import json
import logging
import sys
from dataclasses import asdict

from failover_load import (
    CACHES,
    KEYS,
    TIMEOUT,
    kill_primary_of_cluster,
    kill_watched_primary,
    survive,
)
from valkey_cluster import cluster, watched

WAYS = {
    "told again": {"window": 30.0, "wait_replicas": 0},
    "not told again": {"window": 0.0, "wait_replicas": 0},
    "not told, wait_replicas=1": {"window": 0.0, "wait_replicas": 1},
}
PLACES = {
    "cluster": (lambda: cluster(3, 3, node_timeout=1000), kill_primary_of_cluster),
    "sentinel": (lambda: watched(1), kill_watched_primary),
}
COLUMNS = ("failovers", "reads", "failed_reads", "invalidations", "told_again", "stale_after_heal", "lagging")
SLOWEST = ("slowest_read", "slowest_invalidation")


def main(arguments):
    """Run all of it, print a table or JSON, and return 1 if a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cluster", type=int, default=20, help="fail-overs of a cluster in each way (20)")
    options.add_argument("--sentinel", type=int, default=5, help="fail-overs under sentinels in each way (5)")
    options.add_argument("--margin", type=float, default=2.0, help="seconds beside the timeouts (2)")
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args(arguments)
    logging.getLogger("acache").setLevel(logging.ERROR)
    logging.getLogger("acache_redis").propagate = False
    rows = [
        {"place": place, "way": way, **asdict(run(place, way, getattr(chosen, place), quiet=chosen.json))}
        for place in PLACES
        for way in WAYS
        if getattr(chosen, place)
    ]
    broken = [trouble for row in rows for trouble in troubles(row, chosen.margin)]
    if chosen.json:
        print(json.dumps({"rows": rows, "broken": broken}, indent=2))
    else:
        table(rows)
        print(
            "\n".join(broken)
            or f"every promise was kept; after each fail-over {CACHES * KEYS} reads looked for stale values"
        )
    return 1 if broken else 0


def run(place, way, failovers, *, quiet):
    """Return the outcome of so many fail-overs."""

    def progress(outcome):
        if not quiet:
            print(
                f"\r{place}, {way}: {outcome.failovers} of {failovers}", end="", file=sys.stderr, flush=True
            )

    start, kill = PLACES[place]
    with start() as servers:
        outcome = asyncio.run(survive(servers, kill, failovers, **WAYS[way], progress=progress))
    if not quiet:
        print(file=sys.stderr)
    return outcome


def troubles(row, margin):
    """Return the promises that were broken."""
    where = f"{row['place']}, {row['way']}"
    # A cache gives a store half a timeout more than its own; then it answers at once, for a second.
    longest = 1.5 * TIMEOUT + margin
    if row["failed_reads"]:
        yield f"{where}: {row['failed_reads']} reads failed: {dict(row['errors'])}"
    for name in SLOWEST:
        if row[name] > longest:
            yield f"{where}: the {name.replace('_', ' ')} took {row[name]:.2f} s, more than {longest:g} s"
    if row["way"] == "told again" and not row["told_again"]:
        yield f"{where}: no invalidation was told again"
    if row["way"] == "told again" and row["stale_after_heal"]:
        yield f"{where}: {row['stale_after_heal']} reads were stale after all was well again"


def table(rows):
    """Print a line for each way."""
    heads = ("", *(name.replace("_", " ") for name in (*COLUMNS, *SLOWEST)))
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        figures = [f"{row[name]:,}" for name in COLUMNS] + [f"{row[name]:.2f} s" for name in SLOWEST]
        print(f"| {row['place']}, {row['way']} | " + " | ".join(figures) + " |")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
