"""The wrappers: the same powers, errors of the protocol, chance by seed; and what caches make of them."""

import asyncio
from itertools import count
from random import Random

import pytest

from acache import Cache, MemoryJournal, ReadThrough, WriteBehind
from acache.codecs import MsgpackCodec
from acache.errors import CodecError, JournalFailed, SourceUnavailable, StoreUnavailable
from acache.protocols import Feed, Item, Leases, RemoteStore, Saved, SharedJournal, WritableSource
from acache.testing import Chaos, History, chaotic, explore
from acache.testing.remote import LeasingRemote, MemoryRemote, PlainRemote
from acache.testing.server import MemoryServer


class Table:
    version_column = None

    def __init__(self):
        self.rows = {}

    async def load(self, keys):
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def save(self, items, *, versions=None):
        self.rows.update(items)
        return Saved()

    async def remove(self, keys, *, versions=None):
        for key in keys:
            self.rows.pop(key, None)
        return Saved()


@pytest.mark.parametrize("kind", [PlainRemote, LeasingRemote, MemoryRemote])
def test_a_chaotic_part_can_do_what_the_part_can(kind):
    part = kind(MemoryServer())
    for protocol in (RemoteStore, Leases, Feed, SharedJournal):
        assert isinstance(chaotic(part, Chaos()), protocol) == isinstance(part, protocol)
    assert chaotic(part, Chaos()).server is part.server


def test_it_keeps_what_is_no_method():
    assert chaotic(MsgpackCodec(), Chaos()).name == "msgpack"
    assert chaotic(Table(), Chaos()).version_column is None
    assert isinstance(chaotic(Table(), Chaos()), WritableSource) or not hasattr(
        WritableSource, "_is_runtime_protocol"
    )
    with pytest.raises(TypeError, match="is no remote store, source, journal or codec"):
        chaotic(object(), Chaos())


ITEM = Item(key="ns:{k}", data=b"1", ttl=60)


@pytest.mark.asyncio
async def test_each_part_fails_with_its_own_error():
    server = MemoryServer()
    for part, call, error in (
        (MemoryRemote(server), lambda part: part.set_many([ITEM]), StoreUnavailable),
        (Table(), lambda part: part.save({1: 1}), SourceUnavailable),
        (MemoryJournal(), lambda part: part.append([]), JournalFailed),
    ):
        with pytest.raises(error, match="chaos: "):
            await call(chaotic(part, Chaos(fails=1.0)))
    with pytest.raises(CodecError):
        chaotic(MsgpackCodec(), Chaos(fails=1.0)).encode(1)
    assert server.get("ns:{k}") is None


@pytest.mark.asyncio
async def test_a_lost_answer_had_its_effect():
    table, chaos = Table(), Chaos(loses=1.0)
    with pytest.raises(SourceUnavailable, match="answer"):
        await chaotic(table, chaos).save({1: 1})
    assert table.rows == {1: 1}
    assert chaos.struck == {"loses": 1}


@pytest.mark.asyncio
async def test_a_seed_repeats_what_strikes():
    async def outcomes(seed):
        table = chaotic(Table(), Chaos(rng=Random(seed), fails=0.3, loses=0.3))
        found = []
        for number in range(40):
            try:
                await table.save({1: number})
                found.append("fine")
            except SourceUnavailable as error:
                found.append(str(error))
        return found

    assert await outcomes(1) == await outcomes(1) != await outcomes(2)


def fleet_over(kind):
    """Return a scenario: two caches over one server, every request and message in doubt."""

    async def scenario(sim):
        server, history, number = MemoryServer(rng=sim.random), History(sim.loop.time, max_lag=2.0), count()
        chaos = Chaos(
            rng=sim.random,
            fails=0.1,
            loses=0.1,
            delay=0.01,
            hangs=0.02,
            repeats=0.2,
            gaps=0.1,
            on_fault=sim.fault,
        )

        async def load():
            with history.loading("k") as loading:
                await sim.switch()
                loading.value = next(number)
                await sim.switch()
                return loading.value

        async def live(name):
            cache = Cache(
                chaotic(kind(server), chaos),
                near=kind is MemoryRemote,
                codec=chaotic(MsgpackCodec(), chaos),
                clock=sim.current.clock,
                rng=sim.random,
                ids=lambda: sim.random.randbytes(16),
                max_staleness=2.0,
            )
            async with cache:
                for _ in range(5):
                    with history.reading("k", process=name) as reading:
                        reading.value = await cache.get_or_load("k", load, ttl=60, type=int)
                    with history.changing("k", process=name, lands=False):
                        await cache.invalidate("k")
                    await asyncio.sleep(sim.random.choice((0, 0.01, 0.5)))

        for name in "a" if kind is PlainRemote else "ab":  # which promises nothing between processes
            sim.process(name).spawn(live(name))
        await sim.join()
        history.check()

    return scenario


@pytest.mark.parametrize("kind", [PlainRemote, LeasingRemote, MemoryRemote])
def test_no_read_fails_and_none_is_stale_whatever_the_store_does(kind):
    found = explore(fleet_over(kind), seeds=range(30))
    assert found.faults > 20


async def written_behind(sim):
    table, journal = Table(), MemoryJournal()
    chaos = Chaos(rng=sim.random, on_fault=sim.fault)
    acknowledged = {}
    async with Cache(clock=sim.clock, rng=sim.random) as cache:
        rows = WriteBehind(
            cache,
            chaotic(table, chaos),
            key="r:{}",
            ttl=60,
            journal=chaotic(journal, chaos),
            max_delay=0.01,
            type=int,
        )
        async with rows:
            chaos.fails, chaos.loses, chaos.delay = 0.2, 0.2, 0.01
            for value in range(12):
                try:
                    await rows.put(value % 3, value)
                    acknowledged[value % 3] = value
                except JournalFailed:
                    acknowledged.pop(value % 3, None)  # written or not: nobody was told
            chaos.fails = chaos.loses = 0.0
        for key, value in acknowledged.items():
            sim.check(
                table.rows.get(key) == value, f"{key} is {table.rows.get(key)}, {value} was acknowledged"
            )


def test_what_was_acknowledged_arrives_whatever_journal_and_source_do():
    assert explore(written_behind, seeds=range(40)).faults > 40


@pytest.mark.asyncio
async def test_reading_through_tells_that_the_source_is_away():
    async with Cache() as cache:
        with pytest.raises(SourceUnavailable):
            await ReadThrough(cache, chaotic(Table(), Chaos(fails=1.0)), key="r:{}", ttl=60).get(1)
