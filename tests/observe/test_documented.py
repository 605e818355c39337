"""The metrics that the documents name are those that there are."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from acache import Cache, MemoryJournal, WriteBehind
from acache.observe.prometheus import CacheCollector

DOCS = Path(__file__).parents[2] / "docs"
SAMPLES = ("_bucket", "_sum", "_count")
FIXTURES = {"acache_clock", "acache_disabled", "acache_override"}  # of pytest


@pytest.fixture
def exported():
    """The name of every metric, counters with their `_total`."""
    cache = Cache("memory://")

    @cache.cached("user:{id}", ttl=60)
    async def user(id: int) -> int:
        return id

    class Nothing:
        async def load(self, keys): ...
        async def save(self, items, *, versions=None): ...
        async def remove(self, keys, *, versions=None): ...

    behind = WriteBehind(cache, Nothing(), key="row:{}", ttl=60, journal=MemoryJournal())
    registry = CollectorRegistry()
    registry.register(CacheCollector(cache, write_behind={"rows": behind}))
    return {metric.name + "_total" * (metric.type == "counter") for metric in registry.collect()}


def test_the_table_names_every_metric_and_no_other(exported):
    table = (
        (DOCS / "observability.md")
        .read_text(encoding="utf-8")
        .partition("| metric (")[2]
        .partition("\n\n")[0]
    )
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert {f"acache_{name}" for row in rows for name in re.findall(r"`(\w+)`", row)} == exported


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_no_page_names_a_metric_that_there_is_not(path, exported):
    named = set(
        re.findall(r"\bacache_(?!redis|sqlite|postgres|memcached)[a-z_]+", path.read_text(encoding="utf-8"))
    )
    known = exported | {name + sample for name in exported for sample in SAMPLES}
    assert named - FIXTURES <= known
