"""Write-behind over a journal that processes share: all see what is pending, one flushes each key."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from acache import Cache, WriteBehind
from acache._journal_claim import ClaimLost
from acache.errors import BacklogFull, ConfigurationError, JournalFailed, SourceRefused, SourceUnavailable
from acache.events import BatchFlushed, FlushFailed, WriteBuried
from acache.protocols import Saved
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer
from acache.testing.shared_journal import JournalServer, MemorySharedJournal

pytestmark = pytest.mark.asyncio


class Table:
    """A source in a dict, which can be away, be held up, or refuse what is bad."""

    def __init__(self) -> None:
        self.rows: dict[int, object] = {}
        self.away = False
        self.loads: list[list[int]] = []
        self.saves: list[dict[int, object]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()

    async def load(self, keys: Sequence[int]) -> Mapping[int, object]:
        self.loads.append(list(keys))
        await asyncio.sleep(0)
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def save(self, items: Mapping[int, object], *, versions=None) -> Saved[int, object]:
        self.reached.set()
        await self.gate.wait()
        if self.away:
            raise SourceUnavailable("away")
        if "bad" in items.values():
            raise SourceRefused("bad data")
        self.saves.append(dict(items))
        self.rows |= items
        return Saved()

    async def remove(self, keys: Sequence[int], *, versions=None) -> Saved[int, object]:
        for key in keys:
            self.rows.pop(key, None)
        return Saved()


class Fleet:
    """Processes over one table, one server of caches and one of journals."""

    def __init__(self) -> None:
        self.table = Table()
        self.remote = MemoryServer()
        self.journal = JournalServer(lambda: asyncio.get_running_loop().time())
        self.events: list[object] = []

    @asynccontextmanager
    async def process(self, **options):
        """Open the pattern of one more process; a long max_delay keeps it from flushing by itself."""
        options = {"ttl": 60, "max_delay": 60, "id_type": int, **options}
        journal = options.pop("journal", None) or MemorySharedJournal(self.journal)
        async with Cache(MemoryRemote(self.remote)) as cache:
            cache.subscribe(self.events.append)
            async with WriteBehind(cache, self.table, key="row:{}", journal=journal, **options) as rows:
                yield rows

    def happened(self, kind: type) -> bool:
        """Say whether an event of this kind came."""
        return any(isinstance(event, kind) for event in self.events)


@pytest.fixture
def fleet():
    return Fleet()


async def until(true) -> None:
    """Let others run until something holds."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_write_is_read_at_once_in_every_process_and_reaches_the_source(fleet):
    fleet.table.gate.clear()
    async with fleet.process() as mine, fleet.process() as theirs:
        await mine.put(1, "a")
        assert await mine.get(1) == await theirs.get(1) == "a"
        fleet.remote.restart()  # the cache forgets everything: what is pending is in the journal
        await theirs._cache.clear()
        assert await theirs.get(1) == "a"
        assert await theirs.get_many([1, 2]) == {1: "a"}
        assert fleet.table.rows == {}
        assert fleet.table.loads == [[2]]
        fleet.table.gate.set()
        await mine.flush()
        assert fleet.table.rows == {1: "a"}
        assert fleet.journal.everything() == []


async def test_a_removal_is_read_at_once_in_every_process(fleet):
    fleet.table.rows[1] = "old"
    fleet.table.gate.clear()
    async with fleet.process() as mine, fleet.process() as theirs:
        assert await theirs.get(1) == "old"
        await mine.remove(1)
        assert await theirs.get(1) is None
        assert fleet.table.loads == [[1]]
        fleet.table.gate.set()
        await theirs.flush()
        assert fleet.table.rows == {}


async def test_what_a_closed_or_dead_process_left_is_flushed_by_others(fleet):
    fleet.table.away = True
    async with fleet.process() as mine:
        await mine.put(1, "a")
        await mine.aclose(timeout=0)
    assert fleet.journal.pending(["row:1"])
    fleet.table.away = False
    async with fleet.process() as theirs:
        assert theirs.backlog.pending == 1
        await theirs.flush()
    assert fleet.table.rows == {1: "a"}


async def test_a_key_is_flushed_by_one_process_at_a_time_and_in_order(fleet):
    async with fleet.process(max_delay=0) as mine, fleet.process(max_delay=0) as theirs:
        for value in range(30):
            await (mine, theirs)[value % 2].put(1, value)
            if value % 7 == 0:
                await asyncio.sleep(0.001)
        await mine.flush()
    saved = [items[1] for items in fleet.table.saves]
    assert saved == sorted(saved)
    assert saved[-1] == 29


async def test_flushing_waits_for_what_other_processes_have_written(fleet):
    fleet.table.gate.clear()
    async with fleet.process() as mine, fleet.process(max_delay=0) as theirs:
        await theirs.put(1, "a")
        await fleet.table.reached.wait()  # they have claimed it
        await theirs.put(1, "b")
        flushing = asyncio.create_task(mine.flush())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not flushing.done()
        fleet.table.gate.set()
        await flushing
    assert fleet.table.saves == [{1: "a"}, {1: "b"}]


async def test_a_source_that_is_away_is_tried_again(fleet):
    fleet.table.away = True
    async with fleet.process(max_delay=0) as mine:
        await mine.put(1, "a")
        await until(lambda: fleet.happened(FlushFailed))
        fleet.table.away = False
        await mine.flush()
        assert fleet.table.rows == {1: "a"}
        assert mine.backlog.retrying == 0
    assert fleet.happened(BatchFlushed)


async def test_a_poisoned_write_stands_alone_and_can_be_tried_again(fleet):
    async with fleet.process() as mine, fleet.process() as theirs:
        await mine.put_many({key: "bad" if key == 3 else "ok" for key in range(6)})
        await mine.flush()
        assert fleet.table.rows == dict.fromkeys({0, 1, 2, 4, 5}, "ok")
        assert await theirs.get(3) is None
        [letter] = [letter async for letter in theirs.dead_letters()]
        assert (letter.key, mine.backlog.dead) == ("row:3", 1)

        async def lenient(items, *, versions=None):
            fleet.table.rows |= items
            return Saved()

        fleet.table.save = lenient
        await theirs.requeue(letter)
        await theirs.flush()
        assert fleet.table.rows[3] == "bad"
        assert theirs.backlog.dead == 0
    assert fleet.happened(WriteBuried)


async def test_a_dead_letter_can_be_discarded(fleet):
    async with fleet.process() as mine:
        await mine.put(1, "bad")
        await mine.flush()
        [letter] = [letter async for letter in mine.dead_letters()]
        await mine.discard(letter)
        assert mine.backlog.dead == 0
        with pytest.raises(JournalFailed):
            await mine.requeue(letter)


async def test_a_flusher_whose_claim_ends_in_the_middle_stops(fleet):
    """Its journal cannot be reached, so it cannot renew: others take over while it still waits."""
    cut_off = MemorySharedJournal(fleet.journal)
    fleet.table.gate.clear()
    async with fleet.process(max_delay=0, claim_ttl=0.05, journal=cut_off) as mine:
        await mine.put(1, "a")
        await fleet.table.reached.wait()
        cut_off.network.down = True
        await until(lambda: fleet.happened(FlushFailed))
        [failed] = {event.error for event in fleet.events if isinstance(event, FlushFailed)} - {
            "JournalFailed"
        }
        assert failed == ClaimLost.__name__
        fleet.table.gate.set()
        async with fleet.process() as theirs:
            await theirs.flush()
        assert fleet.table.saves == [{1: "a"}]
        cut_off.network.down = False


async def test_a_claim_is_renewed_while_a_statement_takes_longer(fleet):
    fleet.table.gate.clear()
    async with fleet.process(max_delay=0, claim_ttl=0.6) as mine, fleet.process() as theirs:
        await mine.put(1, "a")
        await fleet.table.reached.wait()
        flushing = asyncio.create_task(theirs.flush())
        await asyncio.sleep(0.9)
        fleet.table.gate.set()
        await flushing
    assert fleet.table.saves == [{1: "a"}]
    assert not fleet.happened(FlushFailed)


async def test_a_write_that_a_process_cannot_read_is_left_to_those_who_can(fleet, caplog):
    async with fleet.process(max_delay=60) as mine, fleet.process(type=int, claim_ttl=0.02) as older:
        await mine.put(1, "text")
        await mine.put(2, 2)
        older._backlog._more = True
        older._backlog.wake()
        await until(lambda: 2 in fleet.table.rows)
        assert fleet.table.rows == {2: 2}
        assert "row:1" in caplog.text
        await mine.flush()
    assert fleet.table.rows == {1: "text", 2: 2}


async def test_the_limit_of_the_backlog_counts_what_other_processes_wrote(fleet):
    fleet.table.gate.clear()
    async with fleet.process() as theirs:
        await theirs.put_many({1: "a", 2: "b"})
        async with fleet.process(max_backlog=2, on_full="raise") as mine:
            with pytest.raises(BacklogFull):
                await mine.put(3, "c")
            fleet.table.gate.set()
            await mine.flush()
            await mine.put(3, "c")


async def test_an_entry_that_is_exactly_what_was_flushed_stays_cached(fleet):
    async with fleet.process() as mine:
        await mine.put(1, "a")
        await mine.flush()
        assert await mine.get(1) == "a"
    assert fleet.table.loads == []


async def test_a_journal_that_is_away_fails_loads_and_writes_and_no_hit(fleet):
    journal = MemorySharedJournal(fleet.journal)
    async with fleet.process(journal=journal) as mine:
        await mine.put(1, "a")
        journal.network.down = True
        assert await mine.get(1) == "a"
        with pytest.raises(JournalFailed):
            await mine.get(2)
        with pytest.raises(JournalFailed):
            await mine.put(2, "b")
        with pytest.raises(JournalFailed):
            await mine.flush()
        journal.network.down = False
        assert await mine.get(2) is None


async def test_numbers_are_the_journals_whatever_the_clocks_of_processes_say(fleet):
    fleet.table.gate.clear()
    async with fleet.process() as mine, fleet.process() as theirs:
        theirs._process.clock = type(
            "Late", (), {"time": lambda _: 5.0, "monotonic": mine._process.clock.monotonic}
        )()
        await mine.put(1, "a")
        await theirs.put(1, "b")
        fleet.remote.restart()
        assert await theirs.get(1) == "b"
        fleet.table.gate.set()
        await mine.flush()
    assert fleet.table.rows == {1: "b"}


async def test_a_claim_must_last_some_time(fleet):
    with pytest.raises(ConfigurationError, match="claim_ttl"):
        async with fleet.process(claim_ttl=0):
            pass
