"""The checker of histories: what it allows, and that it finds each kind of stale read."""

import asyncio
from itertools import count

import pytest

from acache import Cache
from acache.testing import History, StaleRead, ViolationFound, explore

READ, LOAD, CHANGE, STORE, BLOCK = "read", "load", "change", "store", "block"


def history_of(*lines, max_lag=0.0):
    """Build a history from lines "begin time, end time, kind, process, value"; all begins and ends differ."""
    moments = sorted(
        [(line[0], index, True) for index, line in enumerate(lines)]
        + [(line[1], index, False) for index, line in enumerate(lines)]
    )
    clock = [0.0]
    history = History(lambda: clock[0], max_lag=max_lag)
    verbs = {
        READ: history.reading,
        LOAD: history.loading,
        CHANGE: history.changing,
        STORE: history.changing,
        BLOCK: history.changing,
    }
    running = {}
    for at, index, begins in moments:
        clock[0] = at
        _, _, kind, process, value = lines[index]
        if begins:
            running[index] = verbs[kind]("k", process=process)
            running[index] = (running[index], running[index].__enter__())
            continue
        block, operation = running[index]
        if kind != CHANGE and value is not None:
            operation.value = value
        if kind == BLOCK:
            operation.from_here()
        block.__exit__(None, None, None)
    return history


FINE = {
    "a fresh read": [(0, 1, LOAD, "a", 1), (2, 3, READ, "a", 1)],
    "a load after the change": [(0, 1, CHANGE, "a", None), (2, 3, LOAD, "a", 1), (4, 5, READ, "a", 1)],
    "a load that began while the change ran": [
        (0, 2, CHANGE, "a", None),
        (1, 3, LOAD, "a", 1),
        (4, 5, READ, "a", 1),
    ],
    "a read that began before the change was over": [
        (0, 1, LOAD, "a", 1),
        (2, 5, CHANGE, "a", None),
        (4, 6, READ, "a", 1),
    ],
    "the value of a set": [(0, 1, LOAD, "a", 1), (2, 3, STORE, "a", 2), (4, 5, READ, "a", 2)],
    "the value of a set under way": [(2, 5, STORE, "a", 2), (3, 4, READ, "a", 2)],
    "either of two sets at once": [
        (0, 3, STORE, "a", 1),
        (1, 4, STORE, "a", 2),
        (5, 6, READ, "a", 1),
        (7, 8, READ, "a", 2),
    ],
    "a copy elsewhere within the lag": [
        (0, 1, LOAD, "a", 1),
        (2, 3, CHANGE, "a", None),
        (4, 5, READ, "b", 1),
    ],
    "a miss": [(0, 1, CHANGE, "a", None), (2, 3, READ, "a", None)],
}

STALE = {
    "a load before the change": [(0, 1, LOAD, "a", 1), (2, 3, CHANGE, "a", None), (4, 5, READ, "a", 1)],
    "a load that was running when the change began": [(0, 5, LOAD, "a", 1), (2, 3, CHANGE, "a", None), (6, 7, READ, "a", 1)],
    "a value older than a set": [(0, 1, LOAD, "a", 1), (2, 3, STORE, "a", 2), (4, 5, READ, "a", 1)],
    "the earlier of two sets": [(0, 1, STORE, "a", 1), (2, 3, STORE, "a", 2), (4, 5, READ, "a", 1)],
    "a load inside a writing block": [(0, 4, BLOCK, "a", None), (1, 2, LOAD, "a", 1), (5, 6, READ, "a", 1)],
    "a copy elsewhere past the lag": [(0, 1, LOAD, "a", 1), (2, 3, CHANGE, "a", None), (9, 10, READ, "b", 1)],
    "a value that nobody made": [(0, 1, LOAD, "a", 1), (2, 3, READ, "a", 7)],
    "a value from the future": [(2, 3, LOAD, "a", 1), (0, 1, READ, "a", 1)],
}  # fmt: skip


@pytest.mark.parametrize("lines", FINE.values(), ids=FINE)
def test_allowed(lines):
    assert history_of(*lines, max_lag=5.0).violations() == []


@pytest.mark.parametrize("lines", STALE.values(), ids=STALE)
def test_found(lines):
    history = history_of(*lines, max_lag=5.0)
    assert len(history.violations()) == 1
    with pytest.raises(StaleRead, match="a read of 'k'"):
        history.check()


def test_without_a_lag_another_process_sees_a_change_at_once():
    lines = [(0, 1, LOAD, "a", 1), (2, 3, CHANGE, "a", None), (4, 5, READ, "b", 1)]
    assert len(history_of(*lines).violations()) == 1


def test_a_change_that_has_not_landed_binds_its_own_process_only():
    clock = [0.0]
    history = History(lambda: clock[0])

    def read(process):
        with history.reading("k", process=process) as reading:
            reading.value = 1

    with history.loading("k") as load:
        load.value = 1
    with history.changing("k", process="a", lands=False) as change:
        pass
    read("b")
    assert not history.violations()
    read("a")
    assert [violation.process for violation in history.violations()] == ["a"]
    clock[0] = 1.0
    history.land(change)
    clock[0] = 2.0
    read("b")
    assert [violation.process for violation in history.violations()] == ["a", "b"]


def test_what_raised_counts_for_nothing():
    history = History(lambda: 0.0)
    with history.loading("k") as load:
        load.value = 1
    with pytest.raises(ValueError), history.changing("k"):
        raise ValueError
    with history.reading("k") as read:
        read.value = 1
    assert (history.reads, history.violations()) == (1, [])


# --- with a cache under the simulator: a right one, and one that forgets what runs -------------------


class NaiveCache:
    """Invalidates what is stored, and not what is being loaded."""

    def __init__(self):
        self.values = {}

    async def get_or_load(self, key, load, **_):
        if key not in self.values:
            self.values[key] = await load()
        return self.values[key]

    async def invalidate(self, key):
        self.values.pop(key, None)


def readers_and_a_writer(make):
    async def scenario(sim):
        cache, history, number = make(sim), History(sim.loop.time), count()

        async def load():
            with history.loading("k") as loading:
                await sim.switch()
                loading.value = next(number)
                await sim.switch()
                return loading.value

        async def read():
            with history.reading("k") as reading:
                reading.value = await cache.get_or_load("k", load, ttl=60)

        async def change():
            with history.changing("k"):
                await cache.invalidate("k")
            await read()

        await asyncio.gather(read(), read(), change(), change(), read())
        history.check()
        if isinstance(cache, Cache):
            await cache.aclose()

    return scenario


def test_acache_keeps_the_model():
    explore(readers_and_a_writer(lambda sim: Cache("memory://", clock=sim.clock, rng=sim.random)))


def test_a_naive_cache_breaks_it():
    with pytest.raises(ViolationFound, match="a read of 'k' returned"):
        explore(readers_and_a_writer(lambda sim: NaiveCache()))
