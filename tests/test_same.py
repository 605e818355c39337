"""What counts as the same value after a round trip."""

import array
import enum
import re
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from math import inf, nan
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acache.codecs import MsgpackCodec, plain, same

PARIS = ZoneInfo("Europe/Paris")
NAIVE = datetime(2024, 10, 27, 2, 30)


class Flag(enum.Flag):
    A = 1
    B = 2


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    a: object
    b: object


class OtherPair(NamedTuple):
    a: object
    b: object


@dataclass
class Loose:
    id: int
    note: object = field(default=None, compare=False)


@dataclass
class Tight(Loose):
    pass


class Packet(msgspec.Struct):
    a: object


@attrs.define
class Car:
    wheels: object = attrs.field(eq=False)


class Model(pydantic.BaseModel):
    a: object
    _secret: object = pydantic.PrivateAttr(default=1)


class Bare:
    def __init__(self, **facts):
        self.__dict__.update(facts)


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Raising(Bare):
    __hash__ = None

    def __eq__(self, other):
        raise RuntimeError("no")


class Vague(Bare):
    """Answers `==` with something that is neither True nor False, as an array does."""

    __hash__ = None

    def __eq__(self, other):
        return array.array("d", [1.0])


class Opaque:
    def __reduce_ex__(self, protocol):
        raise TypeError("not to be pickled")


def with_secret(secret):
    model = Model(a=1)
    model._secret = secret
    return model


def around_itself():
    loop = []
    loop.append(loop)
    return loop


SAME = [
    (nan, -nan),
    (inf, inf),
    ([nan], [float("nan")]),
    # Named, because nan is hashed by its address: workers would disagree on the order of these sets.
    pytest.param({nan, 1}, {1, float("nan")}, id="sets with two nans"),
    pytest.param({nan, 1}, {1, nan}, id="sets with one nan"),
    (complex(nan, 0.0), complex(nan, 0.0)),
    (Decimal("NaN"), Decimal("NaN")),
    (10**30, 10**30),
    ("ab" * 50, "a" + "ba" * 49 + "b"),
    ({1, (2, 3)}, {(2, 3), 1}),
    ({"a": [1], "b": {2}}, {"a": [1], "b": {2}}),
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))),
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC, fold=1)),
    (datetime(2024, 1, 1, tzinfo=PARIS), datetime(2024, 1, 1, tzinfo=PARIS)),
    (time(1, tzinfo=UTC), time(1, tzinfo=timezone(timedelta(0)))),
    (deque([1, 2]), deque([1, 2])),
    (defaultdict(list, a=[1]), defaultdict(list, a=[1])),
    (Flag.A | Flag.B, Flag.A | Flag.B),
    (Loose(1, [2]), Loose(1, [2])),
    (Packet(nan), Packet(nan)),
    (Car({1}), Car({1})),
    (Model(a=[1]), Model(a=[1])),
    (Bare(a=[1], b=nan), Bare(a=[1], b=nan)),
    (Slotted([nan]), Slotted([nan])),
    (Raising(a=1), Raising(a=1)),
    (Vague(a=1), Vague(a=1)),
    (ValueError("a", 1), ValueError("a", 1)),
    (Bare, Bare),
    (range(3), range(3)),
]

DIFFERENT = [
    (1, True),
    (1, 1.0),
    (True, 1.0),
    (0, False),
    (0.0, -0.0),
    (nan, 1.0),
    (1.0, nan),
    (0j, -0j),
    (None, False),
    (1, Number.ONE),
    ("a", Text("a")),
    ("a", b"a"),
    (b"a", bytearray(b"a")),
    ([1], (1,)),
    ((1, 2), Pair(1, 2)),
    (Pair(1, 2), OtherPair(1, 2)),
    (Pair(1, 2), Pair(1, True)),
    ([1, 2], [1]),
    ([1], [1, 2]),
    ({1}, frozenset({1})),
    ({1}, {True}),
    ({(1,)}, {(True,)}),
    ({1, 2}, {1}),
    ({1}, {2}),
    ({nan}, {1}),
    ({1}, {nan}),
    pytest.param({nan, 1}, {nan, 2}, id="sets that differ beside a nan"),
    (deque([1]), deque([True])),
    ({1: "a"}, {True: "a"}),
    ({"a": 1}, {"a": True}),
    ({"a": 1}, {"b": 1}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1}, OrderedDict(a=1)),
    ({"a": 1}, Counter("a")),
    (Decimal("1.0"), Decimal("1.00")),
    (Decimal(1), 1),
    (datetime(2024, 1, 1, tzinfo=UTC), NAIVE),
    (datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))),
    (datetime(2024, 1, 1, tzinfo=PARIS), datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
    (datetime(2024, 10, 27, 2, 30, tzinfo=PARIS), datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1)),
    (datetime(2024, 1, 1, tzinfo=PARIS), datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))),
    (NAIVE, NAIVE.replace(fold=1)),
    (NAIVE, NAIVE.date()),
    (time(1), time(1, tzinfo=UTC)),
    (Loose(1, 1), Loose(1, 2)),
    (Loose(1), Tight(1)),
    (Loose(1), make_dataclass("Loose", ["id", "note"])(1, None)),
    (Packet(1), Packet(True)),
    (Car(1), Car(2)),
    (Model(a=1), Model(a=True)),
    (with_secret(1), with_secret(2)),
    (Bare(a=1), Bare(a=2)),
    (Bare(a=1), Bare(a=True)),
    (Bare(a=1), Bare()),
    (Slotted(1), Slotted(2)),
    (Raising(a=1), Raising(a=2)),
    (Vague(a=1), Vague(a=2)),
    (Opaque(), Opaque()),
    (object, Bare),
    (ValueError("a"), ValueError("b")),
    (around_itself(), around_itself()),
]


@pytest.mark.parametrize(("a", "b"), SAME, ids=lambda part: re.sub(r" at 0x[0-9a-f]+", "", repr(part)))
def test_the_same(a, b):
    assert same(a, b)
    assert same(b, a)
    assert same([a], [b])
    assert same({"k": (a,)}, {"k": (b,)})
    assert same(Loose(1, a), Loose(1, b))


@pytest.mark.parametrize(("a", "b"), DIFFERENT, ids=lambda part: type(part).__name__)
def test_not_the_same(a, b):
    assert not same(a, b)
    assert not same(b, a)
    assert not same([a], [b])
    assert not same({"k": (a,)}, {"k": (b,)})
    assert not same(Loose(1, a), Loose(1, b))


def test_a_thing_is_the_same_as_itself_however_strange():
    for strange in (Opaque(), Raising(), object(), around_itself(), nan):
        assert same(strange, strange)


def test_a_field_that_is_gone_is_no_error():
    half = Loose(1)
    del half.note, half.__dict__["id"]
    assert not same(half, Loose(1))
    assert not same(Loose(1), half)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, -0.0, 1.0, nan])
    | st.sampled_from("ab")
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.frozensets(leaves, max_size=3)
        | st.dictionaries(leaves, inner, max_size=3)
    ),
    max_leaves=6,
)


def exact(value):
    """Return a text that differs wherever value or type does."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(exact, value))})"
    if isinstance(value, dict):
        return f"dict({[(exact(key), exact(item)) for key, item in value.items()]})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({[exact(item) for item in value]})"
    return f"{type(value).__name__}({value!r})"


@given(a=trees, b=trees)
def test_two_values_are_the_same_when_their_exact_text_is(a, b):
    assert same(a, b) == (exact(a) == exact(b))
    assert same(a, a)


class Text(str):
    __slots__ = ()


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.binary(max_size=20)
)
TEXTS = st.builds(Text, st.text(max_size=5))
OTHERS = st.one_of(TEXTS, st.tuples(st.integers()), st.sets(st.integers()), st.decimals(allow_nan=False))


@example({Text("a"): 1})
@example({"a": (1,)})
@given(st.one_of(SCALARS, OTHERS, st.dictionaries(SCALARS | TEXTS, SCALARS | OTHERS, max_size=4)))
def test_what_is_plain_comes_back_from_messagepack_without_a_type(value):
    codec = MsgpackCodec()
    if plain(value):
        assert same(codec.decode(codec.encode(value), Any), value)


@pytest.mark.parametrize(
    "row", [{"id": 1, "name": "Ann", "score": 0.5, "note": None, "on": True}, 1, "a", None]
)
def test_most_rows_and_ids_are_plain(row):
    assert plain(row)
