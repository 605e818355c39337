"""A message about names on several nodes is heard once, with the last of its copies."""

import pytest

from acache_redis._acl import missing_right
from acache_redis._copies import Copies, alone, copy_of
from acache_redis._resp import Refused
from acache_redis._topology import Node, Redirect, Topology, redirect

ONE, OTHER = b"1" * 16, b"2" * 16


def test_a_message_of_one_node_is_heard_at_once():
    copies = Copies()
    assert copies.take(copy_of(b"m", 1, ONE), 0.0) == [b"m"]
    assert copies.take(copy_of(b"m", 1, ONE), 0.0) == [b"m"]


def test_one_of_several_nodes_is_heard_with_the_last_copy_and_only_then():
    copies = Copies()
    first, second = copy_of(b"m", 3, ONE), copy_of(b"n", 2, OTHER)
    assert [copies.take(copy, 0.0) for copy in (first, second, first, second, first)] == [
        [],
        [],
        [],
        [b"n"],
        [b"m"],
    ]


def test_what_has_waited_for_long_is_heard_although_a_copy_is_missing():
    copies = Copies()
    copies.take(copy_of(b"m", 2, ONE), 0.0)
    assert copies.overdue(0.5) == []
    assert copies.overdue(1.5) == [b"m"]
    assert copies.overdue(9.0) == []


def test_too_many_that_wait_are_heard_oldest_first():
    copies = Copies()
    heard = [
        one
        for number in range(1010)
        for one in copies.take(copy_of(b"%d" % number, 2, b"%016d" % number), 0.0)
    ]
    assert heard == [b"%d" % number for number in range(10)]


def test_a_gap_forgets_what_waits():
    copies = Copies()
    copies.take(copy_of(b"m", 2, ONE), 0.0)
    copies.clear()
    assert copies.overdue(9.0) == []


def test_what_is_no_copy_is_refused():
    with pytest.raises(ValueError, match="subscription"):
        Copies().take(b"m", 0.0)


def test_a_copy_can_be_made_a_message_of_one_node():
    assert Copies().take(alone(copy_of(b"m", 5, ONE)), 0.0) == [b"m"]


def test_slots_are_read_from_what_a_node_says_and_its_own_address_may_be_missing():
    a, b = Node(b"a", "127.0.0.1", 7000), Node(b"b", "asked", 7001)
    reply = [[0, 99, [b"127.0.0.1", 7000, b"a", []]], [100, 16383, [b"", 7001, b"b"], [b"r", 1, b"r"]]]
    topology = Topology.of(reply, "asked")
    assert topology.nodes == {a, b}
    assert topology.owner(b"foo") == b, "slot 12182"
    assert topology.split([b"foo", b"{foo}bar"]) == {b: [0, 1]}
    assert Topology.of(reply[:1], "asked").owner(b"foo") is None
    assert topology == Topology.of(reply, "asked") != Topology.of(reply[1:], "asked")


@pytest.mark.parametrize("reply", [b"OK", [[1]], [[0, 1, None]], 7, [[0, 1, [b"\xff", 1, b"a"]]]])
def test_what_are_no_slots_is_a_value_error(reply):
    with pytest.raises(ValueError, match=r"slots|unpack"):
        Topology.of(reply, "asked")


@pytest.mark.parametrize(
    ("said", "to"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirect(3999, "127.0.0.1", 6381)),
        ("ASK 3999 ::1:6381", Redirect(3999, "::1", 6381)),
        ("MOVED 3999 :6381", Redirect(3999, "asked", 6381)),
    ],
)
def test_redirections_say_where_to(said, to):
    assert redirect(Refused(said), "asked") == to


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        ("NOPERM User bob has no permissions to run the 'cluster|info' command", "+cluster|info"),
        ("NOPERM this user has no permissions to run the 'get' command or its subcommand", "+get"),
        (
            "ERR ACL failure in script: No permissions to access a key script: on @user_script:1.",
            "the keys ~acache:*",
        ),
        (
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "the keys ~acache:*",
        ),
        ("NOPERM No permissions to access a channel", "the channels &acache:*"),
    ],
)
def test_a_missing_right_is_named_in_the_words_of_every_server(said, lacks):
    assert missing_right(said) == f"NOPERM the ACL of its user lacks {lacks}"
    assert missing_right("ERR something else") is None
