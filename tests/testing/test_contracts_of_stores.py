"""A contract is worth what it refuses: each planted fault fails at least one of its tests."""

import asyncio
from unittest import SkipTest

import pytest

from acache._claims import Claims
from acache.testing.contracts import LocalStoreContract, RemoteStoreContract
from acache.testing.contracts._remote_leases import RemoteLeases
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer


def failures(suite, names):
    """Run the tests *names* of a *suite*, each on a new instance; return those that failed."""
    failed = []
    for name in names:
        try:
            getattr(suite(), name)()
        except SkipTest:
            pass
        except Exception:  # whatever a broken store raises
            failed.append(name)
    return failed


def names_of(suite):
    return [name for name in dir(suite) if name.startswith("test_")]


# --- local ------------------------------------------------------------------------------------------


class Naive:
    """The simplest store that keeps the contract."""

    def __init__(self):
        self.kept = {}

    @property
    def lookup(self):
        return self.kept.get

    def put(self, key, entry):
        self.kept[key] = entry

    def drop(self, key):
        self.kept.pop(key, None)

    def drop_tag(self, tag):
        for key in [key for key, entry in self.kept.items() if tag in entry.tags]:
            del self.kept[key]

    def clear(self):
        self.kept.clear()


class KeepsOldTags(Naive):
    def __init__(self):
        super().__init__()
        self.tagged = {}

    def put(self, key, entry):
        super().put(key, entry)
        for tag in entry.tags:
            self.tagged.setdefault(tag, set()).add(key)

    def drop_tag(self, tag):
        for key in self.tagged.pop(tag, ()):
            self.drop(key)


class DropsUnknown(Naive):
    def drop(self, key):
        del self.kept[key]


class ClearsByReplacing(Naive):
    def clear(self):
        self.kept = {}


class KeepsTheFirst(Naive):
    def put(self, key, entry):
        self.kept.setdefault(key, entry)


class NeverEvicts(Naive):
    """Declared with a capacity that it does not keep."""


class TakesTagsForKeys(Naive):
    def drop_tag(self, tag):
        super().drop_tag(tag)
        self.drop(tag)


@pytest.mark.parametrize(
    ("store", "capacity", "kept"),
    [
        (Naive, None, True),
        (KeepsOldTags, None, False),
        (DropsUnknown, None, False),
        (ClearsByReplacing, None, False),
        (KeepsTheFirst, None, False),
        (NeverEvicts, 20, False),
        (TakesTagsForKeys, None, False),
    ],
)
def test_the_contract_of_local_stores_refuses_faults(store, capacity, kept):
    suite = type("Suite", (LocalStoreContract,), {"make": lambda _: store(), "capacity": capacity})
    assert (failures(suite, names_of(suite)) == []) is kept


# --- remote -----------------------------------------------------------------------------------------


class Suite(RemoteStoreContract):
    def __init__(self):
        self.clock = self
        self.now = 0.0
        self.server = MemoryServer(clock=self)

    def monotonic(self):
        return self.now

    def connect(self):
        return MemoryRemote(self.server, ping_every=0.01, reconnect_after=0.0)

    async def wait(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)

    async def sever(self):
        self.server.hang_up()


LEASES = [name for name in vars(RemoteLeases) if name.startswith("test_")]
FEED = [name for name in vars(RemoteStoreContract) if name.startswith("test_")]


def commit_unchecked(server, item, token):
    server._state.on_keys.release(item.key, token, now=server.now())
    server.set(item)
    return True, True


def commit_tainted(server, item, token):
    claims = server._state.on_keys.of(item.key, now=server.now())
    new = claims is not None and [*claims.tokens] == [token]
    server._state.on_keys.release(item.key, token, now=server.now())
    if new:
        server.set(item)
    return new, new


def commit_beside_others(server, item, token):
    claims = server._state.on_keys.of(item.key, now=server.now())
    new = claims is not None and token in claims.tokens and not claims.tainted
    server._state.on_keys.release(item.key, token, now=server.now())
    if new:
        server.set(item)
    return new, new


def commit_keeps_the_claim(server, item, token):
    new = server._state.on_keys.sole(item.key, token, now=server.now())
    if new:
        server.set(item)
    return server.get(item.key) == item.data, new


def put_under_a_fence(server, item):
    server._state.on_keys.taint(item.key, now=server.now())
    server.set(item)


def put_keeps_the_lease(server, item):
    server.set(item)


def drop_keeps_the_claims(server, key, keep=None):
    if server.get(key) != keep or keep is None:
        server.delete(key)


def drop_ignores_keep(server, key, keep=None):
    server._state.on_keys.taint(key, now=server.now())
    server.delete(key)


def fence_ends_other_fences(server, key, token, ttl):
    server._state.on_keys.taint(key, now=server.now())
    server._state.on_keys = Claims()
    server._state.on_keys.fence(key, token, until=server.now() + ttl, now=server.now())
    server.delete(key)


def fence_keeps_the_entry(server, key, token, ttl):
    server._state.on_keys.fence(key, token, until=server.now() + ttl, now=server.now())


def version_under_a_fence(server, tag, ttl):
    version = server.peek_version(tag) or server.unique()
    server._state.versions[tag] = (version, server.now() + ttl)
    return version


def version_shortened(server, tag, ttl):
    if server._state.on_tags.fenced(tag, now=server.now()):
        return None
    return version_under_a_fence(server, tag, ttl)


def settle_always(server, tag, token, ttl):
    server._state.on_tags.release(tag, token, now=server.now())
    server.drop_tag(tag)
    return version_under_a_fence(server, tag, ttl)


def settle_without_taint(server, tag, token, ttl):
    sole = server._state.on_tags.sole(tag, token, now=server.now())
    server._state.on_tags.release(tag, token, now=server.now())
    server._state.versions.pop(tag, None)
    return server.version(tag, ttl) if sole else None


def counter(server, namespace):
    server._state.stamps[namespace] = b"%d" % (len(server._state.stamps))


def renew_anything(server, key, token, ttl):
    return True


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("commit", commit_unchecked),
        ("commit", commit_tainted),
        ("commit", commit_beside_others),
        ("commit", commit_keeps_the_claim),
        ("put", put_under_a_fence),
        ("put", put_keeps_the_lease),
        ("drop_key", drop_keeps_the_claims),
        ("drop_key", drop_ignores_keep),
        ("fence_key", fence_ends_other_fences),
        ("fence_key", fence_keeps_the_entry),
        ("version", version_under_a_fence),
        ("version", version_shortened),
        ("settle", settle_always),
        ("settle", settle_without_taint),
        ("replace_stamp", counter),
        ("replace_stamp", lambda server, namespace: None),
        ("renew_key", renew_anything),
        ("release_key", lambda server, key, token: server._state.on_keys.taint(key, now=server.now())),
    ],
)
def test_the_contract_of_remote_stores_refuses_faults_of_claims(monkeypatch, step, fault):
    monkeypatch.setattr(MemoryServer, step, fault)
    assert failures(Suite, LEASES) != []


@pytest.mark.parametrize(
    ("owner", "step", "fault"),
    [
        (MemoryServer, "publish", lambda server, message: None),
        (MemoryServer, "hang_up", lambda server: None),
        (MemoryServer, "commit", lambda server, item, token: (server.set(item), True)),
    ],
)
def test_the_contract_of_remote_stores_refuses_faults_of_the_feed(monkeypatch, owner, step, fault):
    monkeypatch.setattr(owner, step, fault)
    assert failures(Suite, FEED) != []


def test_the_unbroken_store_fails_nothing():
    assert failures(Suite, LEASES + FEED) == []
