"""Local stores that hand out copies."""

from dataclasses import dataclass, field

import pytest

from acache import Cache, MemoryStore


@dataclass
class Cart:
    items: list[str] = field(default_factory=list)


VALUES = [{"a": [1]}, [1, [2]], Cart(["x"]), {"when": {1, 2}}, [Cart(["x"])], {("a", 1): [1]}]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.asyncio
async def test_a_reader_who_changes_its_value_changes_nobody_elses(value, clock):
    cache = Cache("memory://?copy=codec", clock=clock)
    await cache.set("k", value, ttl=60)
    first, second = await cache.get("k"), await cache.get("k")
    assert first == value
    assert type(first) is type(value)
    assert first is not second
    assert first is not value
    await cache.aclose()


@pytest.mark.asyncio
async def test_a_decorated_hit_is_a_copy_too(clock):
    cache = Cache(MemoryStore(copy="codec"), clock=clock)

    @cache.cached("cart:{user_id}", ttl=60)
    async def cart(user_id: int) -> Cart:
        return Cart([str(user_id)])

    loaded = await cart(1)
    loaded.items.append("changed by its first reader")
    hit = await cart(1)
    assert hit == Cart(["1"])
    hit.items.append("changed by another")
    assert await cart(1) == Cart(["1"])
    assert cart.stats().loads == 1
    await cart.invalidate(1)
    assert await cache.get("cart:1") is None
    await cache.aclose()


@pytest.mark.asyncio
async def test_copies_are_evicted_counted_and_dropped_by_tag_as_other_values(clock):
    cache = Cache(MemoryStore(max_entries=10, copy="codec"), clock=clock)
    for number in range(30):
        await cache.set(f"k{number}", [number], ttl=60, tags=["t"])
    assert cache.stats().entries == 10
    assert cache.stats().evictions == 20
    await cache.invalidate(tags=["t"])
    assert cache.stats().entries == 0
    await cache.aclose()


class Refusing:
    """A codec that a stranger wrote: its errors are its own."""

    name = "refusing"

    def encode(self, value):
        raise RuntimeError

    def decode(self, data, type):
        raise RuntimeError


@pytest.mark.asyncio
async def test_what_a_strangers_codec_refuses_is_copied_otherwise(clock):
    async with Cache(MemoryStore(max_entries=10, copy="codec"), codec=Refusing(), clock=clock) as cache:
        await cache.set("k", [1], ttl=60)
        (await cache.get("k")).append(2)
        assert await cache.get("k") == [1]
