"""The eviction's choices, by example and against LRU on the patterns that break one policy or another."""

from collections import OrderedDict
from itertools import accumulate, chain
from random import Random

import pytest

from acache._entry import UNLINKED, Entry
from acache._eviction import PATIENCE, Eviction


class Bounded:
    """The least store that an eviction can serve."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.eviction = Eviction()
        self.entries = {}

    def read(self, key):
        entry = self.entries.get(key)
        if entry is not None:
            entry.used = True
        return entry is not None

    def put(self, key, *, expires=float("inf")):
        if len(self.entries) >= self.capacity:
            self.evict()
        entry = Entry.of(key, fresh_until=expires)
        entry.key = key
        self.eviction.admit(key, entry, len(self.entries))
        self.entries[key] = entry

    def evict(self, now=0.0):
        key = self.eviction.evict(len(self.entries), now).key
        del self.entries[key]
        return key

    def drop(self, key):
        self.eviction.remove(self.entries.pop(key))


def filled(capacity, *, read=()):
    store = Bounded(capacity)
    for number in range(capacity):
        store.put(str(number))
    for number in read:
        assert store.read(str(number))
    return store


# --- by example -------------------------------------------------------------------------------------


def test_what_nobody_read_leaves_in_the_order_it_came():
    store = filled(5)
    assert [store.evict() for _ in range(5)] == ["0", "1", "2", "3", "4"]


def test_one_read_is_enough_to_stay():
    store = filled(20, read=[0, 3])
    left = [store.evict() for _ in range(15)]
    assert "0" not in left
    assert "3" not in left


def test_a_read_counts_once():
    store = filled(20, read=[0])
    for number in range(100, 300):
        store.put(str(number))
        store.read(str(number))
    assert not store.read("0")


def test_a_mark_does_not_save_what_has_expired():
    store = Bounded(9)
    store.put("ended", expires=5.0)
    store.read("ended")
    store.put("lasts", expires=50.0)
    assert store.evict(now=10.0) == "ended"


def test_a_key_that_returns_after_it_left_outlives_a_scan():
    store = filled(100)
    store.put("x")
    for number in range(100):
        store.put(f"scan:{number}")
    assert not store.read("x")
    store.put("x")
    for number in range(500):
        store.put(f"again:{number}")
    assert store.read("x")


@pytest.mark.parametrize("later", [0, 4, 8])
def test_a_key_that_returns_is_no_ghost_any_more(later):
    store = filled(10)
    store.put("x")
    for number in range(later):
        store.put(f"later:{number}")
    eviction = store.eviction
    assert "0" in eviction._recent | eviction._former | eviction._oldest
    store.put("0")
    assert "0" not in eviction._recent | eviction._former | eviction._oldest


def test_the_small_queue_is_a_tenth_of_what_there_is_now():
    store = filled(20)
    store.put("x")
    assert store.eviction._room == 2
    store.capacity = 1_000
    for number in range(1_500):
        store.put(f"more:{number}")
    assert store.eviction._room == 100
    store.capacity = 10
    while len(store.entries) > 10:
        store.evict()
    for number in range(10):
        store.put(f"less:{number}")
    assert store.eviction._room <= 10


def test_a_new_entry_takes_the_place_and_the_mark_of_the_old():
    store = filled(5, read=[0])
    for key in ("0", "1"):
        old = store.entries[key]
        new = store.entries[key] = Entry.of("new")
        new.key = key
        store.eviction.replace(old, new)
        assert old.older is old.newer is UNLINKED
    assert store.evict() == "1"
    assert "0" in store.entries


def test_an_entry_can_leave_from_anywhere():
    store = filled(6, read=[0, 1])
    store.evict()
    for key in ("4", "1", "5"):
        store.drop(key)
    assert sorted(store.evict() for _ in range(2)) == ["0", "3"]
    assert not store.entries
    store.put("y")
    assert store.evict() == "y"


def test_an_entry_that_left_keeps_no_other_alive():
    store = filled(3)
    first, second = store.entries["0"], store.entries["1"]
    store.evict()
    store.drop("1")
    assert first.older is first.newer is second.older is second.newer is UNLINKED


def test_an_eviction_gives_a_bounded_number_of_rounds():
    store = filled(3 * PATIENCE, read=range(3 * PATIENCE))
    store.evict()
    assert sum(entry.used for entry in store.entries.values()) >= 2 * PATIENCE - 1


def test_the_ghosts_are_as_many_as_the_entries_at_most():
    store = Bounded(30)
    for number in range(1_000):
        store.put(str(number))
    eviction = store.eviction
    assert 20 <= len(eviction._recent) + len(eviction._former) + len(eviction._oldest) <= 33


def test_what_was_learnt_is_forgotten_with_all_else():
    store = filled(50)
    for number in chain(range(100), range(100, -1, -1), range(100)):
        if not store.read(str(number)):
            store.put(str(number))
    assert store.eviction._room > 1
    store.eviction.clear()
    store.entries.clear()
    assert store.eviction._room == 1
    for number in range(50):
        store.put(str(number))
    assert [store.evict() for _ in range(50)] == [str(number) for number in range(50)]


# --- against LRU ------------------------------------------------------------------------------------


def zipf(reads, keys, seed=1):
    rng = Random(seed)
    weights = list(accumulate(1 / rank for rank in range(1, keys + 1)))
    return rng.choices(range(keys), cum_weights=weights, k=reads)


def twice(gap):
    return [key for n in range(4_000) for key in (n, n - gap)]


POPULAR = zipf(20_000, 5_000)
ZIGZAG = [*range(600), *range(599, -1, -1)] * 25


@pytest.mark.parametrize(
    ("reads", "capacity", "above"),
    [
        pytest.param(POPULAR, 500, 2, id="few keys are popular"),
        pytest.param(
            [*chain.from_iterable((key, -n) for n, key in enumerate(POPULAR))], 500, 2, id="beside a scan"
        ),
        pytest.param(
            [*POPULAR[:5_000], *range(9_000, 12_000), *POPULAR[5_000:10_000]], 500, 1, id="around a scan"
        ),
        pytest.param(twice(20), 400, -0.5, id="every key twice, soon"),
        pytest.param(twice(190), 400, -2, id="every key twice, late"),
        pytest.param([n % 550 for n in range(15_000)], 500, 20, id="a loop over a little more than fits"),
        pytest.param(ZIGZAG, 150, -2, id="zigzag, a quarter fits"),
        pytest.param(ZIGZAG, 300, -5, id="zigzag, half of it fits"),
        pytest.param(
            [n // 3_000 * 3_000 + n % 100 for n in range(30_000)], 150, -3, id="the working set changes"
        ),
    ],
)
def test_the_hit_ratio_is_so_many_points_above_lru(reads, capacity, above):
    store = Bounded(capacity)
    order = OrderedDict()
    ours = lru = 0
    for key in map(str, reads):
        if store.read(key):
            ours += 1
        else:
            store.put(key)
        if key in order:
            lru += 1
            order.move_to_end(key)
        else:
            order[key] = None
            if len(order) > capacity:
                order.popitem(last=False)
    assert 100 * (ours - lru) / len(reads) >= above
