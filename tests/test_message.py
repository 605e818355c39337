"""Messages of the feed: pinned, bounded, and refused with one error when anything is wrong."""

import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache._message import DONE, DROP, MAX_MESSAGE_BYTES, STORE, Kind, Message, MessageError, pack, unpack
from acache.errors import CodecError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "message_v1.json").read_text(encoding="utf-8"))
ORIGIN = bytes(range(16))

messages = st.builds(
    Message,
    origin=st.binary(min_size=16, max_size=16),
    kind=st.sampled_from(Kind),
    keys=st.lists(st.text(max_size=20), max_size=4).map(tuple),
    tags=st.lists(st.text(max_size=20), max_size=4).map(tuple),
    holder=st.none() | st.binary(max_size=16),
    data=st.none() | st.binary(max_size=100),
)


@given(message=messages)
def test_what_is_packed_is_what_is_heard(message):
    assert unpack(pack(message)) == message


def test_one_message_names_many_keys_and_tags():
    keys = tuple(f"shop:{{user:{number}}}" for number in range(10_000))
    message = Message(origin=ORIGIN, kind=DROP, keys=keys, tags=keys)
    assert unpack(pack(message)) == message


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_the_bytes_of_version_1_stay(case):
    parts = {name: value and bytes.fromhex(value) for name, value in case["bytes"].items()}
    names = {name: tuple(value) for name, value in case["names"].items()}
    message = Message(kind=Kind(case["kind"]), **parts, **names)
    assert unpack(bytes.fromhex(case["packed"])) == message
    assert pack(message).hex() == case["packed"]


def heard(*fields):
    return b"\xac\xfe\x01" + msgspec.msgpack.encode(fields)


def test_a_message_may_leave_out_what_it_does_not_need():
    assert unpack(heard(ORIGIN, "drop")) == Message(origin=ORIGIN, kind=DROP)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xac",
        b"\xac\xfe",
        b"\xac\xfe\x01",
        b"hello",
        b"\xac\xca\x01",
        heard(),
        heard(ORIGIN),
        heard(ORIGIN[:15], "drop"),
        heard(ORIGIN + b"x", "drop"),
        heard(ORIGIN, "burn"),
        heard(ORIGIN, 1),
        heard(ORIGIN, "drop", "key"),
        heard(ORIGIN, "drop", [1]),
        heard(ORIGIN, "drop", [], [], "holder"),
        heard(ORIGIN, "drop", [], [], None, None, None),
        heard(ORIGIN, "drop") + b"\0",
        heard(ORIGIN, "drop", [b"?"]),
        b"\xac\xfe\x01" + b"\x91" * 100_000,
        b"\xac\xfe\x01\xdd\xff\xff\xff\xff",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_bytes_that_are_no_message_are_refused(data):
    with pytest.raises(MessageError) as caught:
        unpack(data)
    assert isinstance(caught.value, CodecError)


def test_a_message_of_another_format_is_refused():
    with pytest.raises(MessageError, match="format that this release"):
        unpack(b"\xac\xfe\x02" + heard(ORIGIN, "drop")[3:])


def test_a_message_that_is_too_long_is_refused():
    with pytest.raises(MessageError, match="too long"):
        unpack(heard(ORIGIN, "store", [], [], None, bytes(MAX_MESSAGE_BYTES)))


@given(data=st.binary(max_size=200), dressed=st.booleans())
def test_arbitrary_bytes_raise_nothing_else(data, dressed):
    with pytest.raises(MessageError):
        unpack((b"\xac\xfe\x01" if dressed else b"") + data)


def test_changed_messages_are_heard_or_refused():
    rng = random.Random(0)
    data = pack(Message(origin=ORIGIN, kind=STORE, keys=("k",), tags=("t",), holder=ORIGIN, data=b"value"))
    refused = 0
    for _ in range(20_000):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(changed))
            changed[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        try:
            assert isinstance(unpack(bytes(changed)), Message)
        except MessageError:
            refused += 1
    assert 10_000 < refused < 20_000


def test_a_message_too_long_to_be_heard_is_not_said():
    with pytest.raises(MessageError, match="fewer keys"):
        pack(Message(origin=ORIGIN, kind=STORE, data=bytes(MAX_MESSAGE_BYTES)))


def test_an_origin_of_another_size_is_not_said():
    with pytest.raises(MessageError, match="16 bytes"):
        pack(Message(origin=b"short", kind=DONE))


def test_no_value_is_shown():
    assert "secret" not in repr(Message(origin=ORIGIN, kind=STORE, keys=("k",), data=b"secret"))
