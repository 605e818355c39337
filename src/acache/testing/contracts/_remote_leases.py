"""What a remote store with claims promises: who may load, who may store, what outlives whom."""

import asyncio
from functools import partial

from acache.protocols import BUSY, FENCED, FOUND, GRANTED, ClaimKind, Item, Leases, Prompt, digest
from acache.testing.contracts._clients import lease_law
from acache.testing.contracts._remote_bytes import RemoteBytes

A, B, C = b"token of a".ljust(16), b"token of b".ljust(16), bytes(16)


class RemoteLeases(RemoteBytes):
    """The methods of `Leases`, for stores that declare `leases`."""

    async def read(self, text: str) -> bytes | None:
        """Return the entry of *text* as the second client sees it."""
        found: list[bytes | None] = await self.b.get_many([self.name(text)])
        return found[0]

    async def version(self, text: str) -> bytes | None:
        """Return the version of the tag *text* as it is."""
        found: tuple[list[bytes | None], list[bytes | None]] = await self.b.peek([], [self.name(text)])
        return found[1][0]

    async def stores(self, text: str, token: bytes, data: bytes = b"committed") -> bool:
        """Commit under *token* and tell whether the entry was stored, by two accounts that agree."""
        said: bool = await self.a.commit(self.item(text, data), token, message=None)
        assert said is (await self.read(text) == data), "commit says what it did"
        return said

    # --- the lease ------------------------------------------------------------------------------

    @lease_law
    async def test_one_loader_is_elected_and_the_others_learn_whom_to_wait_for(self) -> None:
        """Its result is stored once, and its lease ends with it."""
        key = self.name("k")
        assert (await self.a.lease(key, A, ttl=30, seen=None)).kind is GRANTED
        assert (await self.a.lease(key, A, ttl=30, seen=None)).kind is GRANTED, "asked again"
        busy = await self.b.lease(key, B, ttl=30, seen=None)
        assert (busy.kind, busy.holder) == (BUSY, A)
        assert 0 < busy.remaining <= 30
        assert not await self.stores("k", B), "who was not elected stores nothing"
        assert await self.stores("k", A)
        assert await self.a.claims(key) == []

    @lease_law
    async def test_a_lease_is_refused_where_a_new_entry_is_found(self) -> None:
        """Only the entry that the loader has already judged is not shown to it again."""
        key = self.name("k")
        await self.a.set_many([self.item("k", b"old")])
        found = await self.b.lease(key, A, ttl=30, seen=None)
        assert (found.kind, found.data) == (FOUND, b"old")
        found = await self.b.lease(key, A, ttl=30, seen=digest(b"older"))
        assert (found.kind, found.data) == (FOUND, b"old")
        assert await self.a.claims(key) == []
        assert (await self.b.lease(key, A, ttl=30, seen=digest(b"old"))).kind is GRANTED

    @lease_law
    async def test_a_lease_ends_with_its_time_unless_it_is_renewed(self) -> None:
        """Then another may load, and the late one stores nothing."""
        for text in ("left", "renewed"):
            assert (await self.a.lease(self.name(text), A, ttl=2 * self.tick, seen=None)).kind is GRANTED
        assert await self.a.renew([self.name("renewed")], [], A, ttl=30)
        await self.wait(3 * self.tick)
        assert not await self.a.renew([self.name("left")], [], A, ttl=30)
        assert not await self.a.renew([self.name("renewed"), self.name("left")], [], A, ttl=30)
        assert (await self.b.lease(self.name("left"), B, ttl=30, seen=None)).kind is GRANTED
        assert (await self.b.lease(self.name("renewed"), B, ttl=30, seen=None)).kind is BUSY
        assert not await self.stores("left", A)
        assert await self.stores("renewed", A)

    @lease_law
    async def test_a_renewal_never_shortens(self) -> None:
        """Prolonging for a moment leaves the time that was granted."""
        await self.a.lease(self.name("k"), A, ttl=30, seen=None)
        assert await self.a.renew([self.name("k")], [], A, ttl=self.tick)
        await self.wait(2 * self.tick)
        assert await self.stores("k", A)

    @lease_law
    async def test_a_commit_needs_a_claim_and_may_be_sent_again(self) -> None:
        """Again, because a client does so where an answer was lost."""
        assert not await self.stores("k", A)
        await self.a.lease(self.name("k"), A, ttl=30, seen=None)
        assert await self.stores("k", A)
        assert await self.stores("k", A), "the same entry still stands"
        await self.a.drop([self.name("k")], [], message=None)
        assert not await self.stores("k", A), "and now it does not"

    @lease_law
    async def test_a_release_ends_only_ones_own_claim(self) -> None:
        """A stranger's token ends nothing."""
        key = self.name("k")
        await self.a.lease(key, A, ttl=30, seen=None)
        await self.a.release([key], [], B, message=None)
        assert (await self.b.lease(key, B, ttl=30, seen=None)).kind is BUSY
        await self.a.release([key], [], A, message=None)
        assert (await self.b.lease(key, B, ttl=30, seen=None)).kind is GRANTED

    @lease_law
    async def test_whoever_changes_the_key_ends_the_lease(self) -> None:
        """A load that began before the change is never stored after it."""
        key = self.name("k")
        for change in ("put", "drop", "kept", "fence"):
            await self.a.drop([key], [], message=None)
            await self.a.lease(key, A, ttl=30, seen=None)
            if change == "put":
                await self.b.put([self.item("k", b"new")], message=None)
            elif change == "drop":
                await self.b.drop([key], [], message=None)
            elif change == "kept":
                await self.b.set_many([self.item("k", b"kept")])
                await self.b.drop([key], [], keep={key: b"kept"}, message=None)
            else:
                await self.b.fence([key], [], B, ttl=30, message=None)
            left = {"put": b"new", "kept": b"kept"}.get(change)
            assert await self.read("k") == left, change
            assert not await self.stores("k", A), change
            assert await self.read("k") == left, change

    @lease_law
    async def test_a_drop_spares_exactly_the_entry_it_was_told_to_keep(self) -> None:
        """Another one goes."""
        await self.a.set_many([self.item("x", b"1"), self.item("y", b"1"), self.item("z", b"1")])
        keys = [self.name(text) for text in "xyz"]
        await self.b.drop(keys, [], keep={keys[0]: b"1", keys[1]: b"2"}, message=None)
        assert await self.a.get_many(keys) == [b"1", None, None]

    # --- the fence ------------------------------------------------------------------------------

    @lease_law
    async def test_under_a_fence_nothing_is_loaded_or_stored_but_by_its_writer(self) -> None:
        """The entry goes when the block begins, and the writer's own value comes when it ends."""
        key = self.name("k")
        await self.a.set_many([self.item("k", b"old")])
        await self.a.fence([key], [], A, ttl=30, message=None)
        await self.a.fence([key], [], A, ttl=30, message=None)  # sent again: no taint of its own
        assert await self.read("k") is None
        assert (await self.b.lease(key, B, ttl=30, seen=None)).kind is FENCED
        assert not await self.stores("k", B)
        assert await self.stores("k", A)
        assert await self.b.claims(key) == []

    @lease_law
    async def test_of_overlapping_writers_none_stores(self) -> None:
        """Nor does the one who is left alone; whoever begins when all have gone does again."""
        key = self.name("k")
        await self.a.fence([key], [], A, ttl=30, message=None)
        await self.b.fence([key], [], B, ttl=30, message=None)
        assert not await self.stores("k", B)
        assert not await self.stores("k", A), "alone, but tainted"
        await self.a.fence([key], [], C, ttl=30, message=None)
        assert await self.stores("k", C)

    @lease_law
    async def test_a_change_from_outside_taints_the_fence(self) -> None:
        """It stands on, so that nothing else is stored either."""
        key = self.name("k")
        for change in (
            partial(self.b.put, [self.item("k", b"new")], message=None),
            partial(self.b.drop, [key], [], message=None),
        ):
            await self.a.fence([key], [], A, ttl=30, message=None)
            await change()
            assert await self.read("k") is None, "under a fence nothing is stored"
            [claim] = await self.b.claims(key)
            assert (claim.kind, claim.token, claim.tainted) == (ClaimKind.FENCE, A, True)
            assert (await self.b.lease(key, B, ttl=30, seen=None)).kind is FENCED
            assert not await self.stores("k", A)
            assert await self.a.claims(key) == []

    @lease_law
    async def test_the_fence_of_a_writer_who_died_ends_by_itself_with_its_taint(self) -> None:
        """What it fenced stays empty, and free."""
        key = self.name("k")
        await self.a.fence([key], [self.name("t")], A, ttl=2 * self.tick, message=None)
        await self.b.drop([key], [], message=None)
        await self.wait(3 * self.tick)
        assert not await self.stores("k", A)
        assert await self.b.versions([self.name("t")], ttl=30) != [None]
        await self.a.fence([key], [], B, ttl=30, message=None)
        assert await self.stores("k", B)

    @lease_law
    async def test_of_two_fences_each_ends_by_itself(self) -> None:
        """The one that ended cannot be renewed and holds nothing up; the taint stays with the other."""
        key = self.name("k")
        await self.a.fence([key], [], A, ttl=2 * self.tick, message=None)
        await self.b.fence([key], [], B, ttl=30, message=None)
        await self.wait(3 * self.tick)
        assert not await self.a.renew([key], [], A, ttl=30)
        assert [(claim.token, claim.tainted) for claim in await self.a.claims(key)] == [(B, True)]
        await self.b.release([key], [], B, message=None)
        assert (await self.a.lease(key, C, ttl=30, seen=None)).kind is GRANTED

    @lease_law
    async def test_claims_tells_what_stands_on_a_key(self) -> None:
        """Kind, token, taint and the time that is left."""
        key = self.name("k")
        assert await self.a.claims(key) == []
        await self.a.lease(key, A, ttl=30, seen=None)
        [claim] = await self.b.claims(key)
        assert (claim.kind, claim.token, claim.tainted) == (ClaimKind.LEASE, A, False)
        assert 0 < claim.remaining <= 30
        await self.a.fence([key], [], B, ttl=30, message=None)
        await self.b.fence([key], [], C, ttl=30, message=None)
        claims = {claim.token: claim for claim in await self.b.claims(key)}
        assert claims.keys() == {B, C}
        assert all(claim.kind is ClaimKind.FENCE and claim.tainted for claim in claims.values())

    # --- versions and stamps --------------------------------------------------------------------

    @lease_law
    async def test_a_version_is_made_once_and_is_like_no_other(self) -> None:
        """Looking makes nothing; a dropped version never comes back."""
        tags = [self.name("t"), self.name("u")]
        assert await self.version("t") is None
        first = await self.a.versions(tags, ttl=30)
        assert await self.b.versions([*reversed(tags), tags[0]], ttl=30) == [first[1], first[0], first[0]]
        assert (await self.b.peek([], tags))[1] == first
        await self.b.drop([], tags[:1], message=None)
        assert await self.version("t") is None
        again = await self.a.versions(tags, ttl=30)
        assert again[1] == first[1]
        assert None not in {*first, *again}
        assert len({*first, *again}) == 3

    @lease_law
    async def test_a_version_lives_as_long_as_the_longest_use(self) -> None:
        """Asking prolongs and never shortens."""
        await self.a.versions([self.name("short")], ttl=2 * self.tick)
        [long] = await self.a.versions([self.name("long")], ttl=2 * self.tick)
        await self.a.versions([self.name("long")], ttl=30)
        await self.b.versions([self.name("long")], ttl=2 * self.tick)
        await self.wait(3 * self.tick)
        assert await self.version("short") is None
        assert await self.version("long") == long

    @lease_law
    async def test_entries_and_versions_are_read_together_and_never_confused(self) -> None:
        """A key and a tag of one name are two things."""
        name = self.name("same")
        await self.a.set_many([self.item("same", b"entry")])
        [version] = await self.a.versions([name], ttl=30)
        assert await self.b.peek([name, self.name("k")], [self.name("t"), name]) == (
            [b"entry", None],
            [None, version],
        )
        await self.a.fence([], [name], A, ttl=30, message=None)
        assert await self.read("same") == b"entry"
        assert (await self.b.lease(name, B, ttl=30, seen=digest(b"entry"))).kind is GRANTED

    @lease_law
    async def test_a_prompt_store_tells_what_a_peek_returns(self) -> None:
        """At most once, also who asks while another answer is on its way."""
        store, prompt = self.a, self.b
        if not isinstance(prompt, Prompt):
            return
        key, tag = self.name("k"), self.name("t")
        await store.put([Item(key=key, data=b"1", ttl=60)], message=None)
        [version] = await store.versions([tag], ttl=60)
        told: list[asyncio.Future[list[bytes | None]]] = []
        for _ in range(3):
            told.append(asyncio.get_running_loop().create_future())
            prompt.ask([key, self.name("l")], [tag], told[-1])
        for each in told:
            assert await asyncio.wait_for(each, 10) == [b"1", None, version]

    @lease_law
    async def test_no_version_is_made_under_a_fence(self) -> None:
        """So that no entry can carry one; alone and untainted the writer gets a new one at its end."""
        tag = self.name("t")
        [old] = await self.a.versions([tag], ttl=30)
        await self.a.fence([], [tag], A, ttl=30, message=None)
        assert await self.version("t") is None
        assert await self.b.versions([tag, self.name("u")], ttl=30) != [None, None]
        assert await self.b.versions([tag], ttl=30) == [None]
        [new] = await self.a.settle([tag], A, ttl=30)
        assert new not in {old, None}
        assert await self.b.versions([tag], ttl=30) == [new]

    @lease_law
    async def test_a_tag_is_settled_without_a_version_where_others_changed_it(self) -> None:
        """Another writer, a drop, or a fence that ended: the version goes, the others are tainted."""
        tag = self.name("t")
        await self.a.fence([], [tag], A, ttl=30, message=None)
        await self.b.fence([], [tag], B, ttl=30, message=None)
        assert await self.a.settle([tag], A, ttl=30) == [None]
        assert await self.b.settle([tag], B, ttl=30) == [None]
        await self.a.fence([], [tag], A, ttl=30, message=None)
        await self.b.drop([], [tag], message=None)
        assert await self.a.settle([tag], A, ttl=30) == [None]
        await self.b.versions([tag], ttl=30)
        assert await self.a.settle([tag], A, ttl=30) == [None], "no fence stood"
        assert await self.version("t") is None
        await self.b.fence([], [tag], B, ttl=30, message=None)
        assert await self.a.settle([tag], A, ttl=30) == [None]
        assert await self.b.settle([tag], B, ttl=30) == [None], "tainted by the one who settled without"

    @lease_law
    async def test_fences_of_tags_are_renewed_and_released_like_those_of_keys(self) -> None:
        """All of them or the answer is no."""
        tag = self.name("t")
        await self.a.fence([self.name("k")], [tag], A, ttl=2 * self.tick, message=None)
        assert await self.a.renew([self.name("k")], [tag], A, ttl=30)
        await self.wait(3 * self.tick)
        assert await self.b.versions([tag], ttl=30) == [None]
        await self.b.release([], [tag], B, message=None)
        assert await self.b.versions([tag], ttl=30) == [None]
        await self.b.release([], [tag], A, message=None)
        assert await self.b.versions([tag], ttl=30) != [None]
        assert not await self.a.renew([self.name("k")], [tag], A, ttl=30)

    @lease_law
    async def test_the_stamp_changes_with_every_change_of_a_tag(self) -> None:
        """And with nothing else; each namespace has its own."""
        other = f"{self.namespace}-other"
        tag = self.name("t")
        elsewhere = await self.a.stamp(other)
        stamps = [await self.a.stamp(self.namespace)]
        assert await self.b.stamp(self.namespace) == stamps[0]
        for change in (
            partial(self.b.drop, [self.name("k")], [], message=None),
            partial(self.b.fence, [self.name("k")], [], A, ttl=30, message=None),
            partial(self.b.release, [self.name("k")], [], A, message=None),
            partial(self.b.put, [self.item("k", b"1")], message=None),
        ):
            await change()
            assert await self.a.stamp(self.namespace) == stamps[0]
        for change in (
            partial(self.b.drop, [], [tag], message=None),
            partial(self.b.fence, [self.name("k")], [tag], A, ttl=30, message=None),
            partial(self.b.settle, [tag], A, ttl=30),
            partial(self.b.drop, [], [self.namespace], message=None),
        ):
            await change()
            stamps.append(await self.a.stamp(self.namespace))
        assert len({*stamps}) == 5, "random, and never one that was there before"
        assert await self.b.stamp(other) == elsewhere

    @lease_law
    async def test_a_namespace_has_a_version_like_a_tag(self) -> None:
        """Its complete name is the namespace alone."""
        [before] = await self.a.versions([self.namespace], ttl=30)
        assert (await self.b.peek([], [self.namespace]))[1] == [before]
        await self.b.drop([], [self.namespace], message=None)
        assert (await self.b.peek([], [self.namespace]))[1] == [None]
        [after] = await self.a.versions([self.namespace], ttl=30)
        assert after not in {before, None}
        await self.a.fence([], [self.namespace], A, ttl=30, message=None)
        assert await self.b.versions([self.namespace], ttl=30) == [None]
        assert await self.a.settle([self.namespace], A, ttl=30) != [None]

    @lease_law
    async def test_nothing_to_change_is_no_error(self) -> None:
        """Every method takes no names."""
        assert await self.a.versions([], ttl=30) == []
        assert await self.a.peek([], []) == ([], [])
        assert await self.a.settle([], A, ttl=30) == []
        assert await self.a.renew([], [], A, ttl=30)
        await self.a.put([], message=None)
        await self.a.drop([], [], message=None)
        await self.a.fence([], [], A, ttl=30, message=None)
        await self.a.release([], [], A, message=None)

    @lease_law
    async def test_the_store_offers_what_it_declares(self) -> None:
        """The core asks once, with isinstance."""
        assert isinstance(self.a, Leases)
