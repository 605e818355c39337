"""What an entry is worth, and what a load leaves behind."""

import math
import pickle
from copy import copy, deepcopy
from dataclasses import fields
from datetime import timedelta
from math import exp, inf, log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache import Policy
from acache._entry import MAX_EXPONENTIAL, Entry
from acache._policy import (
    EARLY,
    FRESH,
    GRACE,
    HELD,
    MISS,
    STALE,
    Failed,
    Loaded,
    Options,
    decide,
    plan,
    settle,
)
from acache.errors import InvalidPolicy, NoInvalidationPlan

AGING = Policy(ttl=60, stale_while_revalidate=20, stale_if_error=40)


@pytest.mark.parametrize(
    ("age", "verdict"),
    [(0, FRESH), (59.9, FRESH), (60, STALE), (79.9, STALE), (80, GRACE), (99.9, GRACE), (100, MISS)],
)
def test_an_entry_ages_through_its_verdicts(age, verdict):
    entry = Entry.of("v", fresh_until=60, keep=40)
    assert decide(entry, now=age, rand=1.0, policy=AGING) is verdict


@pytest.mark.parametrize(("age", "verdict"), [(59, FRESH), (61, HELD), (81, HELD), (101, MISS)])
def test_after_a_failed_load_what_can_be_served_is_served_without_another_attempt(age, verdict):
    entry = Entry.of("v", fresh_until=60, keep=40, delta=1.0)
    assert decide(entry, now=age, rand=1e-9, policy=AGING, retry_at=age + 1) is verdict


def test_nothing_is_a_miss():
    assert decide(None, now=0, rand=1.0, policy=AGING) is MISS


def test_without_beta_nothing_is_refreshed_early():
    entry = Entry.of("v", fresh_until=60, delta=100.0)
    assert decide(entry, now=59.999, rand=2**-53, policy=Policy(ttl=60, beta=0)) is FRESH


@given(
    delta=st.floats(1e-6, 100),
    beta=st.floats(0.01, 10),
    before=st.floats(0, 5000),
    rand=st.floats(2**-53, 1),
)
def test_xfetch_compares_an_exponential_with_a_draw_as_the_paper_takes_its_logarithm(
    delta, beta, before, rand
):
    entry = Entry.of("v", fresh_until=10_000, delta=delta, beta=beta)
    now = 10_000 - before
    if now >= 10_000:
        return
    left = -delta * beta * log(rand)
    if math.isclose(left, 10_000 - now, rel_tol=1e-9, abs_tol=1e-9):
        return
    fires = now + left >= 10_000
    assert (decide(entry, now=now, rand=rand, policy=Policy(ttl=1, beta=beta)) is EARLY) is fires


@given(delta=st.floats(0, 100), beta=st.floats(0, 10), ahead=st.floats(0, 1e6))
def test_before_the_calm_ends_no_draw_can_fire(delta, beta, ahead):
    entry = Entry.of("v", fresh_until=1e6, delta=delta, beta=beta)
    now = entry.calm_until - ahead - 1e-6
    assert decide(entry, now=now, rand=2**-53, policy=Policy(ttl=1, beta=beta)) is FRESH


def test_the_calm_ends_no_sooner_than_it_must():
    entry = Entry.of("v", fresh_until=1000.0, delta=1.0)
    assert pytest.approx(53 * log(2)) == MAX_EXPONENTIAL
    assert decide(entry, now=entry.calm_until + 1e-6, rand=2**-53, policy=Policy(ttl=1)) is EARLY


# --- XFetch against its closed forms (Poisson reads at rate r, n = r·delta) --------------------------


def e1(x: float) -> float:
    """Return the exponential integral, by its continued fraction."""
    value = 0.0
    for k in range(200, 0, -1):
        value = k / (1 + k / (x + value))
    return exp(-x) / (x + value)


def first_trigger(rng: Random, *, rate: float, delta: float, policy: Policy) -> float | None:
    """Read one entry at random times until XFetch fires; return the head start."""
    entry = Entry.of("v", fresh_until=60.0, delta=delta, beta=policy.beta)
    # A Poisson process may start anywhere; to fire earlier still takes a draw below e^-12.
    now = 60.0 - 12 * policy.beta * delta
    while (now := now + rng.expovariate(rate)) < 60.0:
        if decide(entry, now=now, rand=1.0 - rng.random(), policy=policy) is EARLY:
            return 60.0 - now
    return None


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_head_start_of_xfetch_is_that_of_the_closed_form(beta):
    rng, delta, n = Random(7), 0.1, 20.0
    policy = Policy(ttl=60, beta=beta)
    heads = [first_trigger(rng, rate=n / delta, delta=delta, policy=policy) for _ in range(500)]
    triggered = [head for head in heads if head is not None]
    expected = beta * delta * (log(n * beta) + 0.5772156649 + e1(n * beta))
    assert sum(triggered) / len(triggered) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("beta", "expected"), [(0.5, 7.389), (1.0, 2.718), (2.0, 1.649)])
def test_the_stampede_of_uncoalesced_readers_is_that_of_the_closed_form(beta, expected):
    rng, delta, rate = Random(11), 0.1, 200.0 / beta
    policy, sizes = Policy(ttl=60, beta=beta), []
    for _ in range(int(600 / beta)):
        head = first_trigger(rng, rate=rate, delta=delta, policy=policy)
        entry = Entry.of("v", fresh_until=60.0, delta=delta, beta=beta)
        size, now = 1, 60.0 - (head or 0.0)
        end = now + delta  # until the first recomputation is stored
        while (now := now + rng.expovariate(rate)) < end:
            verdict = decide(entry, now=now, rand=1.0 - rng.random(), policy=policy)
            size += verdict is EARLY or verdict is MISS
        sizes.append(size)
    # Past expiry every reader recomputes, which the closed form continues: e^(D/(beta·delta)).
    assert sum(sizes) / len(sizes) == pytest.approx(expected, rel=0.05)


def test_the_chance_that_xfetch_never_fires_is_that_of_the_closed_form():
    rng, delta, n, runs = Random(13), 0.1, 1.0, 6000
    policy = Policy(ttl=60)
    none = sum(first_trigger(rng, rate=n / delta, delta=delta, policy=policy) is None for _ in range(runs))
    assert none / runs == pytest.approx(exp(-n), rel=0.05)


# --- settling ---------------------------------------------------------------------------------------


def test_a_loaded_value_is_stored_for_its_ttl():
    settled = settle(Loaded(value="v", born=9.0, delta=1.0), None, now=10.0, policy=Policy(ttl=60))
    assert (settled.value, settled.entry.fresh_until, settled.entry.born) == ("v", 70.0, 9.0)


@pytest.mark.parametrize(("rand", "fresh_until"), [(1.0, 100.0), (0.5, 90.0), (1e-12, 80.0)])
def test_jitter_shortens_the_ttl_by_at_most_its_share(rand, fresh_until):
    policy = Policy(ttl=100, jitter=0.2)
    settled = settle(Loaded(value="v", born=0, delta=0), None, now=0, policy=policy, rand=rand)
    assert settled.entry.fresh_until == pytest.approx(fresh_until)


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Policy(ttl=300), 60),
        (Policy(ttl=30), 30),
        (Policy(ttl=None), 60),
        (Policy(ttl=300, missing_ttl=5), 5),
        (Policy(ttl=300, missing_ttl=0), None),
    ],
)
def test_a_missing_row_is_remembered_for_its_own_time(policy, seconds):
    settled = settle(Loaded(value=None, born=0, delta=0), None, now=0, policy=policy)
    assert (settled.entry and settled.entry.fresh_until) == seconds


@pytest.mark.parametrize(
    "loaded",
    [
        Loaded(value="secret", born=0, delta=0),
        Loaded(value="v", born=0, delta=0, skip=True),
        Loaded(value="v", born=0, delta=0, ttl=0.0),
    ],
)
def test_what_must_not_be_stored_is_served(loaded):
    settled = settle(loaded, None, now=0, policy=Policy(ttl=9, cache_if=lambda value: value != "secret"))
    assert settled.entry is None
    assert settled.value == loaded.value


def test_a_value_that_was_not_modified_is_prolonged():
    old = Entry.of("old", fresh_until=5)
    settled = settle(
        Loaded(value=object(), born=8, delta=1, not_modified=True), old, now=9, policy=Policy(ttl=10)
    )
    assert (settled.value, settled.entry.value, settled.entry.fresh_until) == ("old", "old", 19)


@pytest.mark.parametrize(("age", "served"), [(50, True), (99, True), (101, False)])
def test_a_failed_load_serves_the_old_value_while_it_may(age, served):
    error = OSError("away")
    settled = settle(Failed(error=error), Entry.of("old", fresh_until=60), now=age, policy=AGING)
    assert settled.stale is served
    assert settled.error is error
    assert settled.retry_at == (age + AGING.retry_after if served else 0)


def test_until_invalidated_means_for_ever():
    settled = settle(Loaded(value="v", born=0, delta=0), None, now=0, policy=Policy(ttl=None))
    assert settled.entry.fresh_until == inf


# --- naming options ---------------------------------------------------------------------------------


def test_a_call_overrides_its_policy_which_overrides_the_defaults():
    shared, defaults = Policy(ttl=60, beta=2.0), Policy(beta=3.0, jitter=0.5, timeout=1)
    merged = plan("f", {"beta": 0.5}, policy=shared, default=defaults, plannable=True)
    assert (merged.ttl, merged.beta, merged.jitter, merged.timeout) == (60, 0.5, 0.5, 1)


def test_a_timedelta_is_seconds():
    assert Policy(ttl=timedelta(minutes=2)).ttl == 120.0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ttl": -1}, "ttl"),
        ({"ttl": math.nan}, "ttl"),
        ({"ttl": inf}, "ttl=None"),
        ({"ttl": "10m"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"beta": -0.1}, "beta"),
        ({"jitter": 1.5}, "jitter"),
        ({"timeout": -1}, "timeout"),
        ({"refresh": "later"}, "refresh"),
        ({"cache_if": 3}, "cache_if"),
        ({"version": 2}, "version"),
        ({"missing_ttl": -timedelta(1)}, "missing_ttl"),
    ],
)
def test_a_senseless_option_is_named(options, named):
    with pytest.raises(InvalidPolicy, match=named):
        Policy(**options)


def test_an_unknown_option_is_told_with_the_one_that_was_meant():
    with pytest.raises(TypeError, match="did you mean 'stale_if_error'"):
        Policy(stale_on_error=5)


@pytest.mark.parametrize(("options", "plannable"), [({}, True), ({"ttl": None}, False)])
def test_a_call_needs_an_invalidation_plan(options, plannable):
    with pytest.raises(NoInvalidationPlan, match="ttl"):
        plan("get_user", options, policy=None, default=Policy(beta=2.0), plannable=plannable)


def test_policies_are_values():
    assert Policy(ttl=60) == Policy(ttl=60.0, beta=1.0)
    assert hash(Policy(ttl=60)) == hash(Policy(ttl=60.0, beta=1.0))
    assert Policy(ttl=60) != Policy(ttl=61)
    assert repr(Policy(ttl=60, beta=2)) == "Policy(ttl=60.0, beta=2.0)"


def test_a_policy_has_no_fields_but_its_options_and_is_copied_with_what_was_named():
    policy = Policy(ttl=60, timeout=2)
    assert {field.name for field in fields(Policy)} == set(Options.__annotations__)
    for copied in (copy(policy), deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert copied == policy
        assert repr(copied) == "Policy(ttl=60.0, timeout=2.0)"
        assert (copied.named, copied.patient, copied.keep) == (policy.named, False, 0)
    assert {name for name in dir(Policy) if not name.startswith("_")} - set(Options.__annotations__) == {
        "keep",
        "named",
        "patient",
    }
