"""The journal in memory keeps the journals' contract, for as long as its process lives."""

import pytest

from acache.journal import MemoryJournal
from acache.testing import ManualClock
from acache.testing.contracts.journal import JournalContract, write


class TestMemoryJournal(JournalContract):
    durable = False

    def open(self):
        return MemoryJournal()


@pytest.mark.asyncio
async def test_a_dead_letter_says_when_it_was_buried():
    clock = ManualClock()
    journal = MemoryJournal(clock=clock)
    await journal.append([write("a", 1)])
    clock.advance(5)
    await journal.bury(write("a", 1), "refused")
    assert [letter.at async for letter in journal.dead()] == [clock.time()]


@pytest.mark.asyncio
async def test_nothing_is_remembered_of_writes_that_are_gone():
    journal = MemoryJournal()
    for number in range(1, 50):
        await journal.append([write("a", number), write("b", number)])
        await journal.bury(write("a", number), "refused")
        (letter,) = [letter async for letter in journal.dead()]
        await (journal.discard(letter) if number % 2 else journal.revive(letter))
        await journal.acknowledge({"a": number, "b": number})
    assert not any((journal._pending, journal._dead, journal._attempts, journal._outdated))
