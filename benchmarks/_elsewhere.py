"""Hits in a remote store where the loop or the server is another: under uvloop, on a cluster."""

import asyncio

import uvloop
from redis.asyncio import ConnectionPool, Redis, RedisCluster

from acache import Cache
from acache_redis import RedisStore
from benchmarks import _measure as measure
from benchmarks._readers import KEYS, READERS, Read, Readers, user
from benchmarks._server import cluster
from benchmarks._table import Row

SUITE = "redis"
READS = {1: 500, 10: 2_000, 100: 4_000, 1_000: 4_000}


async def against_bare(cache: Cache, bare: Read, where: str, rounds: int) -> list[Row]:
    """Measure hits of *cache* against a GET by the client that it is built on, in processor time."""

    @cache.cached("user:{user_id}", ttl=300)
    async def read(user_id: int) -> dict[str, int | str]:
        return user(user_id)

    for number in range(KEYS):
        await read(number)
    rows = []
    for count in READERS:
        runs = {"acache": Readers(read, count, READS[count]), "bare": Readers(bare, count, READS[count])}
        for run in runs.values():
            await run()  # opens the connections
            run.cpu.clear()
        times = await measure.interleaved(runs, rounds)
        what = f"{where}, {count:,} reader{'s' if count > 1 else ''}"
        for name, run in runs.items():
            rows.append(measure.row(SUITE, f"{what}: {name}", times[name], "µs"))
            rows.append(measure.row(SUITE, f"{what}: {name}, CPU of the client", run.cpu, "µs"))
        ratio, spread = measure.ratios(runs["bare"].cpu, runs["acache"].cpu)
        rows.append(Row(suite=SUITE, name=f"{what} vs bare, by CPU", value=ratio, unit="×", spread=spread))
    return rows


def under_uvloop(url: str, rounds: int) -> list[Row]:
    """Measure on uvloop; runs in a thread, beside a loop that only waits."""

    async def measured() -> list[Row]:
        pool = ConnectionPool.from_url(url, max_connections=2 * max(READERS))
        bare = Redis(connection_pool=pool)
        await bare.set("bare", repr(user(1)))
        async with Cache(RedisStore(url), namespace="uvloop") as cache:
            rows = await against_bare(cache, lambda _: bare.get("bare"), "under uvloop", rounds)
        await bare.aclose()
        await pool.aclose()
        return rows

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measured())


async def on_a_cluster(rounds: int) -> list[Row]:
    """Measure on a cluster of three."""
    with cluster(3, 0) as servers:
        bare = RedisCluster("127.0.0.1", servers[0].port, max_connections=2 * max(READERS))
        for number in range(KEYS):
            await bare.set(f"bare:{number}", repr(user(number)))
        async with Cache(RedisStore(servers.url), namespace="cluster") as cache:
            rows = await against_bare(
                cache, lambda number: bare.get(f"bare:{number}"), "on a cluster", rounds
            )
        await bare.aclose()
    return rows
