"""Codecs: what comes back equal in value and type, what is refused with the remedy, what bytes may not do."""

import enum
import ipaddress
import os
import pickle
import re
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from acache.codecs import (
    BUILTIN,
    JSONCodec,
    MsgpackCodec,
    PickleCodec,
    PydanticCodec,
    ZstdCodec,
    check_signing,
    check_type,
    copier,
    decoder,
    same,
)
from acache.errors import CodecError, ConfigurationError
from acache.protocols import Codec


def shown(value: object) -> str:
    """Return *value* for a test's name; without addresses, or workers would disagree about the names."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Address:
    city: str
    zip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: int
    name: str
    born: date
    addresses: list[Address] = field(default_factory=list)
    boss: "User | None" = None


class Row(TypedDict):
    id: int
    price: Decimal
    note: NotRequired[str]


class Packet(msgspec.Struct):
    data: bytes
    at: datetime


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


@attrs.define
class Car:
    wheels: int
    colors: frozenset[Color]


@dataclass
class Page(Generic[T]):
    items: tuple[T, ...]
    total: int


class Model(pydantic.BaseModel):
    id: int
    name: str = pydantic.Field(alias="fullName")
    tags: frozenset[str] = frozenset()
    parent: "Model | None" = None


MODEL = Model(id=1, fullName="Ada", tags={"a"}, parent=Model(id=2, fullName="Bob"))
ADA = User(id=1, name="Ada", born=date(1815, 12, 10), addresses=[Address("London", "W1")])
NAIVE = datetime(2024, 2, 29, 12, 30, 1, 5)
EAST = timezone(timedelta(hours=5, minutes=45))

GOOD = [
    (None, None),
    (bool, True),
    (int, -(2**63)),
    (int, 2**64 - 1),
    (float, 0.1),
    (float, -0.0),
    (str, "straße\0\N{SNOWMAN}"),
    (bytes, bytes(range(256))),
    (bytearray, bytearray(b"ab")),
    (datetime, NAIVE),
    (datetime, datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC)),
    (datetime, datetime(1900, 1, 1, tzinfo=UTC)),
    (datetime, datetime(2024, 2, 29, 12, 30, tzinfo=ZoneInfo("UTC"))),
    (datetime, datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=EAST)),
    (datetime | None, datetime(1, 1, 1, tzinfo=timezone(-timedelta(hours=3)))),
    (
        list[datetime],
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=EAST), NAIVE],
    ),
    (dict[datetime, int], {datetime(2024, 1, 1, tzinfo=EAST): 1}),
    (Packet, Packet(b"\xd6\xff", datetime(2024, 1, 1, tzinfo=EAST))),
    (Page[Packet], Page((Packet(b"\xd6\xff", datetime(2024, 1, 1, tzinfo=UTC)),), 1)),
    (Cat | Dog | datetime, datetime(2024, 1, 1, tzinfo=EAST)),
    (date, date(2024, 2, 29)),
    (time, time(12, 30, 1, 5)),
    (time, time(12, 30, tzinfo=EAST)),
    (timedelta, timedelta(days=-3, microseconds=1)),
    (Decimal, Decimal("1.50")),
    (Decimal, Decimal("1E+400")),
    (uuid.UUID, uuid.UUID(int=5)),
    (Color, Color.BLUE),
    (Level, Level.LOW),
    (Literal["a", "b"], "a"),
    (list[int], [1, 2]),
    (set[str], {"a", "b"}),
    (frozenset[int], frozenset({1, 2})),
    (set[uuid.UUID], {uuid.UUID(int=5)}),
    (tuple[int, str, None], (1, "a", None)),
    (tuple[Color, ...], (Color.RED,)),
    (Point, Point(1, 2.0)),
    (dict[int, Point], {2: Point(1, 2.0), 1: Point(0, 0.0)}),
    (dict[str, list[set[int]]], {"a": [{1}, set()]}),
    (Mapping[str, int], {"a": 1}),
    (Sequence[int], [1]),
    (User, ADA),
    (User | None, User(id=2, name="Bob", born=date(1, 1, 1), boss=ADA)),
    (User | None, None),
    (list[User], [ADA, ADA]),
    (Row, {"id": 1, "price": Decimal("0.10")}),
    (Row | None, {"id": 1, "price": Decimal("0.10"), "note": "x"}),
    (Packet | None, Packet(b"\xff", datetime(2024, 1, 1, tzinfo=UTC))),
    (Car | None, Car(4, frozenset({Color.RED}))),
    (Page[User], Page((ADA,), 1)),
    (Page[int] | None, Page((1, 2), 2)),
    (Cat | Dog, Dog("Rex")),
    (list[Cat | Dog] | None, [Dog("Rex"), Cat("Tom")]),
    (Annotated[int, "documented"], 3),
    (int | str | None, "a"),
    (Any, {"a": [1, 2.5, None, True, "x"]}),
]


def trip(codec, value, into):
    return codec.decode(codec.encode(value), into)


# --- what comes back --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codec", [MsgpackCodec(), JSONCodec(), ZstdCodec(MsgpackCodec(), threshold=1)], ids=repr
)
@pytest.mark.parametrize(("into", "value"), GOOD, ids=lambda part: shown(part)[:60])
def test_what_is_known_to_come_back_does_in_value_and_type(codec, into, value):
    assert check_type(codec, into)
    back = trip(codec, value, into)
    assert same(back, value), back


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(value=plain)
def test_plain_values_need_no_annotation_in_messagepack(value):
    assert same(trip(MsgpackCodec(), value, Any), value)


offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)


moments = st.datetimes(timezones=st.none() | st.just(UTC) | offsets).map(
    lambda moment: moment if moment.tzinfo else moment.replace(fold=0)  # nothing writes it
)


@given(value=st.lists(moments))
@pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec()], ids=repr)
def test_a_datetime_keeps_its_time_of_day_and_its_offset(codec, value):
    assert same(trip(codec, value, list[datetime]), value)


@pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec()], ids=repr)
@pytest.mark.parametrize(
    ("into", "value"),
    [
        (Any, {1, 2}),
        (Any, uuid.UUID(int=1)),
        (Any, (1, 2)),
        (Any, datetime(2024, 1, 1, tzinfo=EAST)),
        (Sequence[int], (1, 2)),
        (float, 1),
        (datetime, datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))),
        (msgspec.Struct, Cat("Tom")),
    ],
    ids=lambda part: shown(part)[:60],
)
def test_what_msgspec_changes_silently_is_seen(codec, into, value):
    try:
        back = trip(codec, value, into)
    except CodecError:
        return
    assert not same(back, value), back


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: float("nan")}])
def test_json_loses_what_json_cannot_say(value):
    assert not same(trip(JSONCodec(), value, Any), value)


def test_json_holds_integers_of_any_size():
    assert trip(JSONCodec(), 2**100, int) == 2**100


# --- what is refused --------------------------------------------------------------------------------


class Plain:
    pass


class Later(msgspec.Struct):
    path: list[Path]


@pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec(), ZstdCodec(JSONCodec())], ids=repr)
@pytest.mark.parametrize(
    ("into", "named", "remedy"),
    [
        (User | Address, "User", "tag=True"),
        (list[tuple[int, Car | Address]], "Address", "tag=True"),
        (Path, "Path", "str"),
        (PurePosixPath | None, "PurePosixPath", "str"),
        (dict[str, list[Path]], "Path in dict", "str"),
        (Later, "Path in Later", "str"),
        (ipaddress.IPv4Address, "IPv4Address", "str"),
        (Model, "Model", 'codec="pydantic".*acache-core.pydantic'),
        (list[Model] | None, "Model", 'codec="pydantic"'),
        (Plain, "Plain", "dataclass"),
        (Page[Plain], "Plain", "dataclass"),
    ],
    ids=lambda part: shown(part)[:40],
)
def test_an_annotation_that_cannot_be_served_is_refused_with_the_remedy(codec, into, named, remedy):
    for ask in (
        lambda: check_type(codec, into),
        lambda: codec.decode(b"\x00", into),
        lambda: decoder(codec, into),
    ):
        with pytest.raises(CodecError, match=remedy) as caught:
            ask()
        assert named in str(caught.value)


@pytest.mark.parametrize(
    ("value", "named", "remedy"),
    [
        (2**64, "int", "Decimal"),
        ({"a": [-(2**63) - 1]}, "dict", "Decimal"),
        (Path("secret"), "Path", "str"),
        ([ipaddress.ip_address("10.0.0.1")], "IPv4Address", "str"),
        (MODEL, "Model", 'codec="pydantic"'),
        (Plain(), "Plain", "dataclass"),
        ({"secret": object()}, "object", "dataclass"),
        ("secret \ud800", "str", "UnicodeEncodeError"),
        ([datetime(2024, 1, 1, tzinfo=UTC), Path("secret")], "Path", "str"),
    ],
    ids=lambda part: shown(part)[:40],
)
def test_a_value_that_cannot_be_encoded_is_refused_with_the_remedy(value, named, remedy):
    with pytest.raises(CodecError, match=remedy) as caught:
        MsgpackCodec().encode(value)
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_annotation_of_names_that_come_later_is_asked_again():
    @dataclass
    class Early:
        other: "Late"  # noqa: F821 - it is defined below, in the module

    codec = MsgpackCodec()
    assert not check_type(codec, Early)
    assert not check_type(codec, "Early")
    with pytest.raises(CodecError, match="Late"):
        codec.decode(b"\x80", Early)
    globals()["Late"] = int
    try:
        assert check_type(codec, Early)
        assert trip(codec, Early(1), Early) == Early(1)
    finally:
        del globals()["Late"]


@pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec()], ids=repr)
def test_a_value_of_another_shape_is_refused_and_named(codec):
    with pytest.raises(CodecError, match=r"no User: .*`\$\.id`"):
        codec.decode(codec.encode({"id": "x", "name": "Ada", "born": "2024-01-01"}), User)


@dataclass
class Guarded:
    password: str

    def __post_init__(self):
        raise ValueError(f"{self.password} is too short")


@pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec(), PydanticCodec()], ids=repr)
@pytest.mark.parametrize(
    ("into", "value"), [(Guarded, {"password": "hunter2"}), (Color, "hunter2"), (int, "hunter2")]
)
def test_an_error_does_not_tell_the_value(codec, into, value):
    with pytest.raises(CodecError) as caught:
        codec.decode(codec.encode(value), into)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- hostile bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("into", [Any, User, list[int], dict[str, Any], str, datetime, Cat | Dog], ids=str)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x0f\xff\xff\xff" * 500,
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffabc",
        b"\xc6\xff\xff\xff\xffabc",
        b"\xa2\xff\xfe",
        b'"\xff\xfe"',
        b"\xd4\x05a",
        b"\xd6\xff",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\xc1",
        b"\xc0\xc0",
        b"1 2",
        b"\x80\x05cos\nsystem\n",
        b"\x01\x28\xb5\x2f\xfd",
    ],
    ids=lambda data: repr(data[:12]),
)
@pytest.mark.parametrize(
    "codec", [MsgpackCodec(), JSONCodec(), ZstdCodec(MsgpackCodec()), PydanticCodec()], ids=repr
)
def test_hostile_bytes_are_refused_with_one_error(codec, data, into):
    with pytest.raises(CodecError):
        codec.decode(data, into)


@given(
    data=st.binary(max_size=60),
    into=st.sampled_from([Any, User, Row, Packet, Page[int], Cat | Dog, set[int]]),
)
@pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec(), ZstdCodec(JSONCodec())], ids=repr)
def test_arbitrary_bytes_give_a_value_or_the_error(codec, data, into):
    for prefix in (b"", b"\x00", b"\x01\x28\xb5\x2f\xfd"):
        try:
            codec.decode(prefix + data, into)
        except CodecError:
            continue


@pytest.mark.parametrize("make", [MsgpackCodec, JSONCodec, PydanticCodec])
def test_more_bytes_than_agreed_are_not_decoded(make):
    codec = make(max_bytes=10)
    assert codec.decode(codec.encode("x" * 8), str) == "x" * 8
    with pytest.raises(CodecError, match="max_bytes=10"):
        codec.decode(codec.encode("x" * 10), str)


def nested(depth):
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec(), PydanticCodec(), PickleCodec()], ids=repr)
def test_a_value_nested_too_deeply_is_refused(codec):
    with pytest.raises(CodecError):
        codec.encode(nested(100_000))


def test_annotations_made_for_ever_are_not_kept_for_ever():
    codec = MsgpackCodec()
    for number in range(3000):
        decoder(codec, Annotated[int, number])
    assert len(codec._decoders) <= 1024


def test_an_annotation_without_a_hash_is_served():
    unhashable = Annotated[list[int], {"a": []}]
    assert check_type(MsgpackCodec(), unhashable)
    assert trip(MsgpackCodec(), [1], unhashable) == [1]


def test_a_decoder_is_compiled_once():
    codec = MsgpackCodec()
    assert decoder(codec, User | None) is decoder(codec, User | None)


# --- compression ------------------------------------------------------------------------------------


def test_only_what_is_large_and_gets_smaller_is_compressed():
    codec = ZstdCodec(MsgpackCodec(), threshold=100)
    small, noise, text = "x" * 50, os.urandom(1000), "x" * 1000
    sizes = [len(codec.encode(value)) for value in (small, noise, text)]
    assert sizes[0] == 1 + len(MsgpackCodec().encode(small))
    assert sizes[1] == 1 + len(MsgpackCodec().encode(noise))
    assert sizes[2] < 50
    for value in (small, noise, text):
        assert codec.decode(codec.encode(value), type(value)) == value
        assert decoder(codec, type(value))(codec.encode(value)) == value


def compressed(size, **options):
    """Return a text of *size* as this codec would write it, but for *options*."""
    return b"\x01" + zstandard.ZstdCompressor(**options).compress(MsgpackCodec().encode("x" * size))


def test_a_bomb_is_refused_by_what_its_header_says():
    codec = ZstdCodec(MsgpackCodec(), max_bytes=1000)
    bomb = compressed(100_000_000)
    assert len(bomb) < 20_000
    with pytest.raises(CodecError, match="max_bytes=1000"):
        codec.decode(bomb, Any)


def test_a_frame_that_lies_about_its_size_is_refused():
    frame = bytearray(compressed(100_000 - 5))
    at = frame.index((100_000).to_bytes(4, "little"))
    frame[at : at + 4] = (500).to_bytes(4, "little")
    with pytest.raises(CodecError):
        ZstdCodec(MsgpackCodec(), max_bytes=1000).decode(bytes(frame), Any)


@pytest.mark.parametrize(
    "data",
    [
        compressed(10, write_content_size=False),
        compressed(10) + b"x",
        compressed(2000)[:-1],
        b"\x02\x01",
        b"\x01",
    ],
)
def test_a_frame_that_this_codec_would_not_write_is_refused(data):
    with pytest.raises(CodecError):
        ZstdCodec(MsgpackCodec()).decode(data, Any)


def test_what_could_not_be_expanded_is_not_compressed():
    with pytest.raises(CodecError, match="max_bytes=1000"):
        ZstdCodec(MsgpackCodec(), max_bytes=1000).encode("x" * 1000)


def test_threads_share_a_codec():
    codec, failed, tools = ZstdCodec(MsgpackCodec(), threshold=1), [], []

    def work(text):
        tools.append(codec._tools.compress)
        failed.extend(text for _ in range(50) if trip(codec, text, str) != text)

    threads = [threading.Thread(target=work, args=(str(number) * 20_000,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len({id(tool.__self__) for tool in tools}) == len(threads)


# --- pickle -----------------------------------------------------------------------------------------


def test_pickle_is_taken_with_signing_keys_only():
    for codec in (PickleCodec(), ZstdCodec(PickleCodec())):
        with pytest.raises(ConfigurationError, match=r"pickle.*signing_keys"):
            check_signing(codec, [])
        check_signing(codec, [b"k" * 32])
    for codec in (MsgpackCodec(), JSONCodec(), PydanticCodec(), ZstdCodec(MsgpackCodec())):
        check_signing(codec, [])


@pytest.mark.parametrize("value", [ADA, MODEL, Path("a"), {1, "a"}, Plain, nested(50)])
def test_pickle_brings_back_what_nothing_else_does(value):
    assert same(trip(PickleCodec(), value, Any), value)


@pytest.mark.parametrize("value", [threading.Lock(), lambda: 1, {"secret": sys._getframe()}])
def test_what_cannot_be_pickled_is_refused(value):
    with pytest.raises(CodecError) as caught:
        PickleCodec().encode(value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps(ADA)[:-5], b"cnowhere\nNothing\n."])
def test_a_damaged_pickle_is_refused(data):
    with pytest.raises(CodecError):
        PickleCodec().decode(data, Any)


# --- pydantic ---------------------------------------------------------------------------------------


class Odd(pydantic.BaseModel):
    at: datetime
    took: timedelta
    price: Decimal
    color: Color
    ids: set[uuid.UUID]
    where: Path
    host: ipaddress.IPv4Address
    limit: float = pydantic.Field(validation_alias="in", serialization_alias="out")


ODD = Odd.model_validate(
    {
        "at": datetime(2024, 1, 1, tzinfo=EAST),
        "took": timedelta(seconds=1.5),
        "price": Decimal("1.50"),
        "color": Color.RED,
        "ids": {uuid.UUID(int=1)},
        "where": "a/b",
        "host": "10.0.0.1",
        "in": 0.5,
    }
)


@pytest.mark.parametrize(
    ("into", "value"),
    [
        (Model, MODEL),
        (Model | None, None),
        (list[Model], [MODEL, MODEL]),
        (dict[str, Model | Odd], {"a": MODEL, "b": ODD}),
        (Odd, ODD),
        (User | None, ADA),
        (User | Address, Address("Paris")),
    ],
    ids=lambda part: shown(part)[:40],
)
def test_pydantic_models_come_back(into, value):
    codec = PydanticCodec()
    assert check_type(codec, into)
    assert same(trip(codec, value, into), value)


def test_pydantic_refuses_with_our_error():
    codec = PydanticCodec()
    with pytest.raises(CodecError, match="Plain"):
        check_type(codec, Plain)
    with pytest.raises(CodecError, match="Plain"):
        codec.encode(Plain())
    with pytest.raises(CodecError, match="no Model: ValidationError"):
        codec.decode(b'{"id": "x"}', Model)
    assert not check_type(codec, "Model")


def test_what_a_model_does_not_write_is_seen():
    class Hidden(pydantic.BaseModel):
        shown: int
        hidden: int = pydantic.Field(default=0, exclude=True)

    value = Hidden(shown=1, hidden=2)
    assert not same(trip(PydanticCodec(), value, Hidden), value)


# --- names, extras, copies --------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_codec_goes_by_its_name_and_keeps_the_protocol(name):
    codec = BUILTIN[name]()
    assert codec.name == name
    assert isinstance(codec, Codec)
    assert trip(codec, {"a": "b" * 5000}, dict[str, str]) == {"a": "b" * 5000}
    assert repr(codec)


@pytest.mark.parametrize(
    ("module", "make"), [("zstandard", lambda: ZstdCodec(MsgpackCodec())), ("pydantic", PydanticCodec)]
)
def test_a_missing_extra_is_named(monkeypatch, module, make):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"pip install \"acache-core\[(zstd|pydantic)\]\""):
        make()


class Bare:
    """A codec of a third party, with nothing but the protocol."""

    name = "bare"

    def encode(self, value):
        return repr(value).encode()

    def decode(self, data, type):
        return type(data)


def test_a_codec_with_three_names_is_enough():
    codec = ZstdCodec(Bare(), threshold=1)
    assert check_type(codec, int)
    check_signing(codec, [])
    assert decoder(codec, int)(codec.encode(12)) == codec.decode(codec.encode(12), int) == 12
    assert copier(Bare(), int)(5) == 5


def test_a_copy_shares_nothing_with_its_original():
    copy = copier(MsgpackCodec(), list[Address])
    original = [Address("London")]
    copied = copy(original)
    assert same(copied, original)
    assert copied[0] is not original[0]
    with pytest.raises(CodecError):
        copy([Plain()])
