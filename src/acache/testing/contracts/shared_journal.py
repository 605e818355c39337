"""What a journal of several processes promises beyond `JournalContract`, as a suite to subclass.

    class TestMyJournal(SharedJournalContract):
        def open(self) -> MyJournal:
            return MyJournal(self.url, name=self.name)

Each test has two journals over the same storage, as two processes have them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from random import Random
from typing import Any, ClassVar

from acache.protocols import SharedJournal, Write
from acache.testing.contracts._laws import law
from acache.testing.contracts.journal import JournalContract, places, write

__all__ = ["SharedJournalContract"]

LONG = 600.0  # seconds; a claim that no test outlives


class SharedJournalContract(JournalContract):
    """The methods of `SharedJournal`, on an empty journal for each test."""

    tick: ClassVar[float] = 0.05
    """Seconds of a claim that shall end while a test waits."""

    other: Any
    """A second journal over the same storage."""

    async def around(self, test: Callable[[], Awaitable[None]]) -> None:
        """Open a second journal beside the first."""
        async with aclosing(self.open()) as self.other:
            await super().around(test)

    async def wait(self, seconds: float) -> None:
        """Let *seconds* pass for the journal."""
        await asyncio.sleep(seconds)

    async def put(self, *keys: str, by: Any = None) -> list[Write]:
        """Append a write of each key and return them as they stand."""
        return list(await (by or self.journal).append_next([write(key, 0) for key in keys]))

    # --- numbers ------------------------------------------------------------------------------------

    @law()
    async def test_the_journal_offers_the_shared_protocol(self) -> None:
        """The core asks with isinstance."""
        assert isinstance(self.journal, SharedJournal)

    @law()
    async def test_numbers_follow_the_order_of_appends_of_all_processes(self) -> None:
        """Whoever appends after another one has returned gets a higher number."""
        highest = 0
        for turn in range(20):
            for standing in await self.put("a", "b", by=(self.journal, self.other)[turn % 2]):
                assert standing.sequence > highest
                highest = standing.sequence
        assert await self.journal.last() == await self.other.last() == highest

    @law()
    async def test_no_number_is_given_twice(self) -> None:
        """Also to processes that append at the same time."""
        appends = [self.put(f"k{n}", by=by) for n in range(50) for by in (self.journal, self.other)]
        numbers = [standing.sequence for written in await asyncio.gather(*appends) for standing in written]
        assert len(set(numbers)) == len(numbers) == 100

    @law()
    async def test_the_next_number_is_above_all_that_were_ever_given(self) -> None:
        """Whatever the clock says, and over an emptied journal."""
        await self.journal.append([write("a", 2**60)])
        await self.journal.acknowledge({"a": 2**60})
        await self.reopen()
        [first] = await self.put("a", by=self.other)
        [second] = await self.put("a")
        assert 2**60 < first.sequence < second.sequence

    @law()
    async def test_what_is_appended_comes_back_as_it_was_but_for_its_number(self) -> None:
        """From any process."""
        given = Write(key="ключ", id=b"\x00", payload=bytes(range(256)), tags=("т", ""), sequence=5, at=1.5)
        [standing] = await self.journal.append_next([given])
        assert standing == replace(given, sequence=standing.sequence)
        assert await self.other.pending(["ключ"]) == {"ключ": standing}
        assert await self.pending() == [standing]
        assert await self.journal.append_next([]) == []

    # --- what is pending ----------------------------------------------------------------------------

    @law()
    async def test_every_process_sees_the_newest_pending_write_of_a_key(self) -> None:
        """Removals too; nothing of keys that have none."""
        assert await self.journal.pending([]) == {}
        await self.put("a", "b")
        [newest] = await self.other.append_next([replace(write("a", 0), payload=None)])
        found = await self.journal.pending(["a", "b", "never"])
        assert found["a"] == newest
        assert found.keys() == {"a", "b"}
        await self.journal.acknowledge({"a": newest.sequence})
        assert (await self.other.pending(["a", "b"])).keys() == {"b"}

    @law()
    async def test_what_is_claimed_is_still_seen(self) -> None:
        """Until it has reached the source."""
        [standing] = await self.put("a")
        await self.journal.claim(9, b"one", ttl=LONG)
        assert await self.other.pending(["a"]) == {"a": standing}
        await self.journal.settle({"a": standing.sequence}, b"one")
        assert await self.other.pending(["a"]) == {}

    @law()
    async def test_the_depth_counts_keys_and_dead_letters(self) -> None:
        """Claimed keys too; the oldest is what waits longest since anything of its key was flushed."""
        empty = await self.journal.depth()
        assert (empty.pending, empty.oldest, empty.oldest_age, empty.dead) == (0, None, 0.0, 0)
        [first, _] = await self.put("a", "b")
        [newer] = await self.put("a", by=self.other)
        await self.wait(self.tick)
        depth = await self.other.depth()
        assert (depth.pending, depth.oldest, depth.dead) == (2, first.sequence, 0)
        assert depth.oldest_age > 0
        [claimed] = await self.journal.claim(1, b"one", ttl=LONG)
        assert claimed == newer
        depth = await self.other.depth()
        assert (depth.pending, depth.oldest) == (2, first.sequence)
        await self.journal.bury(newer, "refused")
        await self.journal.settle({"a": newer.sequence - 1}, b"one")
        depth = await self.journal.depth()
        assert (depth.pending, depth.dead) == (1, 1)
        assert depth.oldest is not None
        assert depth.oldest > first.sequence

    @law()
    async def test_the_oldest_number_rises_only_when_all_up_to_it_was_flushed(self) -> None:
        """So that who waits for it knows: also over writes that newer ones have replaced."""
        [first] = await self.put("a")
        await self.journal.claim(1, b"one", ttl=LONG)
        [second] = await self.put("a")
        await self.put("a")
        await self.journal.settle({"a": first.sequence}, b"one")
        assert (await self.journal.depth()).oldest == second.sequence

    # --- claims -------------------------------------------------------------------------------------

    @law()
    async def test_a_key_is_claimed_by_one_at_a_time(self) -> None:
        """The longest waiting first, no more than asked for."""
        await self.put("c", "a", "b", "d")
        mine = await self.journal.claim(3, b"one", ttl=LONG)
        theirs = await self.other.claim(3, b"two", ttl=LONG)
        assert [each.key for each in mine] == ["c", "a", "b"]
        assert [each.key for each in theirs] == ["d"]
        assert await self.journal.claim(3, b"three", ttl=LONG) == []

    @law()
    async def test_a_claim_brings_the_newest_write_of_a_key(self) -> None:
        """Older ones are not worth flushing, and are gone with it."""
        await self.journal.append([write("a", 1), write("a", 2)])
        [newest] = await self.put("a")
        assert await self.other.claim(9, b"one", ttl=LONG) == [newest]
        await self.other.settle({"a": newest.sequence}, b"one")
        assert await self.pending() == []

    @law()
    async def test_what_comes_during_a_claim_waits_for_its_end(self) -> None:
        """So the writes of a key reach the source one after the other."""
        [first] = await self.put("a")
        await self.journal.claim(9, b"one", ttl=LONG)
        [second] = await self.put("a", by=self.other)
        assert await self.other.claim(9, b"two", ttl=LONG) == []
        assert await self.journal.settle({"a": first.sequence}, b"one") == []
        assert await self.other.claim(9, b"three", ttl=LONG) == [second]
        assert await self.pending() == [second]

    @law()
    async def test_a_claim_that_is_asked_for_again_is_the_same_one(self) -> None:
        """The answer may have been lost."""
        await self.put("a", "b", "c")
        claimed = await self.journal.claim(2, b"one", ttl=LONG)
        again = await self.journal.claim(2, b"one", ttl=LONG)
        assert sorted(again, key=lambda each: each.key) == sorted(claimed, key=lambda each: each.key)

    @law()
    async def test_what_a_dead_flusher_had_claimed_is_taken_over(self) -> None:
        """At the end of its time; then its token is worth nothing."""
        [first] = await self.put("a")
        await self.journal.claim(9, b"dead", ttl=self.tick)
        [second] = await self.put("a")
        await self.wait(self.tick * 3)
        assert await self.other.claim(9, b"heir", ttl=LONG) == [second]
        assert await self.journal.renew(["a"], b"dead", ttl=LONG) is False
        assert list(await self.journal.settle({"a": first.sequence}, b"dead")) in (["a"], [])
        await self.journal.release(["a"], b"dead")
        assert await self.journal.claim(9, b"third", ttl=LONG) == []
        assert await self.other.pending(["a"]) == {"a": second}
        assert await self.other.settle({"a": second.sequence}, b"heir") == []
        assert await self.pending() == []

    @law()
    async def test_an_outdated_claim_acknowledges_nothing(self) -> None:
        """The heir is about to flush it: until then it counts as pending, and the key as claimed."""
        [standing] = await self.put("a")
        await self.journal.claim(9, b"dead", ttl=self.tick)
        await self.wait(self.tick * 3)
        await self.other.claim(9, b"heir", ttl=LONG)
        assert list(await self.journal.settle({"a": standing.sequence}, b"dead")) == ["a"]
        assert await self.pending() == [standing]
        [newer] = await self.put("a")
        assert await self.journal.claim(9, b"third", ttl=LONG) == []
        assert await self.other.settle({"a": standing.sequence}, b"heir") == []
        assert await self.journal.claim(9, b"fourth", ttl=LONG) == [newer]

    @law()
    async def test_a_claim_that_is_renewed_does_not_end(self) -> None:
        """All of it, or the answer says so."""
        await self.put("a", "b")
        await self.journal.claim(9, b"one", ttl=self.tick)
        assert await self.journal.renew(["a", "b"], b"one", ttl=LONG) is True
        assert await self.journal.renew([], b"one", ttl=LONG) is True
        await self.wait(self.tick * 3)
        assert await self.other.claim(9, b"two", ttl=LONG) == []
        assert await self.journal.renew(["a", "never"], b"one", ttl=LONG) is False

    @law()
    async def test_what_is_released_can_be_claimed_at_once(self) -> None:
        """Only by whose claim it is."""
        await self.put("a", "b")
        mine = await self.journal.claim(9, b"one", ttl=LONG)
        await self.other.release(["a", "b"], b"two")
        assert await self.other.claim(9, b"two", ttl=LONG) == []
        await self.journal.release(["a", "b", "never"], b"one")
        assert await self.other.claim(9, b"three", ttl=LONG) == mine

    @law()
    async def test_settling_again_harms_nothing(self) -> None:
        """The answer may have been lost, and somebody else have claimed meanwhile."""
        [first] = await self.put("a")
        await self.journal.claim(9, b"one", ttl=LONG)
        [second] = await self.put("a")
        assert await self.journal.settle({"a": first.sequence}, b"one") == []
        await self.other.claim(9, b"two", ttl=LONG)
        assert await self.journal.settle({"a": first.sequence}, b"one") == []
        assert await self.journal.settle({}, b"one") == []
        assert await self.pending() == [second]
        assert await self.journal.claim(9, b"three", ttl=LONG) == []

    @law()
    async def test_a_poisoned_write_frees_its_key(self) -> None:
        """And can be revived, unless something newer was flushed."""
        [poisoned] = await self.put("a")
        await self.journal.claim(9, b"one", ttl=LONG)
        await self.journal.bury(poisoned, "refused")
        await self.journal.settle({"a": poisoned.sequence - 1}, b"one")
        assert await self.other.claim(9, b"two", ttl=LONG) == []
        [letter] = await self.dead()
        await self.other.revive(letter)
        assert await self.other.claim(9, b"three", ttl=LONG) == [poisoned]
        await self.other.bury(poisoned, "again")
        await self.other.settle({"a": poisoned.sequence - 1}, b"three")
        [newer] = await self.put("a")
        await self.journal.claim(9, b"four", ttl=LONG)
        await self.journal.settle({"a": newer.sequence}, b"four")
        await self.refuses_to_revive(letter)

    @law()
    async def test_whatever_two_processes_do_the_newest_write_of_each_key_is_flushed_last(self) -> None:
        """Two hundred random steps, seeded: appends, flushes, lost claims; then everything is flushed."""
        for seed in range(3):
            source: dict[str, int] = {}
            newest: dict[str, int] = {}
            claims: list[tuple[Any, bytes, Sequence[Write]]] = []
            rng = Random(seed)  # noqa: S311 - a test that repeats
            for step in range(200):
                by = rng.choice((self.journal, self.other))
                if rng.random() < 0.5:
                    for standing in await self.put(rng.choice("abcdef"), by=by):
                        newest[standing.key] = standing.sequence
                elif rng.random() < 0.5:
                    token = f"{seed}/{step}".encode()
                    claims.append((by, token, await by.claim(rng.randint(1, 3), token, ttl=LONG)))
                elif claims:
                    await self._end(*claims.pop(rng.randrange(len(claims))), source, flush=rng.random() < 0.7)
            for claim in claims:
                await self._end(*claim, source, flush=True)
            for turn in range(3):
                token = f"{seed}/last {turn}".encode()
                claimed = await self.journal.claim(9, token, ttl=LONG)
                await self._end(self.journal, token, claimed, source, flush=True)
            assert source == newest
            assert await places(self.pending()) == set()

    async def _end(
        self, by: Any, token: bytes, claimed: Sequence[Write], source: dict[str, int], *, flush: bool
    ) -> None:
        if not flush:
            await by.release([each.key for each in claimed], token)
            return
        for each in claimed:
            assert each.sequence > source.get(each.key, 0), f"{each.key!r} went back"
            source[each.key] = each.sequence
        assert await by.settle({each.key: each.sequence for each in claimed}, token) == []
