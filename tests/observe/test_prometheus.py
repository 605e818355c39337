"""What Prometheus scrapes of a cache."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from acache import Cache, MemoryJournal, WriteBehind
from acache.observe.prometheus import CacheCollector
from acache.protocols import Saved
from acache.testing.remote import MemoryRemote

ROOT = Path(__file__).parents[2]


class Rows:
    def __init__(self):
        self.rows = {}

    async def load(self, ids):
        return {id: self.rows[id] for id in ids if id in self.rows}

    async def save(self, items, *, versions=None):
        self.rows |= items
        return Saved()

    async def remove(self, ids, *, versions=None):
        return Saved()


def scraped(*caches, **options):
    registry = CollectorRegistry()
    registry.register(CacheCollector(*caches, **options))
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }, text


@pytest.mark.asyncio
async def test_reads_and_loads_are_counted_by_function(cache, clock):
    @cache.cached("user:{n}", ttl=60)
    async def user(n: int) -> int:
        clock.advance(0.1)
        return n

    for n in (1, 2, 1, 1):
        await user(n)
    samples, text = scraped(cache)
    name = next(key[2] for key in samples if key[0] == "acache_hits_total" and key[2].endswith("user"))
    of = ("default", name)
    assert samples["acache_hits_total", *of] == 2
    assert samples["acache_misses_total", *of] == samples["acache_loads_total", *of] == 2
    assert samples["acache_load_duration_seconds_count", *of] == 2
    assert samples["acache_load_duration_seconds_sum", *of] == pytest.approx(0.2)
    assert samples["acache_load_duration_seconds_bucket", *of, "0.04194"] == 0
    assert samples["acache_load_duration_seconds_bucket", *of, "0.1678"] == 2
    assert samples["acache_time_saved_seconds_total", *of] == pytest.approx(0.2)
    assert samples["acache_entries", "default"] == 2
    assert "user:1" not in text, "keys have no bound"
    assert ("acache_remote_up", "default") not in samples


@pytest.mark.asyncio
async def test_caches_are_told_apart_by_namespace_and_remote_stores_by_their_health():
    async with Cache(namespace="a") as a, Cache(MemoryRemote(), near=True, namespace="b") as b:
        await a.set("k", 1, ttl=60)
        samples, _ = scraped(a, b)
    assert samples["acache_entries", "a"] == 1
    assert samples["acache_remote_up", "b"] == 1
    assert samples["acache_pending_invalidations", "b"] == 0


@pytest.mark.asyncio
async def test_a_backlog_is_told_by_pattern(cache, clock):
    users = WriteBehind(
        cache, Rows(), key="user:{}", journal=MemoryJournal(clock=clock), ttl=60, max_delay=60
    )
    async with users:
        await users.put(1, "Ada")
        clock.advance(5)
        samples, _ = scraped(cache, write_behind={"users": users})
        assert samples["acache_backlog", "users"] == 1
        assert samples["acache_backlog_age_seconds", "users"] == 5
        assert samples["acache_dead_letters", "users"] == 0
        await users.aclose(timeout=0)


def test_a_cache_that_was_never_used_can_be_scraped():
    samples, _ = scraped(Cache())
    assert samples["acache_loading", "default"] == 0


@pytest.mark.asyncio
async def test_waits_of_coalesced_reads_add_up(cache, clock):
    gate = asyncio.Event()

    async def load():
        await gate.wait()
        return 1

    reads = [asyncio.create_task(cache.get_or_load("k", load, ttl=60)) for _ in range(3)]
    while not cache.health().loading:
        await asyncio.sleep(0)
    clock.advance(2)
    gate.set()
    await asyncio.gather(*reads)
    samples, _ = scraped(cache)
    assert samples["acache_coalesced_wait_seconds_total", "default", "direct calls"] == 4


def test_the_dashboard_shows_every_metric_by_the_name_that_is_exported():
    board = json.loads((ROOT / "docs/grafana/acache.json").read_text(encoding="utf-8"))
    shown = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\bacache_\w+", target["expr"])
    }
    exported = set()
    for metric in CacheCollector(Cache()).collect():
        if metric.type == "histogram":
            exported |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            exported.add(f"{metric.name}_total" if metric.type == "counter" else metric.name)
    assert shown - exported == set()
    whole = {name.removesuffix("_bucket") for name in exported if name.endswith("_bucket")}
    flat = {name for name in exported if not name.startswith(tuple(whole))}
    assert {name for name in whole | flat if not any(each.startswith(name) for each in shown)} == set()
