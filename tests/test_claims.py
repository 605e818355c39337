"""Claims: the table of what may happen to a name, and the laws against a naive history."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache._claims import Claims

A, B, C = b"a", b"b", b"c"
NAME = "shop:{user:42}"


def after(*steps):
    """Claims after *steps*, each a method's name and its token, if it takes one."""
    claims = Claims()
    for verb, *token in steps:
        getattr(claims, verb)(NAME, *token)
    return claims


@pytest.mark.parametrize(
    ("steps", "stores"),
    [
        ([], ""),
        ([("lease", A)], "a"),
        ([("lease", A), ("lease", A)], "a"),
        ([("lease", A), ("lease", B)], "a"),
        ([("lease", A), ("release", A)], ""),
        ([("lease", A), ("release", B)], "a"),
        ([("lease", A), ("taint",)], ""),
        ([("lease", A), ("taint",), ("lease", B)], "b"),
        ([("lease", A), ("fence", B)], "b"),
        ([("fence", A)], "a"),
        ([("fence", A), ("fence", A)], "a"),
        ([("fence", A), ("lease", B)], "a"),
        ([("fence", A), ("lease", A)], "a"),
        ([("fence", A), ("taint",)], ""),
        ([("fence", A), ("fence", B)], ""),
        ([("fence", A), ("fence", B), ("release", A)], ""),
        ([("fence", A), ("fence", B), ("release", A), ("fence", B)], ""),
        ([("fence", A), ("fence", B), ("release", A), ("release", B), ("fence", C)], "c"),
        ([("fence", A), ("release", A), ("fence", B)], "b"),
        ([("fence", A), ("taint",), ("release", A), ("lease", B)], "b"),
    ],
)
def test_only_a_token_that_is_present_alone_and_untainted_may_store(steps, stores):
    claims = after(*steps)
    assert [t for t in (A, B, C) if claims.sole(NAME, t)] == [bytes([c]) for c in stores.encode()]


@pytest.mark.parametrize(
    ("steps", "granted"),
    [
        ([], True),
        ([("lease", A)], True),
        ([("lease", B)], False),
        ([("fence", A)], False),
        ([("fence", B)], False),
        ([("lease", B), ("taint",)], True),
        ([("fence", B), ("taint",)], False),
        ([("fence", B), ("release", B)], True),
    ],
)
def test_a_lease_is_granted_only_where_nobody_else_stands(steps, granted):
    assert after(*steps).lease(NAME, A) is granted


def test_claims_end_by_themselves_and_take_the_taint_with_them():
    claims = Claims()
    claims.fence(NAME, A, until=5, now=0)
    claims.fence(NAME, B, until=7, now=0)
    assert not claims.sole(NAME, B, now=5), "the taint lasts as long as any fence of its time"
    assert claims.fenced(NAME, now=6.9)
    assert not claims.fenced(NAME, now=7)
    claims.fence(NAME, C, until=9, now=7)
    assert claims.sole(NAME, C, now=8)


def test_a_renewal_prolongs_and_never_shortens():
    claims = Claims()
    claims.lease(NAME, A, until=5, now=0)
    assert claims.renew(NAME, A, until=3, now=1)
    assert claims.renew(NAME, A, until=9, now=4)
    assert not claims.renew(NAME, B, until=9, now=4)
    assert claims.sole(NAME, A, now=8)
    assert not claims.renew(NAME, A, until=20, now=9)


def test_a_change_of_everything_ends_leases_and_taints_fences():
    claims = Claims()
    claims.lease("x", A)
    claims.fence("y", B)
    claims.taint_all()
    assert claims.of("x") is None
    assert claims.fenced("y")
    assert not claims.sole("y", B)


def test_a_name_is_forgotten_with_its_last_claim():
    claims = Claims()
    for number in range(100):
        claims.fence(f"released {number}", A)
        claims.release(f"released {number}", A)
        claims.lease(f"ended {number}", A, until=1)
    assert all(name.startswith("ended") for name in claims)
    assert len(claims) == 100
    claims.expire(now=1)
    assert len(claims) == 0


# --- the laws, against a model that keeps the whole history ------------------------------------------


@dataclass
class History:
    """Every claim ever made, judged anew at each question."""

    made: list[dict] = field(default_factory=list)

    def alive(self, now):
        return [claim for claim in self.made if not claim["over"] and claim["until"] > now]

    def age(self, now):
        # A taint holds from one moment without claims to the next.
        if not self.alive(now):
            self.made.clear()

    def change(self, now, spare=None):
        for claim in self.alive(now):
            if claim["kind"] == "lease":
                claim["over"] = True
        others = [claim for claim in self.alive(now) if claim["token"] != spare]
        if others:
            for claim in self.alive(now):
                claim["tainted"] = True

    def step(self, verb, token, until, now):
        self.age(now)
        alive = self.alive(now)
        mine = [claim for claim in alive if claim["token"] == token]
        if verb == "taint":
            self.change(now)
        elif verb == "release":
            for claim in mine:
                claim["over"] = True
        elif verb == "renew":
            for claim in mine:
                claim["until"] = max(claim["until"], until)
            return bool(mine)
        elif verb == "lease":
            if any(claim["kind"] == "fence" or claim["token"] != token for claim in alive):
                return False
            self.add("lease", token, until, mine, tainted=False)
            return True
        else:
            self.change(now, spare=token)
            alive = self.alive(now)
            mine = [claim for claim in alive if claim["token"] == token]
            self.add("fence", token, until, mine, tainted=any(claim["tainted"] for claim in alive))
        return None

    def add(self, kind, token, until, mine, *, tainted):
        if mine:
            mine[0]["until"] = max(mine[0]["until"], until)
        else:
            self.made.append(
                {"kind": kind, "token": token, "until": until, "tainted": tainted, "over": False}
            )

    def sole(self, token, now):
        alive = self.alive(now)
        return [claim["token"] for claim in alive] == [token] and not alive[0]["tainted"]


steps = st.tuples(
    st.sampled_from(["lease", "fence", "taint", "renew", "release"]),
    st.sampled_from([A, B, C]),
    st.integers(0, 3),  # seconds since the step before
    st.integers(1, 4),  # seconds to stand
)


@given(st.lists(steps, max_size=20))
def test_claims_agree_with_their_whole_history(history):
    claims, model, now = Claims(), History(), 0
    for verb, token, waited, ttl in history:
        now += waited
        arguments = {"taint": (), "release": (token,)}.get(verb, (token,))
        times = {"now": now} if verb in {"taint", "release"} else {"now": now, "until": now + ttl}
        assert getattr(claims, verb)(NAME, *arguments, **times) == model.step(verb, token, now + ttl, now)
        model.age(now)
        assert [claims.sole(NAME, t, now=now) for t in (A, B, C)] == [model.sole(t, now) for t in (A, B, C)]
        standing = claims.of(NAME, now=now)
        assert set(standing.tokens if standing else ()) == {c["token"] for c in model.alive(now)}
        assert claims.fenced(NAME, now=now) is any(c["kind"] == "fence" for c in model.alive(now))
