"""The shared journal in memory keeps the contract of the real ones."""

from acache.testing import ManualClock
from acache.testing.contracts import SharedJournalContract
from acache.testing.shared_journal import JournalServer, MemorySharedJournal


class TestTheSharedJournalInMemory(SharedJournalContract):
    async def around(self, test):
        self.clock = ManualClock()
        self.server = JournalServer(self.clock.monotonic)
        await super().around(test)

    def open(self):
        return MemorySharedJournal(self.server)

    async def wait(self, seconds):
        self.clock.advance(seconds)
