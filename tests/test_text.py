"""Canonical text: equal texts mean equal type and value."""

import ipaddress
import math
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NewType
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from acache._text import class_name, reader, scalar, text, writer
from acache.errors import UncacheableArgument

HERE = __name__
UUID_4 = UUID("2f1e7a44-8a0f-4f5b-9c1e-0123456789ab")
NAIVE = datetime(2024, 5, 6)
PARIS = timezone(timedelta(hours=1))


class Color(Enum):
    RED = 1
    GREEN = 2


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    ONE = "1"


class Access(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: object
    y: object = field(default=0, compare=False)


@dataclass
class Place(Point):
    pass


Pair = namedtuple("Pair", "a b")
Couple = namedtuple("Couple", "a b")


class Label(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


class Money(Decimal):
    currency = "EUR"

    def __eq__(self, other):
        return Decimal(self) == other and self.currency == other.currency

    __hash__ = Decimal.__hash__


class DriverUUID(UUID):
    """As asyncpg returns them."""

    def __eq__(self, other):
        return isinstance(other, UUID) and self.int == other.int

    __hash__ = UUID.__hash__


class Outer:
    class Color(Enum):
        RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "True"),
        (False, "False"),
        (0, "0"),
        (-42, "-42"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e16, "1e%2B16"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        ("alice", "alice"),
        ("A-Za_z0.9@x", "A-Za_z0.9@x"),
        ("a:b {c}'d'%", "a%3Ab%20%7Bc%7D%27d%27%25"),
        ("é", "%C3%A9"),
        ("\ud800", "%ED%A0%80"),
        ("(),=", "%28%29%2C%3D"),
        (b"a\x00\xff", "bytes(a%00%FF)"),
        (Decimal("1.50"), "Decimal(1.50)"),
        (UUID_4, f"UUID({UUID_4})"),
        (DriverUUID(str(UUID_4)), f"UUID({UUID_4})"),
        (date(2024, 5, 6), "date(2024-05-06)"),
        (datetime(2024, 5, 6, 7, 8, tzinfo=UTC), "datetime(2024-05-06T07%3A08%3A00%2B00%3A00)"),
        (time(7, 8), "time(07%3A08%3A00)"),
        (timedelta(seconds=-1.5), "timedelta(-1500000us)"),
        (PurePosixPath("/etc/x"), "PurePosixPath(%2Fetc%2Fx)"),
        (PureWindowsPath("c:/x"), "PureWindowsPath(c%3A%5Cx)"),
        (ipaddress.ip_address("10.0.0.1"), "IPv4Address(10.0.0.1)"),
        (ipaddress.ip_network("10.0.0.0/8"), "IPv4Network(10.0.0.0%2F8)"),
        (ipaddress.ip_interface("::1/64"), "IPv6Interface(%3A%3A1%2F64)"),
        ((), "tuple()"),
        ((1, "1"), "tuple(1,'1')"),
        ([1, [None, ""]], "list(1,list(None,''))"),
        ({2, 1}, "set(1,2)"),
        (frozenset({"b", "a"}), "frozenset(a,b)"),
        ({"b": 1, "a": {}}, "dict(a=dict(),b=1)"),
        (defaultdict(int, a=1), "collections.defaultdict(a=1)"),
        (Color.RED, f"{HERE}.Color(RED)"),
        (Number.ONE, f"{HERE}.Number(ONE)"),
        (Word.ONE, f"{HERE}.Word(ONE)"),
        (Access.READ, f"{HERE}.Access(READ)"),
        (Access.READ | Access.WRITE, f"{HERE}.Access(int(3))"),
        (Access(0), f"{HERE}.Access(int(0))"),
        (Outer.Color.RED, f"{HERE}.Outer%2EColor(RED)"),
        (Pair(1, 2), f"{HERE}.Pair(1,2)"),
        (Point(1, "a b"), f"{HERE}.Point(x=1,y=a%20b)"),
        (Label("1"), f"{HERE}.Label(1)"),
    ],
)
def test_every_supported_type_has_its_text(value, expected):
    assert text(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", "None", "True", "False", "0", "-1", "+1", "007", "1.0", "1.", ".5"),
        *("1e5", "1E5", "1e+16", "1e-07", "inf", "-inf", "nan"),
    ],
)
def test_a_str_that_reads_as_another_literal_is_quoted(value):
    assert text(value) == f"'{value.replace('+', '%2B')}'"


@pytest.mark.parametrize(
    "value", ["none", "true", "1.2.3", "10.0.0.1", "2024-05-06", "1a", "e5", "NaN", "-", "."]
)
def test_other_strs_stand_as_they_are(value):
    assert text(value) == value


class Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Opaque(), f"it is a value of class {HERE}.Opaque"),
        ([{"a": Opaque()}], f"it holds a value of class {HERE}.Opaque"),
        (Point(Opaque()), f"it holds a value of class {HERE}.Opaque"),
        (Money(1), f"it is a value of class {HERE}.Money"),
        (OrderedDict(a=1), "it is a value of class collections.OrderedDict"),
        (Opaque, "it is a value of class builtins.type"),
        (len, "builtin_function_or_method"),
        ([10**5000], "too many digits"),
    ],
)
def test_a_value_without_canonical_text_is_refused_by_its_class(value, reason):
    with pytest.raises(UncacheableArgument, match=reason):
        text(value)


def test_the_refusal_names_the_argument_and_the_remedy_but_no_value():
    read = reader(None, label="argument 'user' of app.load", remedy='write "{user.id}"')

    @dataclass
    class User:
        password: str
        connection: object

    with pytest.raises(UncacheableArgument) as refused:
        read(User("hunter2", Opaque()))
    assert str(refused.value).startswith("argument 'user' of app.load has no canonical text")
    assert str(refused.value).endswith('write "{user.id}"')
    assert "hunter2" not in str(refused.value)


def test_a_container_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(UncacheableArgument, match="contains itself"):
        text(loop)


def test_classes_of_one_name_do_not_meet():
    assert text(Color.RED) != text(Outer.Color.RED)
    assert text(Pair(1, 2)) != text(Couple(1, 2)) != text((1, 2))
    assert text(Point(1)) != text(Place(1))
    class_in_module = type("C", (), {"__module__": "a", "__qualname__": "b.C"})
    class_in_package = type("C", (), {"__module__": "a.b", "__qualname__": "C"})
    assert class_name(class_in_module) != class_name(class_in_package)
    assert text(Enum("UUID", {"x": 1}, module="m").x) == "m.UUID(x)"


def test_fields_that_a_dataclass_does_not_compare_still_tell_its_texts_apart():
    assert text(Point(1, 2)) != text(Point(1, 3))


# --- annotated -------------------------------------------------------------------------------------

UserId = NewType("UserId", int)
AdminId = NewType("AdminId", UserId)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, int),
        (str, str),
        (UUID, UUID),
        (Color, Color),
        (AdminId, int),
        (int | None, None),
        (list[int], None),
        (list, None),
        (object, None),
        (Point, None),
        (Label, None),
        (None, None),
        ("int", None),
        (Path, None),
    ],
)
def test_only_one_scalar_type_fixes_the_type(annotation, kind):
    assert scalar(annotation) is kind


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 1, "1"),
        (int, True, "1"),
        (int, Number.ONE, "1"),
        (int, "1", "str(1)"),
        (int, 1.0, "float(1.0)"),
        (int, None, "NoneType(None)"),
        (float, 1, "1.0"),
        (float, True, "1.0"),
        (float, 1.0, "1.0"),
        (float, 2**53 + 1, f"int({2**53 + 1})"),
        (float, 10**400, f"int({10**400})"),
        (float, "1.0", "str(1.0)"),
        (str, "1", "1"),
        (str, "", ""),
        (str, "None", "None"),
        (str, "a b", "a%20b"),
        (str, Word.ONE, "1"),
        (str, Label("x"), "x"),
        (str, 1, "int(1)"),
        (str, None, "NoneType(None)"),
        (str, ["x"], "list(x)"),
        (bool, True, "True"),
        (bool, 1, "int(1)"),
        (bytes, b"a/", "a%2F"),
        (bytes, "a", "str(a)"),
        (UUID, UUID_4, str(UUID_4)),
        (UUID, DriverUUID(str(UUID_4)), str(UUID_4)),
        (UUID, str(UUID_4), f"str({UUID_4})"),
        (Decimal, Decimal("1.5"), "1.5"),
        (Decimal, Money("1.5"), "1.5"),
        (Decimal, 1, "int(1)"),
        (date, date(2024, 5, 6), "2024-05-06"),
        (date, NAIVE, "datetime(2024-05-06T00%3A00%3A00)"),
        (datetime, NAIVE, "2024-05-06T00%3A00%3A00"),
        (datetime, date(2024, 5, 6), "date(2024-05-06)"),
        (time, time(1, 2, 3, 4), "01%3A02%3A03.000004"),
        (timedelta, timedelta(days=1), "86400000000us"),
        (Color, Color.RED, "RED"),
        (Color, Outer.Color.RED, f"{HERE}.Outer%2EColor(RED)"),
        (Enum, Color.RED, f"{HERE}.Color(RED)"),
        (Color, "RED", "str(RED)"),
        (Access, Access.READ, "READ"),
        (Access, Access(3), f"{HERE}.Access(int(3))"),
        (Access, 3, "int(3)"),
    ],
)
def test_an_annotation_makes_the_text_bare_and_tags_what_violates_it(kind, value, expected):
    assert writer(kind)(value) == expected


# --- laws ------------------------------------------------------------------------------------------

hostile = st.text(alphabet="ab1e.+-'\"%(),=:{}_@/ é\x00\ud800\udc00", max_size=5)
lookalikes = st.sampled_from(
    [
        *("", "None", "True", "1", "1.0", "inf", "nan", "1e16", "1e+16", "1e%2B16", "'1'", "''", "a', 'b"),
        *("int(1)", "str(1)", "tuple(1)", "%27", "1,1", "a=1", "2024-05-06", str(UUID_4), "RED"),
        f"{HERE}.Color(RED)",
    ]
)
numbers = st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 10**16, 0.0, -0.0, 1.0, 1e16, math.inf, math.nan])
others = st.sampled_from(
    [
        *(None, True, False, b"", b"1", b"%27", Decimal(1), Decimal("1.0"), UUID_4, Label("1"), Pair(1, 1)),
        *(Color.RED, Outer.Color.RED, Number.ONE, Word.ONE, Access(3)),
        *(date(2024, 5, 6), NAIVE, NAIVE.replace(tzinfo=UTC), NAIVE.replace(tzinfo=PARIS)),
        *(time(1), time(1, tzinfo=UTC), timedelta(1)),
        *(PurePosixPath("1"), PureWindowsPath("1"), ipaddress.ip_address("0.0.0.1")),
    ]
)
atoms = hostile | lookalikes | numbers | others
hashable = st.recursive(
    atoms,
    lambda inner: (
        st.tuples(inner)
        | st.tuples(inner, inner)
        | st.frozensets(inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=4,
)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=5,
)


def same(a, b):
    """Whether two values are of one type and equal, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (float, Decimal)):
        return repr(a) == repr(b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    if isinstance(a, dict):
        return len(a) == len(b) and all(any(same(x, y) and same(a[x], b[y]) for y in b) for x in a)
    if isinstance(a, Point):
        return same(a.x, b.x) and same(a.y, b.y)
    return a == b


@given(values, values)
def test_equal_texts_mean_the_same_value(a, b):
    assert (text(a) == text(b)) == same(a, b)


@given(values)
def test_no_str_has_the_text_of_another_value(value):
    written = text(value)
    assume(type(value) is not str)
    assert text(written) != written
    assert text(f"'{written}'") != written


@given(
    values,
    st.sampled_from([int, float, str, bool, bytes, UUID, Decimal, datetime, date, time, timedelta, Color]),
)
def test_a_text_has_neither_braces_nor_separators(value, kind):
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-%'(),=")
    assert set(text(value)) <= allowed
    assert set(writer(kind)(value)) <= allowed


@given(
    st.sampled_from(
        [int, float, str, bool, bytes, UUID, Decimal, datetime, date, time, timedelta, Color, Access]
    ),
    values,
    values,
)
def test_under_an_annotation_equal_texts_mean_equal_values_of_it_or_the_same_value(kind, a, b):
    write = writer(kind)
    if write(a) == write(b):
        assert same(a, b) or (isinstance(a, (kind, int)) and isinstance(b, (kind, int)) and a == b)


@given(st.lists(hashable, max_size=5), st.randoms())
def test_the_order_of_a_set_or_dict_does_not_matter(items, random):
    shuffled = random.sample(items, len(items))
    unequal = [each for i, each in enumerate(items) if each not in items[:i]]  # 1 and True are one member
    assume(len(unequal) == len(items))
    assert text(set(items)) == text(set(shuffled))
    assert text(dict.fromkeys(items)) == text(dict.fromkeys(shuffled))
