"""P7 over a journal that processes share: nothing acknowledged is lost, hidden or overtaken, whoever dies or sleeps."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from acache import MISSING, Cache, ReadThrough, WriteBehind
from acache._flusher import Flusher
from acache._journal_claim import JournalClaim
from acache.errors import SourceUnavailable
from acache.protocols import Saved
from acache.testing import Sim, explore
from acache.testing.network import Network
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer
from acache.testing.shared_journal import JournalServer, MemorySharedJournal

SEEDS = range(20)
KEYS = ("a", "b", "c")
CLAIM = 0.5  # seconds


@dataclass(slots=True, eq=False)
class Put:
    """One call of `put` or `remove`, between two moments of the schedule."""

    key: str
    value: int  # 0 for a removal
    began: int
    ended: int | None = None  # when it was acknowledged

    def before(self, other: "Put") -> bool:
        """Say whether this one was acknowledged before the other began: then the other wins."""
        return self.ended is not None and self.ended < other.began


class Table:
    """The source. One statement at a time is applied, somewhere between its begin and its end.

    With *guarded* it compares versions and keeps tombstones; with *late* a statement that times out may
    still be applied, much later."""

    def __init__(self, run: "Run", *, guarded: bool, late: bool) -> None:
        self.version_column = "version" if guarded else None
        self.late = late
        self.run = run
        self.rows: dict[str, tuple[int, int]] = {}  # value (0: gone) and version
        self.history: dict[str, list[int]] = {key: [] for key in KEYS}

    async def _travel(self) -> None:
        random = self.run.sim.random
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
        await asyncio.sleep(random.choice((0, 0, 0.01)))

    async def load(self, keys: Sequence[str]) -> Mapping[str, int]:
        await self._travel()
        found = {key: self.rows[key][0] for key in keys if self.rows.get(key, (0, 0))[0]}
        await self._travel()
        return found

    async def save(self, items: Mapping[str, int], *, versions=None) -> Saved[str, int]:
        return await self._execute(items, versions)

    async def remove(self, keys: Sequence[str], *, versions=None) -> Saved[str, int]:
        return await self._execute(dict.fromkeys(keys, 0), versions)

    async def _execute(self, items: Mapping[str, int], versions) -> Saved[str, int]:
        random = self.run.sim.random
        if random.random() < 0.7:  # otherwise it is sent before the driver waits for anything
            await self._travel()
        fate = random.random()
        if fate < 0.1:
            raise SourceUnavailable("away")
        if self.late and fate < 0.3:
            asyncio.get_running_loop().call_later(random.choice((0.1, 3.0)), self._apply, items, versions)
            raise SourceUnavailable("no answer in time")
        refused = self._apply(items, versions)
        await self._travel()
        return Saved(refused=tuple(refused))

    def _apply(self, items: Mapping[str, int], versions) -> list[str]:
        refused = []
        for key, value in items.items():
            version = 0 if versions is None else versions[key]
            if versions is not None and self.rows.get(key, (0, 0))[1] > version:
                refused.append(key)
            else:
                self.rows[key] = (value, version)
                self.history[key].append(value)
        return refused


class Run:
    """A fleet over one table, one server of caches and one journal, and what was acknowledged to whom."""

    def __init__(self, sim: Sim, *, guarded: bool = False, late: bool = False) -> None:
        self.sim = sim
        self.table = Table(self, guarded=guarded, late=late)
        self.remote = MemoryServer(rng=sim.random)
        self.journal = JournalServer(sim.loop.time)
        self.puts: dict[str, list[Put]] = {key: [] for key in KEYS}
        self.moment = 0

    def pattern(self, journal: MemorySharedJournal | None = None, *, max_delay: float = 0.01) -> WriteBehind:
        """Make the pattern; in the process that uses it."""
        sim = self.sim
        store = MemoryRemote(self.remote, network=Network(rng=sim.random))
        cache = Cache(store, clock=sim.current.clock, rng=sim.random, ids=lambda: sim.random.randbytes(16))
        return WriteBehind(
            cache,
            self.table,
            key="row:{}",
            journal=journal or MemorySharedJournal(self.journal, network=Network(rng=sim.random)),
            ttl=600,
            batch_size=2,
            max_delay=max_delay,
            claim_ttl=CLAIM,
            type=int,
            id_type=str,
        )

    def now(self) -> int:
        """Return a moment of its own."""
        self.moment += 1
        return self.moment

    async def put(self, rows: WriteBehind, key: str, *, gone: bool = False) -> None:
        """Put the next value of *key*, or remove it, and note when that was acknowledged."""
        put = Put(key, 0 if gone else 1 + len(self.puts[key]), self.now())
        self.puts[key].append(put)
        await (rows.remove(key) if gone else rows.put(key, put.value))
        put.ended = self.now()

    async def read(self, rows: WriteBehind, key: str) -> None:
        """Read *key*: nothing older than what was acknowledged before may be seen."""
        floor = [put for put in self.puts[key] if put.ended is not None]
        value = await rows.get(key) or 0
        self.sim.check(
            not self.outdated(key, value, floor), f"read {value} of {key!r}, {floor} were acknowledged"
        )

    def outdated(self, key: str, value: int, floor: Sequence[Put]) -> bool:
        """Say whether *value* is older than one of *floor*; what was never put is older than all."""
        mine = [put for put in self.puts[key] if put.value == value]
        if not mine:
            return bool(floor)
        return all(any(put.before(other) for other in floor) for put in mine)

    def check_arrived(self) -> None:
        """Every acknowledged write is in the table, or one that won; and the table never went back."""
        for key in KEYS:
            value = self.table.rows.get(key, (0, 0))[0]
            floor = [put for put in self.puts[key] if put.ended is not None]
            self.sim.check(not self.outdated(key, value, floor), f"{key!r} is {value} in the table: {floor}")
            history = self.table.history[key]
            for at, later in enumerate(history):
                before = [put for put in self.puts[key] if put.value in history[:at] and put.value]
                self.sim.check(
                    not later or not self.outdated(key, later, before), f"{key!r} went back: {history}"
                )
        self.sim.check(not self.journal.everything(), "something is left in the journal")

    async def work(self, *, times: int = 3, removing: bool = False) -> None:
        """Write and read several keys at once in the current process, then flush."""
        sim = self.sim
        random = sim.random

        async def write(key: str) -> None:
            for _ in range(times):
                await self.put(rows, key, gone=removing and random.random() < 0.3)
                await asyncio.sleep(random.choice((0, 0, 0.01)))

        async def read(key: str) -> None:
            for _ in range(times):
                await self.read(rows, key)
                await asyncio.sleep(random.choice((0, 0.01)))

        async with self.pattern() as rows, asyncio.TaskGroup() as group:
            for key in KEYS:
                group.create_task(write(key))
                group.create_task(read(key))
        await rows._cache.aclose()

    async def evict(self) -> None:
        """Let the server of caches forget entries now and then."""
        for _ in range(6):
            await asyncio.sleep(self.sim.random.choice((0, 0.005, 0.02)))
            self.remote.evict(keys=self.remote.keys())

    async def finish(self) -> None:
        """Read and flush what is left, in one more process."""

        async def last() -> None:
            async with self.pattern() as rows:
                for key in KEYS:
                    await self.read(rows, key)
                await rows.flush()
                for key in KEYS:
                    await self.read(rows, key)
            await rows._cache.aclose()

        process = self.sim.process("last")
        await process.run(last())
        process.kill()
        self.check_arrived()


async def two_processes(sim: Sim) -> None:
    """Both write and read the same keys, with clocks that differ, while entries are evicted."""
    run = Run(sim)
    processes = [sim.process("ahead", wall_skew=50.0), sim.process("behind", wall_skew=-50.0)]
    for process in processes:
        process.spawn(run.work())
    sim.spawn(run.evict())
    await sim.join()
    run.check_arrived()
    for process in processes:
        process.kill()


async def removals(sim: Sim) -> None:
    """One removes rows, which leaves nothing in the cache, while the other reads them; the flush is far."""
    run = Run(sim)
    run.table.rows = dict.fromkeys(KEYS, (100, 0))
    removing, reading = sim.process("removing"), sim.process("reading")

    async def remove() -> None:
        async with run.pattern(max_delay=1.0) as rows:
            for key in KEYS:
                await run.put(rows, key, gone=True)
            await asyncio.sleep(0.5)

    async def read() -> None:
        async with run.pattern(max_delay=1.0) as rows:
            for _ in range(4):
                await asyncio.gather(*(run.read(rows, key) for key in KEYS))
            await asyncio.sleep(0.1)
            await asyncio.gather(*(run.read(rows, key) for key in KEYS))
        await rows._cache.aclose()

    removing.spawn(remove())
    reading.spawn(read())
    await sim.join()
    removing.kill()
    reading.kill()
    await run.finish()


async def one_dies(sim: Sim) -> None:
    """One is killed at any instant; the other takes over what it had claimed."""
    run = Run(sim)
    dying, living = sim.process("dying"), sim.process("living")
    dying.spawn(run.work())
    living.spawn(run.work())
    sim.sometime(dying.kill, within=200)
    await sim.join()
    dying.kill()
    living.kill()
    await run.finish()


async def all_die(sim: Sim) -> None:
    """All are killed, each at any instant; what was acknowledged is flushed by those who come after."""
    run = Run(sim)
    processes = [sim.process("one"), sim.process("other")]
    for process in processes:
        process.spawn(run.work())
        sim.sometime(process.kill, within=200)
    await sim.join()
    for process in processes:
        process.kill()
    await run.finish()


async def one_sleeps(sim: Sim) -> None:
    """One is paused at any instant, past its claim; others take over, and then it wakes. Statements run late."""
    run = Run(sim, guarded=True, late=True)
    sleeper, waking = sim.process("sleeper"), sim.process("waking")
    sleeper.spawn(run.work(removing=True))
    waking.spawn(run.work(times=6, removing=True))
    sim.sometime(sleeper.pause, within=200)
    await waking.join()
    await asyncio.sleep(CLAIM * sim.random.choice((0.5, 2, 6)))
    sleeper.resume()
    await sim.join()
    await asyncio.sleep(5)  # statements that were late
    sleeper.kill()
    waking.kill()
    await run.finish()


async def one_sleeps_after_its_claim(sim: Sim) -> None:
    """One is paused between its claim's answer and the statement: it has to see that it is too late."""
    run = Run(sim)
    sleeper, waking = sim.process("sleeper"), sim.process("waking")

    class Drowsy(MemorySharedJournal):
        async def claim(self, limit, token, *, ttl):
            found = await super().claim(limit, token, ttl=ttl)
            if found and not sleeper.killed:
                sleeper.pause()
                await asyncio.sleep(0)  # where it stands until it is resumed
            return found

    async def doze() -> None:
        async with run.pattern(Drowsy(run.journal, network=Network(rng=sim.random))) as rows:
            await run.put(rows, "a")
            await asyncio.sleep(10)

    async def write() -> None:
        async with run.pattern() as rows:
            await asyncio.sleep(CLAIM * 2)
            await run.put(rows, "a")
            await rows.flush()
            sleeper.resume()
            await asyncio.sleep(1)
            await rows.flush()
        await rows._cache.aclose()

    sleeper.spawn(doze())
    await waking.run(write())
    sleeper.kill()
    waking.kill()
    await run.finish()


SCENARIOS = (two_processes, removals, one_dies, all_die, one_sleeps, one_sleeps_after_its_claim)


@pytest.mark.parametrize("scheduler", ["random", "pct"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_acknowledged_writes_of_a_fleet_arrive(scenario, scheduler):
    explore(scenario, seeds=SEEDS, scheduler=scheduler)


# --- planted bugs -----------------------------------------------------------------------------------


def acknowledge_before_journal(patch) -> None:
    """The write is acknowledged, under its number, while the journal still writes."""

    async def append_next(self, writes):
        await asyncio.sleep(0)
        first = self.server.highest = max(self.server.highest + 1, 10**12)
        numbered = [replace(write, sequence=first + place) for place, write in enumerate(writes)]
        self.server.highest += len(writes)

        async def later():
            for _ in range(5):
                await asyncio.sleep(0)
            self.server.append(numbered)

        self.task = asyncio.ensure_future(later())
        return numbered

    patch.setattr(MemorySharedJournal, "append_next", append_next)


def range_acknowledgement(patch) -> None:
    """Settling forgets everything up to the highest number of the batch, of whatever key."""

    def settle(self, flushed, token):
        for key in list(self.writes):
            self._forget(key, max(flushed.values()))
        for key in [key for key in flushed if self._owns(key, token)]:
            self._offer(key)
        for key in [key for key in self.queue if key not in self.writes]:
            del self.queue[key]
        return []

    patch.setattr(JournalServer, "settle", settle)


def journal_not_looked_at(patch) -> None:
    """Loads go to the source, past what is pending."""
    patch.setattr(WriteBehind, "_load", ReadThrough._load)


def looked_at_before_the_lease(patch) -> None:
    """What is not cached is looked for in the journal and then loaded, from the source alone."""

    async def get(self, id):
        await self._start()
        key = self.key(id)
        cached = await self._cache.get(key, default=MISSING, type=int)
        if cached is not MISSING:
            return cached
        found = await self._backlog.look([key])
        return found[key].value if key in found else await ReadThrough.get(self, id)

    patch.setattr(WriteBehind, "get", get)
    patch.setattr(WriteBehind, "_load", ReadThrough._load)


def no_version_guard(patch) -> None:
    """Statements say nothing of versions, also those of a flusher that was paused."""
    patch.setattr(Flusher, "_versions", lambda self, batch, ids: {"versions": dict.fromkeys(ids, 10**18)})


def claim_not_checked(patch) -> None:
    """A flusher that was paused sends what it had claimed, however long ago."""

    async def check(self):
        pass

    patch.setattr(JournalClaim, "check", check)


def claims_do_not_exclude(patch) -> None:
    """A key can be claimed while another flushes it."""
    claim = JournalServer.claim

    def claimed(self, limit, token, ttl):
        for standing in self.claims.values():
            standing.until = self.now()
        return claim(self, limit, token, ttl)

    patch.setattr(JournalServer, "claim", claimed)


def numbers_by_the_clocks_of_processes(patch) -> None:
    """Each process numbers its writes by its own clock."""

    def append_next(self, writes):
        numbered = [replace(write, sequence=int(write.at * 1e6)) for write in writes]
        self.append(numbered)
        return numbered

    patch.setattr(JournalServer, "append_next", append_next)


def acknowledge_before_save(patch) -> None:
    """The journal forgets a batch before the source has it."""
    send = Flusher._send

    async def sent(self, batch):
        numbers = {each.write.key: each.write.sequence for each in batch}
        await self._supply._journal.acknowledge(numbers)
        return await send(self, batch)

    patch.setattr(Flusher, "_send", sent)


def claims_of_the_dead_stand(patch) -> None:
    """What a dead process had claimed is never taken over."""
    claim = JournalServer.claim
    patch.setattr(JournalServer, "claim", lambda self, limit, token, ttl: claim(self, limit, token, 1e9))


MUTANTS = {
    acknowledge_before_journal: all_die,
    range_acknowledgement: all_die,
    journal_not_looked_at: two_processes,
    looked_at_before_the_lease: removals,
    no_version_guard: one_sleeps,
    claim_not_checked: one_sleeps_after_its_claim,
    claims_do_not_exclude: two_processes,
    numbers_by_the_clocks_of_processes: two_processes,
    acknowledge_before_save: all_die,
    claims_of_the_dead_stand: all_die,
}


@pytest.mark.parametrize(("plant", "scenario"), MUTANTS.items(), ids=lambda each: each.__name__)
def test_a_planted_bug_is_caught(plant, scenario, monkeypatch):
    plant(monkeypatch)
    explore(scenario, seeds=range(1000), expect_violation=True)
