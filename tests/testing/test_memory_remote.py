"""The store in memory keeps the contract, and goes wrong exactly as it is told to."""

import asyncio
from functools import partial, wraps
from random import Random

import pytest

from acache.errors import StoreUnavailable
from acache.protocols import BUSY, GRANTED, Feed, Item, Leases, RemoteStore
from acache.testing.contracts.remote_store import RemoteStoreContract
from acache.testing.network import Network
from acache.testing.remote import LeasingRemote, MemoryRemote, PlainRemote
from acache.testing.server import MemoryServer
from acache.testing.simloop import SimLoop

KEY, TAG = "shop:{k}", "shop:{t}"
TOKEN = bytes(16)


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now

    def monotonic(self):
        return self.now


def in_virtual_time(*seeds):
    """Run a test on the simulator's loop, once in order or once for each seed."""

    def plain(test):
        @wraps(test)
        def run(**arguments):
            for seed in seeds or (0,):
                loop = partial(SimLoop, seed, scheduler="random" if seeds else "fifo")
                with asyncio.Runner(loop_factory=loop) as runner:
                    runner.run(test(**arguments))

        return run

    return plain


class TestMemoryRemoteKeepsTheContract(RemoteStoreContract):
    store = MemoryRemote

    @pytest.fixture(autouse=True)
    def _server(self):
        self.clock = Hands()
        self.server = MemoryServer(clock=self.clock)

    def connect(self):
        if self.store is MemoryRemote:
            return MemoryRemote(self.server, ping_every=0.01, reconnect_after=0.0)
        return self.store(self.server)

    async def wait(self, seconds):
        self.clock.now += seconds
        await asyncio.sleep(0.001)

    async def sever(self):
        self.server.hang_up()


class TestLeasingRemoteKeepsTheContract(TestMemoryRemoteKeepsTheContract):
    store = LeasingRemote
    feed = False


class TestPlainRemoteKeepsTheContract(TestMemoryRemoteKeepsTheContract):
    store = PlainRemote
    leases = False
    feed = False


def item(data=b"1", key=KEY):
    return Item(key=key, data=data, ttl=60)


def test_each_class_offers_its_capabilities_and_no_more():
    assert [isinstance(PlainRemote(), one) for one in (RemoteStore, Leases, Feed)] == [True, False, False]
    assert [isinstance(LeasingRemote(), one) for one in (RemoteStore, Leases, Feed)] == [True, True, False]
    assert [isinstance(MemoryRemote(), one) for one in (RemoteStore, Leases, Feed)] == [True, True, True]


@pytest.mark.asyncio
async def test_a_request_and_its_steps_are_counted():
    remote = MemoryRemote()
    await remote.set_many([item(key="shop:{a}"), item(key="shop:{b}")])
    await remote.get_many([])
    assert (remote.requests, remote.steps) == ({"set_many": 1}, {"set_many": 2})


@in_virtual_time()
async def test_other_clients_come_in_between_the_names_of_one_request_but_not_into_one():
    server = MemoryServer()
    writer, reader = MemoryRemote(server), MemoryRemote(server)
    keys = [f"shop:{{{number}}}" for number in range(4)]
    task = asyncio.create_task(writer.set_many([item(key=key) for key in keys]))
    seen = []
    while not task.done():
        await asyncio.sleep(0)
        seen.append(len(server.keys()))
    assert seen == [0, 1, 2, 3, 4, 4]
    assert await reader.get_many(keys) == [b"1"] * 4


@pytest.mark.parametrize(("how", "stored"), [("refused", []), ("cut", [KEY]), ("lost", [KEY, "shop:{2}"])])
@pytest.mark.asyncio
async def test_a_failing_request_has_no_effect_some_or_all(how, stored):
    remote = MemoryRemote(network=Network(rng=Random(1)))
    remote.network.fail_next("get_many")
    remote.network.fail_next("set_many", how=how)
    with pytest.raises(StoreUnavailable):
        await remote.set_many([item(), item(key="shop:{2}")])
    assert remote.server.keys() == stored
    with pytest.raises(StoreUnavailable):
        await remote.get_many([KEY])
    await remote.set_many([item()])


@pytest.mark.asyncio
async def test_while_the_network_is_down_nothing_passes():
    server = MemoryServer()
    here, there = MemoryRemote(server), MemoryRemote(server)
    here.network.down = True
    with pytest.raises(StoreUnavailable):
        await here.drop([KEY], [TAG], message=b"m")
    await there.set_many([item()])
    here.network.down = False
    assert await here.get_many([KEY]) == [b"1"]


@pytest.mark.asyncio
async def test_chances_come_from_the_networks_own_generator():
    async def failures(seed):
        remote = PlainRemote(network=Network(rng=Random(seed), refused=0.3, lost=0.2, cut=0.1))
        answers = await asyncio.gather(
            *(remote.set_many([item()]) for _ in range(50)), return_exceptions=True
        )
        return [type(answer) for answer in answers]

    assert await failures(1) == await failures(1) != await failures(2)


@pytest.mark.parametrize(("late", "left"), [(0.0, None), (1.0, b"1")])
@in_virtual_time()
async def test_a_request_cancelled_on_its_way_may_still_land(late, left):
    remote = PlainRemote(network=Network(lands_late=late))
    task = asyncio.create_task(remote.set_many([item()]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await remote.get_many([KEY]) == [left]


@in_virtual_time()
async def test_delays_and_spikes_take_the_loops_time():
    loop = asyncio.get_running_loop()
    remote = PlainRemote(network=Network(delays={"get_many": 2.0}))
    started = loop.time()
    await remote.get_many([KEY])
    assert loop.time() - started == pytest.approx(4.0)
    remote.network.spike, remote.network.spike_delay = 1.0, 5.0
    started = loop.time()
    await remote.set_many([item()])
    assert loop.time() - started == pytest.approx(10.0)


@pytest.mark.asyncio
async def test_a_restart_loses_everything_or_goes_back():
    remote = MemoryRemote()
    await remote.set_many([item(b"old")])
    [version] = await remote.versions([TAG], ttl=60)
    snapshot = remote.server.snapshot()
    await remote.drop([KEY], [TAG], message=None)
    await remote.lease(KEY, TOKEN, ttl=30, seen=None)
    remote.server.restart(snapshot)
    assert await remote.peek([KEY], [TAG]) == ([b"old"], [version])
    assert await remote.claims(KEY) == []
    remote.server.restart()
    assert await remote.peek([KEY], [TAG]) == ([None], [None])


@pytest.mark.asyncio
async def test_eviction_forgets_what_was_chosen_and_leaves_claims():
    remote = MemoryRemote()
    await remote.lease(KEY, TOKEN, ttl=30, seen=None)
    await remote.set_many([item()])
    stamp, [version] = await remote.stamp("shop"), await remote.versions([TAG], ttl=60)
    remote.server.evict(keys=[KEY, "unknown"], tags=[TAG], stamps=["shop"])
    assert await remote.peek([KEY], [TAG]) == ([None], [None])
    assert await remote.stamp("shop") != stamp
    assert await remote.versions([TAG], ttl=60) != [version]
    assert (await remote.lease(KEY, b"other", ttl=30, seen=None)).kind is BUSY


@in_virtual_time(*range(50))
async def test_whatever_the_order_no_load_from_before_a_drop_is_stored_after_it():
    server, source = MemoryServer(), [b"old"]

    async def load(number):
        remote, token = MemoryRemote(server), b"%d" % number
        if (await remote.lease(KEY, token, ttl=30, seen=None)).kind is GRANTED:
            loaded = source[0]
            await remote.commit(item(loaded), token, message=None)

    async def write():
        source[0] = b"new"
        await MemoryRemote(server).drop([KEY], [], message=None)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(load(number))
        group.create_task(write())
    assert await MemoryRemote(server).get_many([KEY]) in ([None], [b"new"])


# --- the feed ---------------------------------------------------------------------------------------


class Heard(list):
    """What a listener was told: messages, None for a gap, send times of pings apart."""

    def __init__(self):
        self.pings = []

    def callbacks(self):
        return {"heard": self.append, "gap": lambda: self.append(None), "alive": self.pings.append}


async def ticks(number=20):
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_messages_lost_with_the_network_are_told_as_a_gap():
    server = MemoryServer()
    listener, writer = MemoryRemote(server, reconnect_after=0.0), MemoryRemote(server)
    heard = Heard()
    async with listener.listen(**heard.callbacks()):
        await ticks()
        listener.network.down = True
        await writer.drop([KEY], [], message=b"lost")
        await ticks()
        listener.network.down = False
        await ticks()
        await writer.drop([KEY], [], message=b"heard")
        await ticks()
    assert heard == [None, None, b"heard"]


@pytest.mark.asyncio
async def test_a_restart_of_the_server_is_a_gap():
    remote, heard = MemoryRemote(reconnect_after=0.0), Heard()
    async with remote.listen(**heard.callbacks()):
        await ticks()
        remote.server.restart()
        await ticks()
    assert heard == [None, None]


@pytest.mark.parametrize(
    ("trouble", "expected"), [({"message_lost": 1.0}, [None]), ({"message_twice": 1.0}, [None, b"1", b"1"])]
)
@pytest.mark.asyncio
async def test_messages_may_be_lost_silently_or_heard_twice(trouble, expected):
    remote, heard = MemoryRemote(network=Network(**trouble)), Heard()
    async with remote.listen(**heard.callbacks()):
        await ticks()
        await remote.drop([KEY], [], message=b"1")
        await ticks()
    assert heard == expected


@in_virtual_time()
async def test_delayed_messages_never_overtake_and_pings_wait_with_them():
    remote, heard = MemoryRemote(ping_every=1.0), Heard()
    async with remote.listen(**heard.callbacks()):
        await asyncio.sleep(0.5)
        answered = len(heard.pings)
        remote.network.message_delay = 10.0
        await remote.drop([KEY], [], message=b"1")
        remote.network.message_delay = 0.0
        await remote.drop([KEY], [], message=b"2")
        await asyncio.sleep(5.0)
        assert heard == [None]
        assert len(heard.pings) == answered
        await asyncio.sleep(10.0)
    assert heard == [None, b"1", b"2"]
    assert len(heard.pings) == answered + 15
    assert heard.pings == sorted(heard.pings)


@pytest.mark.asyncio
async def test_an_error_of_a_callback_comes_out_of_the_listening():
    def raising():
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        async with MemoryRemote().listen(**Heard().callbacks() | {"gap": raising}):
            await ticks()


@pytest.mark.asyncio
async def test_a_step_publishes_at_the_very_moment_of_its_change():
    server = MemoryServer()
    writer, reader = MemoryRemote(server), MemoryRemote(server)
    await writer.lease(KEY, TOKEN, ttl=30, seen=None)
    told = []
    server.subscribe(object(), lambda message: told.append((message, server.get(KEY))), lambda: None)
    await writer.commit(item(b"new"), TOKEN, message=b"m")
    await writer.drop([KEY], [TAG], message=b"n")
    assert told == [(b"m", b"new"), (b"n", None)]
    assert (await reader.lease(KEY, TOKEN, ttl=1, seen=None)).kind is GRANTED
