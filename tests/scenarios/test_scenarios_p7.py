"""P7, acknowledged writes arrive: in order, last one wins, whatever is killed when."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from acache import Cache, MemoryJournal, WriteBehind
from acache._flusher import Flusher
from acache._overlay import Overlay
from acache.errors import SourceUnavailable
from acache.protocols import Saved
from acache.testing import Sim, explore
from acache.testing.network import Network
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer

SEEDS = range(120)
KEYS = ("a", "b", "c")


class Disk(MemoryJournal):
    """A journal that outlives the process that writes it; every step suspends."""

    async def append(self, writes) -> None:
        await asyncio.sleep(0)
        await super().append(writes)
        await asyncio.sleep(0)

    async def acknowledge(self, flushed) -> None:
        await asyncio.sleep(0)
        await super().acknowledge(flushed)
        await asyncio.sleep(0)


class Table:
    """The source: one row per key, slow now and then, away now and then."""

    version_column = None

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.rows: dict[str, int] = {}
        self.history: dict[str, list[int]] = {key: [] for key in KEYS}

    async def _travel(self) -> None:
        for _ in range(self.sim.random.randrange(3)):
            await asyncio.sleep(0)
        await asyncio.sleep(self.sim.random.choice((0, 0, 0.01)))

    async def load(self, keys: Sequence[str]) -> Mapping[str, int]:
        await self._travel()
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await self._travel()
        return found

    async def save(self, items: Mapping[str, int], *, versions=None) -> Saved[str, int]:
        await self._travel()
        if self.sim.random.random() < 0.15:
            raise SourceUnavailable("away")
        for key, value in items.items():
            self.rows[key] = value
            self.history[key].append(value)
        await self._travel()
        return Saved()

    async def remove(self, keys: Sequence[str], *, versions=None) -> Saved[str, int]:
        await self._travel()
        for key in keys:
            self.rows.pop(key, None)
        return Saved()


class Run:
    """One pattern over one journal, table and server, and what was acknowledged."""

    def __init__(self, sim: Sim, *, remote: bool) -> None:
        self.sim = sim
        self.table = Table(sim)
        self.disk = Disk()
        self.server = MemoryServer(rng=sim.random) if remote else None
        self.acknowledged = dict.fromkeys(KEYS, 0)
        self.issued = dict.fromkeys(KEYS, 0)

    def pattern(self) -> WriteBehind:
        """Make the pattern; in the process that uses it."""
        sim = self.sim
        store = (
            "memory://" if self.server is None else MemoryRemote(self.server, network=Network(rng=sim.random))
        )
        clock = sim.current.clock
        cache = Cache(store, clock=clock, rng=sim.random, ids=lambda: sim.random.randbytes(16))
        return WriteBehind(
            cache,
            self.table,
            key="row:{}",
            journal=self.disk,
            ttl=600,
            batch_size=2,
            max_delay=0.01,
            type=int,
        )

    async def put(self, rows: WriteBehind, key: str) -> None:
        """Put the next value of *key* and note that it was acknowledged."""
        self.issued[key] += 1
        value = self.issued[key]
        await rows.put(key, value)
        self.acknowledged[key] = max(self.acknowledged[key], value)

    async def read(self, rows: WriteBehind, key: str) -> None:
        """Read *key*; what was acknowledged before must be seen."""
        floor = self.acknowledged[key]
        value = await rows.get(key)
        self.sim.check((value or 0) >= floor, f"read {value} of {key!r}, {floor} was acknowledged")

    def check_arrived(self) -> None:
        """Every acknowledged write is in the table, or a later one is; and it never went back."""
        for key in KEYS:
            actual, floor = self.table.rows.get(key, 0), self.acknowledged[key]
            self.sim.check(actual >= floor, f"{key!r} is {actual} in the table, {floor} was acknowledged")
            history = self.table.history[key]
            self.sim.check(history == sorted(history), f"{key!r} went back in the table: {history}")


def writers(run: Run, rows: WriteBehind, spawn) -> None:
    """Write and read several keys at once; puts of one key follow each other."""

    async def write(key: str, times: int) -> None:
        for _ in range(times):
            await run.put(rows, key)
            await asyncio.sleep(run.sim.random.choice((0, 0, 0.01)))

    async def read(key: str) -> None:
        for _ in range(3):
            await run.read(rows, key)
            await asyncio.sleep(run.sim.random.choice((0, 0.01)))

    for key in KEYS:
        spawn(write(key, 3))
        spawn(read(key))


def crash_and_recovery(remote: bool):
    async def scenario(sim: Sim) -> None:
        run = Run(sim, remote=remote)
        first = sim.process("first")

        async def work() -> None:
            rows = run.pattern()
            writers(run, rows, sim.current.spawn)

        first.spawn(work())
        sim.sometime(first.kill, within=150)
        await first.join()
        first.kill()
        second = sim.process("second")

        async def recover() -> None:
            async with run.pattern() as rows:
                for key in KEYS:
                    await run.read(rows, key)
                await rows.flush()
                for key in KEYS:
                    await run.read(rows, key)

        await second.run(recover())
        run.check_arrived()
        second.kill()

    return scenario


def orderly_end(remote: bool):
    async def scenario(sim: Sim) -> None:
        run = Run(sim, remote=remote)
        process = sim.process("only")

        async def work() -> None:
            async with run.pattern() as rows:
                writers(run, rows, sim.current.spawn)
                await sim.current.join()

        await process.run(work())
        run.check_arrived()
        process.kill()

    return scenario


@pytest.mark.parametrize("scheduler", ["random", "pct"])
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_acknowledged_writes_survive_a_kill_at_any_instant(remote, scheduler):
    explore(crash_and_recovery(remote), seeds=SEEDS, scheduler=scheduler)


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_closing_flushes_and_readers_see_every_acknowledged_write(remote):
    explore(orderly_end(remote), seeds=SEEDS)


# --- planted bugs -----------------------------------------------------------------------------------


def acknowledge_before_journal(patch) -> None:
    """The write is acknowledged while the journal still writes."""

    async def append(self, writes):
        async def later():
            for _ in range(5):
                await asyncio.sleep(0)
            await MemoryJournal.append(self, writes)

        self.task = asyncio.ensure_future(later())

    patch.setattr(Disk, "append", append)


def range_acknowledgement(patch) -> None:
    """The journal forgets everything up to the highest number of the batch, of whatever key."""

    async def acknowledge(self, flushed):
        highest = max(flushed.values())
        await MemoryJournal.acknowledge(self, dict.fromkeys(self._pending, highest))

    patch.setattr(Disk, "acknowledge", acknowledge)


def overlay_not_consulted(patch) -> None:
    """Reads go to the cache and the source, past the pending writes."""

    class Blind(Overlay):
        def get(self, key):
            return None

    patch.setattr("acache._own_backlog.Overlay", Blind)


def overlay_left_by_any_number(patch) -> None:
    """A flush takes the key off the overlay although something newer was put meanwhile."""

    def leave(self, standing, now):
        self._standing.pop(standing.write.key, None)

    patch.setattr(Overlay, "leave", leave)


def acknowledge_before_save(patch) -> None:
    """The journal forgets a batch before the source has it."""
    send = Flusher._send

    async def sent(self, batch):
        journal = self._supply._journal
        await journal.acknowledge({each.write.key: each.write.sequence for each in batch})
        return await send(self, batch)

    patch.setattr(Flusher, "_send", sent)


def failed_batch_is_dropped(patch) -> None:
    """A batch that the source could not take leaves the overlay all the same."""

    def give_back(self, standing):
        self._standing.pop(standing.write.key, None)

    patch.setattr(Overlay, "give_back", give_back)


@pytest.mark.parametrize(
    ("plant", "scenario"),
    [
        (acknowledge_before_journal, crash_and_recovery),
        (range_acknowledgement, crash_and_recovery),
        (overlay_not_consulted, orderly_end),
        (overlay_left_by_any_number, orderly_end),
        (acknowledge_before_save, crash_and_recovery),
        (failed_batch_is_dropped, orderly_end),
    ],
    ids=lambda each: each.__name__,
)
def test_a_planted_bug_is_caught(plant, scenario, monkeypatch):
    plant(monkeypatch)
    explore(scenario(False), seeds=range(1000), expect_violation=True)
