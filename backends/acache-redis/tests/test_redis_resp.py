"""The protocol: whatever the pieces in which replies arrive, they come out whole and in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acache_redis._resp import Refused, Replies, pack

line = st.binary(max_size=8).filter(lambda text: b"\r" not in text and b"\n" not in text)
scalar = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=40),
    st.tuples(st.just("status"), line),
    st.tuples(st.just("refused"), line),
)
reply = st.recursive(scalar, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def written(reply):
    """Return what a server writes for *reply*."""
    match reply:
        case None:
            return b"$-1\r\n"
        case bool() | int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case ("status", text):
            return b"+%b\r\n" % text
        case ("refused", text):
            return b"-%b\r\n" % text
        case _:
            return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))


def meant(reply):
    """Return what *reply* is read as, refusals as their text."""
    match reply:
        case ("status", text):
            return text
        case ("refused", text):
            return ("refused", text.decode("utf-8", "replace"))
        case list():
            return [*map(meant, reply)]
        case _:
            return reply


def plain(reply):
    """Return *reply* in a form that can be compared."""
    if isinstance(reply, Refused):
        return ("refused", str(reply))
    return [*map(plain, reply)] if isinstance(reply, list) else reply


@given(st.lists(reply, max_size=6), st.data())
def test_replies_come_out_whole_in_whatever_pieces_they_come_in(replies, data):
    stream, reader, found = b"".join(map(written, replies)), Replies(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert [*map(plain, found)] == [*map(meant, replies)]


@given(st.lists(reply, min_size=1, max_size=3))
def test_replies_come_out_byte_by_byte_and_no_sooner_than_whole(replies):
    reader = Replies()
    for one in replies:
        *before, last = written(one)
        assert [found for byte in before for found in reader.feed(bytes([byte]))] == []
        assert [*map(plain, reader.feed(bytes([last])))] == [meant(one)]


@pytest.mark.parametrize(("written", "read"), [(b"*-1\r\n", None), (b"*0\r\n", []), (b"$0\r\n\r\n", b"")])
def test_nothing_comes_in_several_forms(written, read):
    assert Replies().feed(written) == [read]


def test_a_large_value_is_looked_at_only_when_it_may_be_whole(monkeypatch):
    looks, look = [], Replies._read

    def counted(reader, buffer, whole):
        looks.append(len(buffer))
        return look(reader, buffer, whole)

    monkeypatch.setattr(Replies, "_read", counted)
    reader, value = Replies(), bytes(1_000_000)
    stream = written([b"1", value])
    pieces = [stream[at : at + 1000] for at in range(0, len(stream), 1000)]
    assert [found for piece in pieces for found in reader.feed(piece)] == [[b"1", value]]
    assert len(looks) < 5


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_nonsense_is_a_value_error_or_a_wait_for_more(one, other):
    reader = Replies()
    try:
        reader.feed(one)
        reader.feed(other)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "nonsense", [b"HTTP/1.1 400\r\n", b"\r\n", b"$x\r\n", b"*1.5\r\n", b":\r\n", b"+" + bytes(70_000)]
)
def test_what_is_not_the_protocol_is_refused(nonsense):
    with pytest.raises(ValueError, match=r".*"):
        Replies().feed(nonsense)


def test_commands_are_written_with_lengths_so_that_no_argument_can_end_early():
    assert pack([(b"SET", b"k\r\n", 12), (b"PING",)]) == (
        b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n12\r\n*1\r\n$4\r\nPING\r\n"
    )
    assert pack([]) == b""


@given(st.lists(st.lists(st.binary(max_size=9) | st.integers(), min_size=1, max_size=4), max_size=4))
def test_commands_are_read_as_they_were_meant(commands):
    expected = [[one if isinstance(one, bytes) else b"%d" % one for one in command] for command in commands]
    assert Replies().feed(pack(commands)) == expected


@pytest.mark.parametrize(
    ("text", "code"), [("OOM command not allowed", "OOM"), ("NOSCRIPT", "NOSCRIPT"), ("", "")]
)
def test_an_error_is_told_by_its_first_word(text, code):
    assert Refused(text).code == code
