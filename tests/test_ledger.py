"""What was heard, and since when: the rule that keeps outdated values out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache import MemoryStore
from acache._entry import Entry
from acache._ledger import Ledger
from acache._near import Near

NAMES = st.sampled_from("abcd")


def test_what_was_heard_after_the_mark_counts():
    ledger = Ledger()
    ledger.hear(["k"], ["t"])
    mark = ledger.mark
    assert ledger.quiet("k", ["t"], since=mark)
    assert not ledger.quiet("k", [], since=mark - 1)
    assert not ledger.quiet("other", ["x", "t"], since=mark - 1)
    assert ledger.quiet("other", ["x"], since=mark - 1)
    assert ledger.quiet("t", ["k"], since=0), "a key is no tag"
    ledger.hear_everything()
    assert not ledger.quiet("other", [], since=mark)
    assert ledger.quiet("other", [], since=ledger.mark)


@given(st.lists(st.tuples(st.lists(NAMES), st.lists(NAMES))), NAMES, st.lists(NAMES), st.data())
def test_a_forgetful_ledger_errs_on_the_safe_side_only(messages, key, tags, data):
    small, large = Ledger(limit=2), Ledger()
    marks = [(0, 0)]
    for keys, heard in messages:
        small.hear(keys, heard)
        large.hear(keys, heard)
        marks.append((small.mark, large.mark))
        assert len(small._keys) <= 2
        assert len(small._tags) <= 2
    of_small, of_large = data.draw(st.sampled_from(marks))
    assert small.quiet(key, tags, since=of_small) <= large.quiet(key, tags, since=of_large)


@given(st.lists(st.tuples(st.lists(NAMES), st.lists(NAMES))), NAMES, st.lists(NAMES), st.data())
def test_quiet_means_that_no_later_message_named_it(messages, key, tags, data):
    ledger = Ledger()
    for keys, heard in messages:
        ledger.hear(keys, heard)
    since = data.draw(st.integers(0, len(messages)))
    named = any(key in keys or not set(tags).isdisjoint(heard) for keys, heard in messages[since:])
    assert ledger.quiet(key, tags, since=since) is not named


def test_whether_anything_was_heard_of_a_kind_of_names():
    ledger = Ledger()
    is_user, is_team = (lambda name: name.startswith("user:")), (lambda name: name.startswith("team:"))
    ledger.hear(["post:1"], ["user:1"])
    assert not ledger.heard(is_user, is_team)
    ledger.hear([], ["team:1"])
    assert ledger.heard(is_user, is_team)
    ledger = Ledger()
    ledger.hear_everything()
    assert ledger.heard(is_user, is_team)


# --- the one rule for every near put ----------------------------------------------------------------


@pytest.fixture
def near():
    return Near(MemoryStore())


@pytest.mark.parametrize(
    "hear",
    [
        lambda near: near.forget(["k"], []),
        lambda near: near.forget([], ["t"]),
        lambda near: near.stored_elsewhere(["k"]),
        lambda near: near.forget_everything(),
    ],
)
def test_nothing_is_put_near_after_a_message_about_it(near, hear):
    near.put("k", Entry.of("old", tags=("t",)), since=near.ledger.mark)
    mark = near.ledger.mark
    hear(near)
    assert near.get("k", 0.0) is None
    assert near.put("k", Entry.of("late", tags=("t",)), since=mark) is False
    assert near.put_own("k", Entry.of("late", tags=("t",)), since=mark) is False
    assert near.get("k", 0.0) is None
    assert near.put("k", Entry.of("new", tags=("t",)), since=near.ledger.mark) is True


def test_what_this_process_stored_drops_the_old_copy_even_if_its_own_is_refused(near):
    mark = near.ledger.mark
    near.put("k", Entry.of("old"), since=mark)
    near.ledger.hear(["k"])
    assert near.put_own("k", Entry.of("own"), since=mark) is False
    assert near.get("k", 0.0) is None


def test_near_is_bypassed_once_it_is_not_trusted(near):
    near.put("k", Entry.of("v"), since=0)
    near.trusted_until = 5.0
    assert near.get("k", 4.9).value == "v"
    assert near.get("k", 5.0) is None


def test_without_a_store_it_still_hears():
    near = Near(None)
    mark = near.ledger.mark
    assert near.put("k", Entry.of("v"), since=mark) is True
    assert near.get("k", 0.0) is None
    near.forget(["k"], ["t"])
    assert near.put("k", Entry.of("v"), since=mark) is False


def test_a_store_that_is_in_use_twice_tells_who_asked_last_and_its_owner():
    told = []
    store = MemoryStore(max_entries=1)
    store.on_evict = lambda key, entry: told.append(key)
    first, second, third = Near(store), Near(store), Near(store)
    for key in "abc":
        third.put(key, Entry.of(key), since=0)
    assert (first.evictions.count, second.evictions.count, third.evictions.count) == (0, 0, 2)
    assert told == ["a", "b"]
    assert Near(object()).evictions.count == 0
