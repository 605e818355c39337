"""What a process remembers of its invalidations, until no successor of a primary can lack them."""

import pytest

from acache_redis import _scripts as scripts
from acache_redis._names import entry_of, key_pair
from acache_redis._recent import Recent, again

A, B, C = b"a" * 40, b"b" * 40, b"c" * 40  # replication ids
K, L = "shop:{k}", "shop:{l}"


class Time:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def recent(time):
    return Recent(time)


def drop(key):
    return scripts.DROP.on(key_pair(key))


def release(key):
    return scripts.RELEASE.on(key_pair(key), b"t")


def dropped(recent, key, data, message=None):
    recent.done(recent.note([drop(key)], message), data)


def unknown(recent, data, *, before=b"", mine=lambda _: True, stands=lambda _: False):
    return {sent.command[3] for sent in recent.unknown_to(data, before=before, mine=mine, stands=stands)}


def test_another_primary_is_told_what_one_before_it_has_done(recent):
    dropped(recent, K, A)
    assert unknown(recent, A) == set()
    assert unknown(recent, B) == {entry_of(K)}
    recent.done(recent.unknown_to(B, mine=lambda _: True, stands=lambda _: False), B)
    assert unknown(recent, B) == set()
    assert unknown(recent, C) == {entry_of(K)}, "and each that comes after"


def test_nothing_is_told_to_whom_a_name_was_moved_or_who_does_not_have_it(recent):
    dropped(recent, K, A)
    assert unknown(recent, B, stands=A.__eq__) == set()
    assert unknown(recent, B, mine=lambda _: False) == set()


def test_a_lease_that_is_given_back_makes_nobody_forget_what_was_invalidated(recent):
    dropped(recent, K, A)
    recent.done(recent.note([release(K)], b"done"), B)
    assert unknown(recent, B) == {entry_of(K)}


def test_an_invalidation_without_an_answer_makes_nobody_forget_the_one_before(recent):
    dropped(recent, K, A)
    recent.note([drop(K)], None)
    assert unknown(recent, B) == {entry_of(K)}


def test_what_is_on_its_way_is_told_to_a_primary_that_took_over_meanwhile(recent):
    recent.note([drop(K)], None)
    assert unknown(recent, A) == set(), "nobody else has been asked"
    assert unknown(recent, B, before=A) == {entry_of(K)}


def test_what_was_said_with_an_invalidation_is_said_again_with_it(recent):
    dropped(recent, K, A, b"K was dropped")
    dropped(recent, K, A)  # at the end of a writer's block, whose last command speaks for all
    [sent] = recent.unknown_to(B, mine=lambda _: True, stands=lambda _: False)
    [command] = again([sent], b"channel", bytes)
    assert command[5:7] == (b"channel", b"K was dropped")


def test_the_window_runs_while_the_server_answers_and_stands_still_while_it_is_away(recent, time):
    dropped(recent, K, A)
    time.now += 3600
    assert unknown(recent, B) == {entry_of(K)}, "whoever is named, and be it by hand"
    dropped(recent, L, A)
    assert unknown(recent, B) == {entry_of(L)}


def test_without_a_window_nothing_is_told_again(recent):
    recent.expect(window=0, wait_replicas=0)
    dropped(recent, K, A)
    recent.note([drop(L)], None)
    assert unknown(recent, B, before=A) == set()


def test_no_more_than_so_many_names_are_remembered(recent, monkeypatch):
    monkeypatch.setattr("acache_redis._recent.MOST", 3)
    for number in range(10):
        dropped(recent, f"shop:{{{number}}}", A)
    assert unknown(recent, B) == {entry_of(f"shop:{{{number}}}") for number in (7, 8, 9)}
