"""What a local store promises, as a suite that a plugin's author subclasses.

class TestMyStore(LocalStoreContract):
    capacity = 100

    def make(self) -> MyStore:
        return MyStore(max_entries=self.capacity)
"""

from random import Random
from typing import ClassVar
from unittest import SkipTest

from acache.protocols import Entry, LocalStore

__all__ = ["LocalStoreContract"]


class LocalStoreContract:
    """The methods of `LocalStore`."""

    capacity: ClassVar[int | None] = None
    """Entries that the made store keeps at most, if it has a limit; 20 at least."""
    same: ClassVar[bool] = True
    """A lookup returns the very entry that was put, not a copy of it."""

    def make(self) -> LocalStore:
        """Return a new, empty store."""
        raise SkipTest("the contract itself has no store")

    def test_the_store_offers_the_protocol(self) -> None:
        """The core asks with isinstance."""
        assert isinstance(self.make(), LocalStore)

    def test_what_was_put_is_found_until_it_is_dropped(self) -> None:
        """Dropping what is not there does nothing."""
        store, entry = self.make(), Entry.of(1)
        assert store.lookup("k") is None
        store.put("k", entry)
        found = store.lookup("k")
        assert found is not None
        assert found.value == 1
        assert found is entry or not self.same
        store.drop("other")
        assert store.lookup("k") is not None
        store.drop("k")
        store.drop("k")
        assert store.lookup("k") is None

    def test_the_lookup_may_be_kept(self) -> None:
        """It is fetched once and called ever after, through any change."""
        store = self.make()
        lookup = store.lookup
        store.put("k", Entry.of(1))
        assert lookup("k") is not None
        store.clear()
        assert lookup("k") is None
        store.put("k", Entry.of(2))
        found = lookup("k")
        assert found is not None
        assert found.value == 2

    def test_putting_again_replaces_value_and_tags(self) -> None:
        """The tags of the entry before no longer reach the key."""
        store = self.make()
        store.put("k", Entry.of(1, tags=("old", "both")))
        store.put("k", Entry.of(2, tags=("new", "both")))
        store.drop_tag("old")
        found = store.lookup("k")
        assert found is not None
        assert found.value == 2
        store.drop_tag("new")
        assert store.lookup("k") is None

    def test_dropping_a_tag_takes_exactly_its_entries(self) -> None:
        """Others stay, and an unknown tag takes none."""
        store = self.make()
        for number in range(10):
            store.put(f"k{number}", Entry.of(number, tags=("even",) if number % 2 == 0 else ("odd", "all")))
        store.drop_tag("unknown")
        store.drop_tag("even")
        assert [number for number in range(10) if store.lookup(f"k{number}")] == [1, 3, 5, 7, 9]
        store.drop_tag("all")
        assert [number for number in range(10) if store.lookup(f"k{number}")] == []

    def test_a_key_and_a_tag_of_one_name_are_two_things(self) -> None:
        """Dropping one leaves the other."""
        store = self.make()
        store.put("x", Entry.of(1, tags=("y",)))
        store.put("y", Entry.of(2, tags=("x",)))
        store.drop_tag("x")
        assert store.lookup("x") is not None
        assert store.lookup("y") is None

    def test_clearing_leaves_nothing(self) -> None:
        """Keys and tags begin anew."""
        store = self.make()
        for number in range(20):
            store.put(f"k{number}", Entry.of(number, tags=("t",)))
        store.clear()
        assert not any(store.lookup(f"k{number}") for number in range(20))
        store.put("k1", Entry.of(1))
        store.drop_tag("t")
        assert store.lookup("k1") is not None

    def test_any_value_is_kept_none_included(self) -> None:
        """A miss is None, a cached None is an entry."""
        store = self.make()
        store.put("k", Entry.of(None))
        found = store.lookup("k")
        assert found is not None
        assert found.value is None

    def test_a_full_store_keeps_no_more_than_it_may(self) -> None:
        """And something of what it was given last."""
        if self.capacity is None:
            raise SkipTest("the store is declared without a limit")
        store = self.make()
        names = [f"k{number}" for number in range(10 * self.capacity)]
        for name in names:
            store.put(name, Entry.of(name, tags=(name, "all")))
        kept = [name for name in names if store.lookup(name)]
        assert 0 < len(kept) <= self.capacity
        store.drop_tag("all")
        assert not any(store.lookup(name) for name in names)

    def test_random_use_agrees_with_a_dictionary(self) -> None:
        """A store may forget what it likes, but never invents, revives or confuses."""
        rng = Random(7)  # noqa: S311 - the same walk every time
        store, model = self.make(), dict[str, Entry]()
        keys, tags = [f"k{number}" for number in range(12)], [f"t{number}" for number in range(4)]
        for number in range(3000):
            key, tag = rng.choice(keys), rng.choice(tags)
            match rng.randrange(10):
                case 0:
                    store.drop(key)
                    model.pop(key, None)
                case 1:
                    store.drop_tag(tag)
                    model = {key: entry for key, entry in model.items() if tag not in entry.tags}
                case 2 if number % 50 == 0:
                    store.clear()
                    model.clear()
                case _:
                    model[key] = Entry.of(number, tags=tuple(rng.sample(tags, rng.randrange(3))))
                    store.put(key, model[key])
            for name in keys:
                found, expected = store.lookup(name), model.get(name)
                if self.capacity is None or self.capacity >= len(keys):
                    assert (found is None) == (expected is None)
                if found is not None:
                    assert expected is not None
                    assert found.value == expected.value
