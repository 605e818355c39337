"""What a journal promises, as a suite that a plugin's author subclasses.

    class TestMyJournal(JournalContract):
        @pytest.fixture(autouse=True)
        def folder(self, tmp_path):
            self.path = tmp_path

        def open(self) -> MyJournal:
            return MyJournal(self.path)

Any test runner that finds plain methods will do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, ClassVar
from unittest import SkipTest

from acache.errors import JournalFailed
from acache.protocols import DeadLetter, Journal, Write
from acache.testing.contracts._laws import AsyncLaws, law

__all__ = ["JournalContract"]


class JournalContract(AsyncLaws):
    """The methods of `Journal`, on an empty journal for each test."""

    durable: ClassVar[bool] = True
    """What one journal wrote the next one that `open` returns finds, after the first was closed."""

    journal: Any

    def open(self) -> Journal:
        """Return a journal over the storage of this test; called again after the last one was closed."""
        raise SkipTest("the contract itself has no journal")

    async def around(self, test: Callable[[], Awaitable[None]]) -> None:
        """Open, run, close; a test may have put another journal in place meanwhile."""
        self.journal = self.open()
        try:
            await test()
        finally:
            await self.journal.aclose()

    async def reopen(self) -> None:
        """Go on as the next process would, where the journal is durable."""
        if self.durable:
            await self.journal.aclose()
            self.journal = self.open()

    async def pending(self) -> list[Write]:
        """Return what `recover` yields."""
        return [write async for write in self.journal.recover()]

    async def dead(self) -> list[DeadLetter]:
        """Return what `dead` yields."""
        return [letter async for letter in self.journal.dead()]

    @law()
    async def test_the_journal_offers_the_protocol(self) -> None:
        """The core asks with isinstance."""
        assert isinstance(self.journal, Journal)

    @law()
    async def test_a_new_journal_is_empty_and_counts_from_zero(self) -> None:
        """Nothing pending, nothing dead, no number given."""
        assert await self.journal.last() == 0
        assert await self.pending() == []
        assert await self.dead() == []

    @law()
    async def test_what_was_appended_comes_back_as_it_was(self) -> None:
        """Every field, removals and bytes and names of any kind included."""
        writes = [
            Write(key="k", id=b"\x00\xff", payload=b"", tags=("a", "b", "a"), sequence=1, at=1.5),
            Write(key="k", id=b"", payload=None, sequence=2, at=0.0),
            Write(
                key="ключ:{\U0001f511}\n'\";--\x00x", id=b"i", payload=bytes(range(256)), sequence=3, at=1e9
            ),
            Write(key="", id=b"i", payload=b"p" * 100_000, tags=("", "тег"), sequence=2**62, at=2e9),
        ]
        await self.journal.append(writes[:1])
        await self.journal.append(writes[1:])
        await self.journal.append([])
        await self.reopen()
        assert sorted(await self.pending(), key=lambda write: write.sequence) == writes

    @law()
    async def test_what_is_pending_comes_in_the_order_of_numbers_per_key(self) -> None:
        """Whatever the order of arrival."""
        await self.journal.append([write("a", 5), write("b", 1)])
        await self.journal.append([write("b", 9), write("a", 2), write("a", 7)])
        await self.reopen()
        found = await self.pending()
        assert [each.sequence for each in found if each.key == "a"] == [2, 5, 7]
        assert [each.sequence for each in found if each.key == "b"] == [1, 9]

    @law()
    async def test_an_acknowledgement_reaches_one_key_up_to_its_number(self) -> None:
        """Never a range over keys: an older write of another key stays."""
        await self.journal.append([write("a", 1), write("b", 2), write("a", 3), write("a", 4), write("c", 5)])
        await self.journal.acknowledge({"a": 3, "c": 4, "never": 9})
        await self.reopen()
        assert await places(self.pending()) == {("b", 2), ("a", 4), ("c", 5)}
        await self.journal.acknowledge({})
        await self.journal.acknowledge({"a": 4, "b": 2, "c": 5})
        await self.reopen()
        assert await self.pending() == []

    @law()
    async def test_numbers_are_remembered_when_the_journal_is_empty(self) -> None:
        """Or the next process would give them again, and a guarded source would drop its writes."""
        await self.journal.append([write("a", 41)])
        await self.journal.append([write("b", 7)])
        assert await self.journal.last() == 41
        await self.journal.acknowledge({"a": 41, "b": 7})
        assert await self.journal.last() == 41
        await self.reopen()
        await self.reopen()
        assert await self.journal.last() == 41

    @law()
    async def test_appending_a_write_again_keeps_it_single(self) -> None:
        """A caller who does not know whether it arrived may repeat it."""
        await self.journal.append([write("a", 1)])
        await self.journal.append([write("a", 1), write("a", 2)])
        assert await self.pending() == [write("a", 1), write("a", 2)]

    @law()
    async def test_concurrent_appends_all_arrive(self) -> None:
        """They may share what makes them durable."""
        await asyncio.gather(*(self.journal.append([write(f"k{n}", n)]) for n in range(1, 201)))
        await self.reopen()
        assert await places(self.pending()) == {(f"k{n}", n) for n in range(1, 201)}

    @law()
    async def test_a_cancelled_append_harms_no_other(self) -> None:
        """It may have arrived or not; those beside it and after it have."""
        tasks = [asyncio.ensure_future(self.journal.append([write(f"k{n}", n)])) for n in range(1, 101)]
        for turn in range(10):
            await asyncio.sleep(0)
            tasks[turn * 10].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.journal.append([write("after", 1000)])
        survivors = {(f"k{n}", n) for n, task in enumerate(tasks, 1) if not task.cancelled()}
        assert len(survivors) >= 90
        await self.reopen()
        found = await places(self.pending())
        assert survivors | {("after", 1000)} <= found

    @law()
    async def test_a_buried_write_is_a_dead_letter_and_pending_no_more(self) -> None:
        """Oldest first; the other writes of its key stay."""
        await self.journal.append([write("a", 1), write("a", 2), write("b", 3)])
        await self.journal.bury(write("b", 3), "refused: b")
        await self.journal.bury(write("a", 1), "refused: a")
        await self.reopen()
        assert await self.pending() == [write("a", 2)]
        letters = await self.dead()
        assert [(each.key, each.write, each.error, each.attempts) for each in letters] == [
            ("b", write("b", 3), "refused: b", 1),
            ("a", write("a", 1), "refused: a", 1),
        ]
        assert len({each.id for each in letters}) == 2

    @law()
    async def test_only_what_is_pending_can_be_buried(self) -> None:
        """What was acknowledged has reached the source, it is not lost."""
        await self.journal.append([write("a", 1)])
        await self.journal.acknowledge({"a": 1})
        await self.journal.bury(write("a", 1), "late")
        assert await self.dead() == []
        assert await self.pending() == []

    @law()
    async def test_a_discarded_dead_letter_is_gone(self) -> None:
        """Discarding it again does nothing; reviving it is refused."""
        await self.journal.append([write("a", 1)])
        await self.journal.bury(write("a", 1), "refused")
        (letter,) = await self.dead()
        await self.journal.discard(letter)
        await self.journal.discard(letter)
        await self.reopen()
        assert await self.dead() == []
        await self.refuses_to_revive(letter)
        assert await self.pending() == []

    @law()
    async def test_a_revived_dead_letter_is_pending_under_its_old_number(self) -> None:
        """It counts how often it was refused."""
        await self.journal.append([write("a", 1), write("b", 2)])
        await self.journal.bury(write("a", 1), "first")
        await self.reopen()
        (letter,) = await self.dead()
        await self.journal.acknowledge({"b": 2, "a": 0})  # of other keys, and nothing newer of its own
        await self.journal.revive(letter)
        await self.reopen()
        assert await self.pending() == [write("a", 1)]
        assert await self.dead() == []
        await self.journal.bury(write("a", 1), "second")
        assert [(each.error, each.attempts) for each in await self.dead()] == [("second", 2)]

    @law()
    async def test_a_dead_letter_stays_dead_once_something_newer_was_flushed(self) -> None:
        """Or it would take the source back."""
        await self.journal.append([write("a", 1), write("a", 2)])
        await self.journal.bury(write("a", 1), "refused")
        (letter,) = await self.dead()
        await self.journal.acknowledge({"a": 2})
        await self.refuses_to_revive(letter)
        await self.reopen()
        await self.refuses_to_revive(letter)
        assert await self.dead() == [letter]
        assert await self.pending() == []

    @law()
    async def test_loops_may_take_turns(self) -> None:
        """A module's journal lives through several loops, as under pytest."""
        await self.journal.append([write("a", 1)])
        await asyncio.to_thread(self.run, self.journal.append([write("b", 2)]))
        await self.journal.append([write("c", 3)])
        assert await places(self.pending()) == {("a", 1), ("b", 2), ("c", 3)}

    @law()
    async def test_closing_twice_is_harmless(self) -> None:
        """Also when it was never used."""
        await self.journal.aclose()
        await self.journal.aclose()

    @law()
    async def test_whatever_the_order_of_calls_nothing_acknowledged_is_lost(self) -> None:
        """A hundred random steps against the plainest model, seeded; some steps change the process."""
        for seed in range(5):
            await self._follow(Random(seed), base=seed * 1000)  # noqa: S311 - a test that repeats
            pending = await self.pending()
            await self.journal.acknowledge({each.key: each.sequence for each in pending})
            for letter in await self.dead():
                await self.journal.discard(letter)

    async def _follow(self, rng: Random, *, base: int) -> None:
        pending: set[tuple[str, int]] = set()
        dead: dict[tuple[str, int], bool] = {}  # whether something newer was flushed
        for number in range(base + 1, base + 100):
            key = rng.choice("abc")
            step = rng.random()
            if step < 0.5:
                await self.journal.append([write(key, number)])
                pending.add((key, number))
            elif step < 0.65:
                up_to = rng.randint(base, number)
                await self.journal.acknowledge({key: up_to})
                pending = {(k, n) for k, n in pending if k != key or n > up_to}
                dead = {(k, n): newer or (k == key and n < up_to) for (k, n), newer in dead.items()}
            elif step < 0.8 and pending:
                k, n = rng.choice(sorted(pending))
                await self.journal.bury(write(k, n), "refused")
                pending.remove((k, n))
                dead[k, n] = False
            elif step < 0.9 and dead:
                letter = rng.choice(await self.dead())
                place = letter.key, letter.write.sequence
                if dead[place]:
                    await self.refuses_to_revive(letter)
                else:
                    await self.journal.revive(letter)
                    pending.add(place)
                    del dead[place]
            elif step > 0.97:
                await self.reopen()
        assert await places(self.pending()) == pending
        assert {(letter.key, letter.write.sequence) for letter in await self.dead()} == dead.keys()

    async def refuses_to_revive(self, letter: DeadLetter) -> None:
        """Fail unless reviving *letter* raises `JournalFailed`."""
        try:
            await self.journal.revive(letter)
        except JournalFailed:
            return
        raise AssertionError("the dead letter was revived")


def write(key: str, sequence: int) -> Write:
    """Return a write that can be told from any other."""
    return Write(key=key, id=key.encode(), payload=b"%d" % sequence, sequence=sequence, at=sequence / 2)


async def places(writes: Awaitable[list[Write]]) -> set[tuple[str, int]]:
    """Return key and number of each write; fail if one comes twice."""
    found = [(each.key, each.sequence) for each in await writes]
    assert len(found) == len(set(found)), f"something comes twice: {found}"
    return set(found)
