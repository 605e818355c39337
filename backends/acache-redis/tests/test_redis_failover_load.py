"""Readers notice nothing of a primary that dies under load."""

import pytest
from failover_load import CACHES, KEYS, TIMEOUT, kill_primary_of_cluster, kill_watched_primary, survive
from valkey_cluster import cluster, watched

pytestmark = [pytest.mark.real, pytest.mark.scale, pytest.mark.asyncio]


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
async def test_no_read_fails_or_takes_long_and_nothing_is_stale_once_all_is_well_again(kind):
    place = cluster(3, 3, node_timeout=1000) if kind == "cluster" else watched(1)
    kill = kill_primary_of_cluster if kind == "cluster" else kill_watched_primary
    with place as servers:
        outcome = await survive(servers, kill, 1)
    print(outcome)
    assert outcome.failed_reads == 0
    assert outcome.stale_after_heal == 0, (
        f"of {CACHES * KEYS}, of which 60 or 180 are if nothing is told again"
    )
    assert outcome.told_again > 0
    # Generous, since a busy machine makes everything late: it is a bound all the same.
    assert outcome.slowest_read < 10 * TIMEOUT
    assert outcome.slowest_invalidation < 10 * TIMEOUT
