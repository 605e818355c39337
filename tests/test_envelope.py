"""The bytes of an entry: pinned, bound to their place, and refused with one error when anything is wrong."""

import json
import random
import struct
import zlib
from math import inf, nan
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache._envelope import EnvelopeError, Sealer, Stored
from acache.errors import CodecError, ConfigurationError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "envelope_v1.json").read_text(encoding="utf-8"))
KEY, OTHER_KEY, THIRD_KEY = b"k" * 32, b"o" * 16, b"t" * 100

ENTRY = Stored(
    payload=b"\x01payload",
    codec="msgpack",
    born=1_700_000_000.25,
    fresh_until=1_700_000_300.25,
    expires=1_700_000_900.25,
    delta=0.125,
    version="2",
    space=b"s" * 16,
    stamp=b"i" * 16,
    tags={"user:42": b"a" * 16, "users": b"b" * 16, "straße": b"c" * 16},
)
SEALERS = {"checksum": Sealer("shop"), "signed": Sealer("shop", signing_keys=[KEY])}


def reason(sealer, data, key="user:42"):
    with pytest.raises(EnvelopeError) as caught:
        sealer.open(key, data)
    return caught.value.reason


@pytest.fixture(params=SEALERS.values(), ids=SEALERS.keys())
def sealer(request):
    return request.param


# --- what comes back --------------------------------------------------------------------------------

moments = st.floats(min_value=-1e12, max_value=1e12) | st.just(inf)
entries = st.builds(
    Stored,
    payload=st.binary(max_size=200),
    codec=st.text(max_size=12),
    born=moments,
    fresh_until=moments,
    expires=moments,
    delta=st.floats(min_value=0, max_value=1e6),
    version=st.none() | st.text(max_size=20),
    space=st.binary(max_size=16),
    stamp=st.none() | st.binary(max_size=16),
    missing=st.booleans(),
    tags=st.dictionaries(st.text(max_size=20), st.binary(max_size=16), max_size=5),
)


@given(entry=entries, key=st.text(min_size=1), signed=st.booleans())
def test_what_is_sealed_is_what_opens(entry, key, signed):
    sealer = SEALERS["signed" if signed else "checksum"]
    assert sealer.open(key, sealer.seal(key, entry)) == entry


def test_an_entry_needs_no_more_than_payload_codec_and_birth(sealer):
    opened = sealer.open("k", sealer.seal("k", Stored(payload=b"", codec="json", born=1.0)))
    assert (opened.fresh_until, opened.expires, opened.tags, opened.missing) == (inf, inf, {}, False)


def test_a_key_with_half_a_surrogate_is_only_a_key(sealer):
    data = sealer.seal("\ud800", ENTRY)
    assert sealer.open("\ud800", data) == ENTRY
    assert reason(sealer, data, key="\udc00") in {"corrupt", "signature"}


# --- version 1 for ever -----------------------------------------------------------------------------


def golden_parts(case):
    keys = [bytes.fromhex(key) for key in case["signing_keys"]]
    fields = {name: bytes.fromhex(value) for name, value in case["bytes"].items()}
    tags = {tag: bytes.fromhex(version) for tag, version in case["tags"].items()}
    entry = Stored(**case["fields"], **fields, tags=tags)
    return Sealer(case["namespace"], signing_keys=keys), case["key"], entry, bytes.fromhex(case["sealed"])


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_the_bytes_of_version_1_stay_readable(case):
    sealer, key, entry, sealed = golden_parts(case)
    assert sealer.open(key, sealed) == entry


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_version_1_is_what_is_written(case):
    sealer, key, entry, sealed = golden_parts(case)
    assert sealer.seal(key, entry).hex() == sealed.hex()


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "foreign"),
        (b"hello, I am somebody else's", "foreign"),
        (b"\x80\x05N.", "foreign"),
        (b"\xac\xca", "truncated"),
        (b"\xac\xca\x01\x00\xff\xff\xff\xff", "truncated"),
        (b"\xac\xca\x02\x00\x00\x00\x00\x00", "version"),
        (b"\xac\xca\x00\x00\x00\x00\x00\x00", "version"),
        (b"\xac\xca\x01\x07\x00\x00\x00\x00", "corrupt"),
        (b"\xac\xca\x01\x00\x00\x00\x00\x00", "truncated"),
        (b"\xac\xca\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", "corrupt"),
    ],
)
def test_bytes_that_are_no_entry_are_refused_with_the_reason(data, expected):
    assert reason(SEALERS["checksum"], data) == expected


def test_an_entry_that_was_cut_is_truncated_wherever_it_was_cut(sealer):
    data = sealer.seal("user:42", ENTRY)
    assert {reason(sealer, data[:size]) for size in range(2, len(data))} == {"truncated"}


def test_an_entry_with_something_behind_it_is_corrupt(sealer):
    assert reason(sealer, sealer.seal("user:42", ENTRY) + b"\0") == "corrupt"


def test_every_changed_bit_is_found(sealer):
    data = sealer.seal("user:42", ENTRY)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert reason(sealer, bytes(changed))


@pytest.mark.parametrize(
    ("namespace", "key"), [("shop", "user:43"), ("shop2", "user:42"), ("sho", "puser:42"), ("shop", "user:4")]
)
@pytest.mark.parametrize(("keys", "expected"), [((), "corrupt"), ((KEY,), "signature")])
def test_an_entry_moved_to_another_key_or_namespace_is_refused(namespace, key, keys, expected):
    data = Sealer("shop", signing_keys=keys).seal("user:42", ENTRY)
    assert reason(Sealer(namespace, signing_keys=keys), data, key=key) == expected


def test_unsigned_bytes_are_refused_once_there_are_keys():
    assert reason(SEALERS["signed"], SEALERS["checksum"].seal("user:42", ENTRY)) == "unsigned"


def test_signed_bytes_are_refused_where_there_are_no_keys():
    assert reason(SEALERS["checksum"], SEALERS["signed"].seal("user:42", ENTRY)) == "signature"


def test_too_many_bytes_are_refused_before_they_are_looked_at():
    data = SEALERS["checksum"].seal("user:42", ENTRY)
    assert Sealer("shop", max_bytes=len(data)).open("user:42", data) == ENTRY
    assert reason(Sealer("shop", max_bytes=len(data) - 1), data) == "oversized"
    assert reason(Sealer("shop", max_bytes=10), b"x" * 11) == "oversized"


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_what_could_not_be_opened_is_not_sealed(keys):
    size = len(Sealer("shop", signing_keys=keys).seal("user:42", ENTRY))
    assert Sealer("shop", signing_keys=keys, max_bytes=size).seal("user:42", ENTRY)
    with pytest.raises(EnvelopeError) as caught:
        Sealer("shop", signing_keys=keys, max_bytes=size - 1).seal("user:42", ENTRY)
    assert caught.value.reason == "oversized"
    assert isinstance(caught.value, CodecError)


def forged(body, *, key="user:42", namespace="shop"):
    """Return what somebody who can write to the store can make where there are no signing keys."""
    header = struct.pack("<2sBBI", b"\xac\xca", 1, 0, len(body))
    space = struct.pack("<I", len(namespace)) + namespace.encode()
    return header + struct.pack("<I", zlib.crc32(space + header + key.encode() + body)) + body


FIELDS = [b"", "json", 1.0, 2.0, 3.0, 0.0, None, b"", None, False, {}]


def changed(index, value):
    return msgspec.msgpack.encode([*FIELDS[:index], value, *FIELDS[index + 1 :]])


def test_a_forged_checksum_opens():
    assert SEALERS["checksum"].open("user:42", forged(msgspec.msgpack.encode(FIELDS))).codec == "json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        msgspec.msgpack.encode(FIELDS[:2]),
        msgspec.msgpack.encode([*FIELDS, 1]),
        msgspec.msgpack.encode(dict(enumerate(FIELDS))),
        changed(0, "text"),
        changed(1, b"\xff"),
        changed(2, nan),
        changed(3, nan),
        changed(4, nan),
        changed(5, nan),
        changed(5, None),
        changed(10, {1: b""}),
        changed(10, {"tag": None}),
        changed(10, msgspec.msgpack.Ext(5, b"")),
        changed(1, "ab").replace(b"\xa2ab", b"\xa2\xff\xfe"),
        changed(10, {}) + b"\xc0",
    ],
    ids=repr,
)
def test_a_forged_checksum_gets_no_further_than_the_body(body):
    assert reason(SEALERS["checksum"], forged(body[:200_000])) == "corrupt"


# --- signing keys -----------------------------------------------------------------------------------


def test_keys_are_changed_without_losing_an_entry():
    old, both, moved, new = (
        Sealer("shop", signing_keys=keys)
        for keys in ([KEY], [KEY, OTHER_KEY], [OTHER_KEY, KEY], [OTHER_KEY, THIRD_KEY])
    )
    by_old, by_new = old.seal("k", ENTRY), new.seal("k", ENTRY)
    assert both.seal("k", ENTRY) == by_old
    assert moved.seal("k", ENTRY) == by_new
    assert both.open("k", by_new) == moved.open("k", by_old) == ENTRY
    assert reason(new, by_old, key="k") == reason(old, by_new, key="k") == "signature"


@pytest.mark.parametrize("keys", [[b"short"], [KEY, b"x" * 15], ["k" * 32], [None], KEY, "k" * 32, [7]])
def test_a_key_that_is_no_key_is_refused_and_not_told(keys):
    with pytest.raises(ConfigurationError, match="signing_keys") as caught:
        Sealer("shop", signing_keys=keys)
    assert "short" not in str(caught.value)
    assert "kkkk" not in str(caught.value)


def test_neither_a_key_nor_a_payload_is_shown():
    shown = repr(SEALERS["signed"]) + repr(ENTRY) + str(EnvelopeError("corrupt"))
    assert "kkk" not in shown
    assert "payload" not in shown
    assert "users" in shown


# --- arbitrary bytes --------------------------------------------------------------------------------


@given(data=st.binary(max_size=400), signed=st.booleans(), dressed=st.booleans())
def test_arbitrary_bytes_raise_nothing_else(data, signed, dressed):
    sealer = SEALERS["signed" if signed else "checksum"]
    assert reason(sealer, (b"\xac\xca\x01" if dressed else b"") + data)


@given(body=st.binary(max_size=400))
def test_arbitrary_bodies_under_a_forged_checksum_raise_nothing_else(body):
    assert reason(SEALERS["checksum"], forged(body)) == "corrupt"


def mutated(data, rng):
    """Return *data* with some bytes changed, cut, doubled or swapped."""
    parts = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(parts) + 1), rng.randint(1, 8)
        match rng.randrange(4):
            case 0:
                parts[at : at + size] = rng.randbytes(size)
            case 1:
                del parts[at : at + size]
            case 2:
                parts[at:at] = parts[at : at + size] or b"\0"
            case 3:
                parts[at : at + size] = bytes(reversed(parts[at : at + size]))
    return bytes(parts)


def open_mutations(count, *, seed=0):
    """Open *count* mutations, damaged and forged ones; return how often each reason was given.

    Fails if a mutation raises anything but EnvelopeError, or opens while it is not the original.
    """
    rng = random.Random(seed)
    body = msgspec.msgpack.encode(
        [b"payload", "json", 1.0, 2.0, 3.0, 0.5, "1", b"s", b"t", False, {"a": b"b"}]
    )
    opened = {name: sealer.seal("user:42", ENTRY) for name, sealer in SEALERS.items()}
    found = {"opened forgery": 0}
    for turn in range(count):
        name = ("checksum", "signed", "forged")[turn % 3]
        original = opened.get(name)
        data = mutated(original, rng) if original else forged(mutated(body, rng))
        try:
            SEALERS.get(name, SEALERS["checksum"]).open("user:42", data)
        except EnvelopeError as error:
            found[error.reason] = found.get(error.reason, 0) + 1
        else:
            assert data == original or name == "forged", data.hex()
            found["opened forgery"] += name == "forged"
    return found


def test_20_000_mutations_are_refused_with_one_error():
    found = open_mutations(20_000)
    assert found.keys() >= {"foreign", "truncated", "corrupt", "unsigned", "signature", "version"}
    assert found["opened forgery"] > 0  # so mutations reach the parser behind the checksum
