"""The memory store: bounds, tags, expiry, weights, and that nothing of what left stays behind."""

import gc
import weakref
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from acache._entry import UNLINKED, Entry
from acache._memory import FREED_AT_ONCE, MemoryStore, footprint, from_url
from acache._registry import open_store
from acache.errors import ConfigurationError
from acache.testing import ManualClock
from acache.testing.contracts import LocalStoreContract


class Value:
    """Something that a weak reference can watch."""


@pytest.fixture
def uncollected():
    """Without the garbage collector what is freed is freed by count: nothing may wait in a cycle."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def clock():
    return ManualClock()


def lasting(clock, seconds, *, value=None, tags=()):
    return Entry.of(value, fresh_until=clock.monotonic() + seconds, tags=tags)


class TestMemoryStore(LocalStoreContract):
    capacity = 50

    def make(self):
        return MemoryStore(max_entries=self.capacity)


class TestWeighedMemoryStore(LocalStoreContract):
    capacity = 50

    def make(self):
        return MemoryStore(max_weight=100, weigh=lambda key, value: 2)


# --- holding ----------------------------------------------------------------------------------------


def test_the_lookup_is_the_get_of_one_dict():
    store = MemoryStore()
    assert store.lookup is store.lookup
    assert isinstance(store.lookup.__self__, dict)


def test_the_keys_may_be_walked_while_the_store_changes():
    store = MemoryStore()
    for key in ("a", "b"):
        store.put(key, Entry.of(key))
    for key in store:
        store.drop(key)
    assert len(store) == 0
    assert "a" not in store


def test_one_entry_may_be_put_under_two_keys_and_into_two_stores():
    stores = MemoryStore(2), MemoryStore(2)
    entry = Entry.of("value", born=1.5, fresh_until=1e9, keep=7.0, delta=0.25, tags=("t",), version="2")
    for store in stores:
        for key in ("a", "b"):
            store.put(key, entry)
    for store in stores:
        for key in ("a", "b"):
            held = store.lookup(key)
            for name in ("value", "born", "calm_until", "fresh_until", "expires", "delta", "tags", "version"):
                assert getattr(held, name) == getattr(entry, name)
        store.drop_tag("t")
        assert len(store) == 0
    stores[0].put("c", entry)
    assert stores[0].lookup("c") is entry


def test_a_repr_shows_neither_key_nor_value():
    store = MemoryStore(3)
    store.put("secret-key", Entry.of("secret-value"))
    assert repr(store) == "<MemoryStore 1 of 3 entries>"


# --- leaving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["drop", "drop_tag", "replace", "evict", "expire", "clear"])
def test_a_value_is_freed_when_its_entry_leaves(leave, clock, uncollected):
    store = MemoryStore(3, clock=clock)
    store.put("before", lasting(clock, 10))
    store.put("k", lasting(clock, 10, value=Value(), tags=("t",)))
    store.put("after", lasting(clock, 10))
    watched = weakref.ref(store.lookup("k").value)
    if leave == "drop":
        store.drop("k")
    elif leave == "drop_tag":
        store.drop_tag("t")
    elif leave == "replace":
        store.put("k", Entry.of(None))
    elif leave == "evict":
        for number in range(5):
            store.put(f"new{number}", lasting(clock, 10))
    elif leave == "expire":
        clock.advance(20)
        assert store.reclaim() == 3
    else:
        store.clear()
    assert watched() is None


def test_who_keeps_an_entry_that_left_keeps_no_other_alive(clock, uncollected):
    store = MemoryStore(clock=clock)
    for number in range(3):
        store.put(str(number), lasting(clock, 10, value=Value()))
    read = store.lookup("1")
    others = [weakref.ref(store.lookup(key).value) for key in ("0", "2")]
    for key in ("1", "0", "2"):
        store.drop(key)
    assert read.value is not None
    assert [other() for other in others] == [None, None]


def test_a_large_store_is_cleared_at_once_and_freed_bit_by_bit(clock, uncollected):
    store = MemoryStore(3 * FREED_AT_ONCE, clock=clock)
    values = [Value() for _ in range(2 * FREED_AT_ONCE)]
    watched = weakref.WeakSet(values)
    for number in range(2 * FREED_AT_ONCE):
        store.put(str(number), lasting(clock, 10, value=values.pop()))
    first = store.lookup("0")
    store.clear()
    assert len(store) == 0
    assert store.lookup("0") is None
    assert FREED_AT_ONCE - 3 <= len(watched) <= FREED_AT_ONCE + 3
    store.put("0", first)
    store.put("1", lasting(clock, 10))
    while store.reclaim(1_000) == 1_000:
        pass
    assert len(watched) == 1
    assert len(store) == 2
    assert store.lookup("0").value is first.value
    assert not store._doomed


def test_a_put_frees_a_few_of_those_that_were_cleared(clock):
    store = MemoryStore(2 * FREED_AT_ONCE, clock=clock)
    for number in range(FREED_AT_ONCE + 100):
        store.put(str(number), Entry.of(None))
    store.clear()
    assert len(store._doomed) == 100
    for number in range(40):
        store.put(str(number), Entry.of(None))
    assert len(store._doomed) == 20


# --- expiry -----------------------------------------------------------------------------------------


def test_an_entry_that_has_expired_is_not_kept_and_ends_the_one_before(clock):
    store = MemoryStore(clock=clock)
    store.put("k", Entry.of(1))
    store.put("k", lasting(clock, 0))
    assert store.lookup("k") is None


def test_a_put_reclaims_a_few_of_those_that_have_expired(clock):
    store = MemoryStore(clock=clock)
    for number in range(100):
        store.put(str(number), lasting(clock, 10))
    clock.advance(20)
    store.put("new", lasting(clock, 10))
    assert 98 <= len(store) <= 99
    for number in range(60):
        store.put(f"new{number}", lasting(clock, 10))
    assert len(store) == 61


def test_reclaiming_is_bounded_and_says_how_many_it_were(clock):
    store = MemoryStore(clock=clock)
    for number in range(100):
        store.put(str(number), lasting(clock, 10))
    store.put("for ever", Entry.of(None))
    assert store.reclaim() == 0
    clock.advance(20)
    assert [store.reclaim(60), store.reclaim(60), store.reclaim(60)] == [60, 40, 0]
    assert list(store) == ["for ever"]


def test_what_has_expired_goes_before_what_has_not(clock):
    store = MemoryStore(10, clock=clock)
    for number in range(5):
        store.put(f"lasts{number}", lasting(clock, 1_000))
    for number in range(5):
        store.put(f"ends{number}", lasting(clock, 1))
        store.lookup(f"ends{number}").used = True
    clock.advance(10)
    for number in range(5):
        store.put(f"new{number}", lasting(clock, 1_000))
    assert sorted(store) == [f"{kind}{number}" for kind in ("lasts", "new") for number in range(5)]


def test_a_replaced_entry_lives_as_long_as_the_new_one(clock):
    store = MemoryStore(clock=clock)
    for first, second in ((1, 1_000), (1_000, 1)):
        store.put(f"{second}", lasting(clock, first))
        store.put(f"{second}", lasting(clock, second))
    clock.advance(100)
    assert store.reclaim() == 1
    assert list(store) == ["1000"]


def test_the_clock_can_be_given_later(clock):
    store = MemoryStore()
    store.clock = clock
    assert store.clock is clock
    store.put("k", lasting(clock, 10))
    clock.advance(20)
    assert store.reclaim() == 1


# --- bounds -----------------------------------------------------------------------------------------


def test_the_hook_is_told_of_evictions_and_of_nothing_else(clock):
    store, told = MemoryStore(3, clock=clock), []
    store.on_evict = lambda key, entry: told.append((key, entry.value, len(store)))
    store.put("a", Entry.of("old"))
    store.put("a", Entry.of("new"))
    store.put("b", Entry.of(None))
    store.drop("b")
    store.put("c", lasting(clock, 1))
    clock.advance(10)
    store.reclaim()
    for key in ("d", "e", "f"):
        store.put(key, Entry.of(None))
    assert told == [("a", "new", 2)]
    store.clear()
    assert told == [("a", "new", 2)]


def test_an_entry_that_stays_within_the_weight_is_kept():
    store = MemoryStore(max_weight=10, weigh=lambda key, value: value)
    for key, weight in (("a", 4), ("b", 6)):
        store.put(key, Entry.of(weight))
    assert (len(store), store.weight) == (2, 10)
    store.put("a", Entry.of(3))
    assert (len(store), store.weight) == (2, 9)


def test_a_new_value_needs_no_more_room_than_it_adds():
    store = MemoryStore(max_weight=10, weigh=lambda key, value: value)
    for key, weight in (("a", 4), ("b", 6)):
        store.put(key, Entry.of(weight))
    store.put("b", Entry.of(6))
    assert sorted(store) == ["a", "b"]


def test_a_heavy_entry_drives_out_several_light_ones():
    store = MemoryStore(max_weight=10, weigh=lambda key, value: value)
    for number in range(10):
        store.put(str(number), Entry.of(1))
    store.put("heavy", Entry.of(7))
    assert "heavy" in store
    assert (len(store), store.weight) == (4, 10)
    store.put("3", Entry.of(1))
    store.put("heavy", Entry.of(10))
    assert list(store) == ["heavy"]


def test_an_entry_heavier_than_all_together_may_be_is_not_kept_but_ends_the_one_before():
    store = MemoryStore(max_weight=10, weigh=lambda key, value: value)
    store.put("light", Entry.of(1))
    store.put("k", Entry.of(2))
    store.put("k", Entry.of(11))
    assert list(store) == ["light"]
    assert store.weight == 1


def test_a_value_that_cannot_be_weighed_ends_the_one_before():
    store = MemoryStore(max_weight=10, weigh=lambda key, value: len(value))
    store.put("k", Entry.of("text"))
    with pytest.raises(TypeError):
        store.put("k", Entry.of(None))
    assert (len(store), store.weight) == (0, 0)


def test_a_negative_weight_is_refused():
    store = MemoryStore(max_weight=10, weigh=lambda key, value: -3)
    with pytest.raises(ConfigurationError, match="weigh= returned -3"):
        store.put("k", Entry.of(None))
    assert len(store) == 0


def test_without_a_scale_the_weight_is_about_the_bytes():
    store = MemoryStore(max_weight=100_000)
    for number in range(100):
        store.put(str(number), Entry.of(bytes(10_000)))
    assert 8 <= len(store) <= 10


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (bytes(1_000), 1_000, 1_200),
        ({"list": [bytes(1_000), bytes(1_001)]}, 2_000, 2_800),
        ([Value] * 100, 800, 1_200),
        ([object() for _ in range(100_000)], 800_000, 900_000),
    ],
)
def test_a_footprint_counts_what_a_value_refers_to_within_reason(value, least, most):
    assert least <= footprint("key", value) <= most


def test_a_footprint_counts_shared_parts_once_and_survives_circles():
    circle = [bytes(10_000)] * 5
    circle.append(circle)
    assert 10_000 <= footprint("key", circle) <= 11_000


# --- configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_entries": 0}, "max_entries=0 bounds nothing: give an int of at least 1"),
        ({"max_entries": True}, "max_entries=True"),
        ({"max_entries": 1.5}, "max_entries=1.5"),
        ({"max_weight": -1}, "max_weight=-1"),
        ({"weigh": footprint}, "weigh= without max_weight="),
        ({"copy": "deep"}, "copy='deep' is unknown"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options, named):
    with pytest.raises(ConfigurationError) as refusal:
        MemoryStore(**options)
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "entries", "weight", "copy"),
    [
        ("memory://", 10_000, None, None),
        ("memory:", 10_000, None, None),
        ("memory:///?max_entries=5", 5, None, None),
        ("memory://?max_entries=5&max_weight=6&copy=codec", 5, 6, "codec"),
    ],
)
def test_a_url_names_a_store(url, entries, weight, copy):
    store = open_store(url)
    assert isinstance(store, MemoryStore)
    assert (store.max_entries, store.max_weight, store.copy) == (entries, weight, copy)


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        ("?max_entries=0", "max_entries=0"),
        ("?max_entries=-5", "max_entries='-5'"),
        ("?max_entries=many", "max_entries='many' bounds nothing: give an int of at least 1"),
        ("?max_entries=1e3", "max_entries='1e3'"),
        ("?max_entries=", "max_entries=''"),
        ("?max_entries=٣", "max_entries='٣'"),
        ("?max_weight=" + "9" * 5_000, "max_weight='9"),
        ("?max_weight=1.5", "max_weight='1.5'"),
        ("?copy=deep", "copy='deep'"),
        ("?maxentries=5", "no parameter 'maxentries': it takes max_entries"),
        ("?max_entries=5&max_entries=6", "names max_entries twice"),
        ("localhost?max_entries=5", "no host and no path"),
        ("[", "no host and no path"),
        ("/name", "no host and no path"),
        ("#name", "no host and no path"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_by_the_parameter(rest, named):
    with pytest.raises(ConfigurationError) as refusal:
        from_url("memory://" + rest)
    assert named in str(refusal.value)


def test_a_refusal_does_not_repeat_a_password():
    with pytest.raises(ConfigurationError) as refusal:
        from_url("memory://user:hunter2@host/")
    assert "hunter2" not in str(refusal.value)


# --- any use, against a naive model -----------------------------------------------------------------

KEYS = st.sampled_from([f"k{number}" for number in range(14)])
TAGS = st.lists(st.sampled_from(["t", "u", "v"]), max_size=3).map(tuple)  # doubles, too
LIFETIMES = st.sampled_from([0.0, 0.01, 1.0, 60.0, 3_600.0, inf])
WEIGHTS = st.integers(min_value=0, max_value=13)


class AnyUse(RuleBasedStateMachine):
    """What was put and not dropped is there, unless it was evicted or has expired; nothing else is."""

    weighed = False
    max_weight = 12

    @initialize(max_entries=st.integers(min_value=1, max_value=12))
    def make(self, max_entries):
        self.clock = ManualClock()
        bounds = {"max_weight": self.max_weight, "weigh": lambda key, value: value} if self.weighed else {}
        self.store = MemoryStore(max_entries, clock=self.clock, **bounds)
        self.store.on_evict = self.evicted
        self.model = {}
        self.peak = 0
        self.put_entries = [Entry.of(0)]

    def evicted(self, key, entry):
        held = self.model.pop(key)
        assert held.value == entry.value
        assert len(self.store) < self.store.max_entries

    def keep(self, key, entry):
        had = len(self.store)
        kept = entry.expires > self.clock.monotonic() and not (self.weighed and entry.value > self.max_weight)
        self.store.put(key, entry)
        self.model.pop(key, None)
        if kept:
            self.model[key] = entry
            assert self.store.lookup(key).value == entry.value
        else:
            assert key not in self.store
        self.peak = max(self.peak, had, len(self.store))
        self.put_entries.append(entry)

    @rule(key=KEYS, weight=WEIGHTS, lifetime=LIFETIMES, tags=TAGS)
    def put(self, key, weight, lifetime, tags):
        self.keep(key, lasting(self.clock, lifetime, value=weight, tags=tags))

    @rule(key=KEYS, which=st.integers(min_value=0))
    def put_an_entry_again(self, key, which):
        self.keep(key, self.put_entries[which % len(self.put_entries)])

    @rule(key=KEYS)
    def read(self, key):
        entry = self.store.lookup(key)
        if entry is not None:
            entry.used = True

    @rule(key=KEYS)
    def drop(self, key):
        self.store.drop(key)
        self.model.pop(key, None)
        assert key not in self.store

    @rule(tag=st.sampled_from(["t", "u", "v", "w"]))
    def drop_tag(self, tag):
        self.store.drop_tag(tag)
        self.model = {key: entry for key, entry in self.model.items() if tag not in entry.tags}

    @rule(tag=st.sampled_from(["t", "u", "v", "w"]), limit=st.integers(0, 3))
    def thin_tag(self, tag, limit):
        had = set(self.store)
        tagged = {key for key in had if tag in self.model[key].tags}
        left = self.store.thin_tag(tag, limit)
        assert left == max(0, len(tagged) - limit) == len(tagged.intersection(self.store))
        assert had.difference(self.store) <= tagged
        self.model = {key: entry for key, entry in self.model.items() if key in self.store or key not in had}

    @precondition(lambda self: len(self.store) > 3)
    @rule()
    def clear(self):
        self.store.clear()
        self.model.clear()

    @rule(seconds=st.sampled_from([0.005, 0.5, 2.0, 70.0, 5_000.0]))
    def advance(self, seconds):
        self.clock.advance(seconds)

    @rule(limit=st.integers(min_value=1, max_value=20))
    def reclaim(self, limit):
        had = len(self.store)
        done = self.store.reclaim(limit)
        assert done == had - len(self.store) <= limit
        if done < limit:
            late = self.clock.monotonic() - 3_600 / 8 - 1 / 16
            assert all(self.store.lookup(key).expires > late for key in self.store)

    @invariant()
    def it_holds_what_it_should(self):
        now = self.clock.monotonic()
        for key in self.store:
            assert self.store.lookup(key).value == self.model[key].value
        lost = [key for key in self.model if key not in self.store]
        assert all(self.model[key].expires <= now for key in lost)
        for key in lost:
            del self.model[key]

    @invariant()
    def it_keeps_its_bounds(self):
        assert len(self.store) <= self.store.max_entries
        weights = {key: self.store.lookup(key).value for key in self.store} if self.weighed else {}
        assert self.store._weights == weights
        assert self.store.weight == sum(weights.values()) <= self.max_weight

    @invariant()
    def its_tags_are_exact(self):
        tagged = {}
        for key in self.store:
            for tag in self.store.lookup(key).tags:
                tagged.setdefault(tag, set()).add(key)
        assert self.store._tagged == tagged

    @invariant()
    def its_lists_are_exact(self):
        entries = {id(self.store.lookup(key)) for key in self.store}
        eviction = self.store._eviction
        small = ring(eviction._small, "older", "newer")
        main = ring(eviction._main, "older", "newer")
        assert {id(entry) for entry in small + main} == entries
        assert len(small) + len(main) == len(entries)
        assert len(small) == eviction._young
        assert {entry.young for entry in small} <= {True}
        assert {entry.young for entry in main} <= {False}
        timed = [
            entry for end in self.store._wheel._buckets.values() for entry in ring(end, "sooner", "later")
        ]
        assert sorted(map(id, timed)) == sorted(id(entry) for entry in small + main if entry.expires < inf)
        assert all(self.store.lookup(entry.key) is entry for entry in small + main)

    @invariant()
    def nothing_of_it_grows(self):
        eviction = self.store._eviction
        ghosts = len(eviction._recent) + len(eviction._former) + len(eviction._oldest)
        assert ghosts <= self.store.max_entries + 3
        assert 1 <= eviction._room <= max(self.peak, 1)
        assert len(self.store._wheel._buckets) == len(self.store._wheel._times) <= 100
        assert not self.store._doomed
        for entry in self.put_entries:
            if entry.key is None and hasattr(entry, "older"):
                assert entry.older is entry.newer is UNLINKED


def ring(end, back, forth):
    """Return the entries of a ring, in order; fail if it does not hold together."""
    found = []
    entry = getattr(end, forth)
    while entry is not end:
        assert getattr(getattr(entry, back), forth) is entry
        found.append(entry)
        entry = getattr(entry, forth)
    assert getattr(end, back) is (found[-1] if found else end)
    return found


class AnyUseWeighed(AnyUse):
    weighed = True


SETTINGS = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = SETTINGS
TestAnyUseWeighed = AnyUseWeighed.TestCase
TestAnyUseWeighed.settings = SETTINGS
