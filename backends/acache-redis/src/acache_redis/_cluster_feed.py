"""One process's subscriptions to what is said on all primaries of a cluster, as one feed.

A node also hands on what other nodes say, but nobody knows how late; so each is listened to itself,
on a channel of its own. What was heard of all of them until then is what a ping stands for: the
oldest over the nodes, of its answer and of the answer to whether these still are the nodes.
"""

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Final, final

from acache.errors import StoreUnavailable
from acache_redis._acl import missing_right
from acache_redis._cluster import Cluster, channel_at
from acache_redis._copies import Copies
from acache_redis._feed import Listener, Pace, Subscription, log
from acache_redis._resp import Command, Refused, Reply
from acache_redis._topology import Node, Redirect, Topology

ASK_FOR_EPOCH: Final[Command] = (b"CLUSTER", b"INFO")
_TELLING: Final = (b"cluster_current_epoch", b"cluster_size")

Epoch = tuple[int, ...]
"""What changes when another node becomes a primary with slots."""


@final
class _Ear:
    """What listens to one node."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.stands = False  # its subscription was confirmed
        self.ping = -inf  # when the last ping was sent that was answered
        self.asked = -inf  # when it was last asked for the epoch, and knew no other


@final
class ClusterFeed:
    """Listening to every primary there is."""

    def __init__(self, cluster: Callable[[], Cluster], listener: Listener, pace: Pace) -> None:
        self._cluster = cluster
        self._tell = listener
        self._pace = pace
        self._ears: dict[Node, _Ear] = {}
        self._copies = Copies()
        self._topology: Topology | None = None
        self._epoch: Epoch = ()
        self._gap = True  # to be told once all subscriptions stand
        self._alive = -inf
        self._refused = False

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                try:
                    settled = await self._look_round()
                except StoreUnavailable:
                    settled = True  # nobody is there; silence tells the cache
                await asyncio.sleep(self._pace.ping_every if settled else 0)
        finally:
            await self._end(list(self._ears))

    async def _look_round(self) -> bool:
        """Ask every node whether something has changed, and go with it; tell whether nothing has."""
        cluster = self._cluster()
        topology = cluster.topology or await cluster.look()
        await self._listen_to(topology)
        sent = self._pace.monotonic()
        nodes = sorted(topology.nodes)
        said = await asyncio.gather(
            *(cluster.server(node).ask([ASK_FOR_EPOCH]) for node in nodes), return_exceptions=True
        )
        self._complain(said)
        known = {node: _epoch(answer) for node, answer in zip(nodes, said, strict=True)}
        newest = max(known, key=lambda node: known[node])
        changed = known[newest] not in {self._epoch, ()}
        if changed or () in known.values():
            await cluster.look(Redirect(0, newest.host, newest.port))
            self._epoch = known[newest]
            return not changed
        for node, epoch in known.items():
            if node in self._ears and epoch == self._epoch:
                self._ears[node].asked = sent
        self._tell_alive()
        return True

    def _complain(self, said: Sequence[Sequence[Reply] | BaseException]) -> None:
        """Say once if a node does not allow to be asked: nothing is trusted near without the answer."""
        refused = {
            str(one[0]) for one in said if not isinstance(one, BaseException) and isinstance(one[0], Refused)
        }
        if refused and not self._refused:
            why = missing_right(min(refused)) or min(refused)
            log.warning("there is no feed, so nothing is served from near: %s", why)
        self._refused = bool(refused)

    async def _listen_to(self, topology: Topology) -> None:
        """Listen to these nodes and no others."""
        if topology is self._topology or topology == self._topology:
            return
        self._topology = topology
        self._gap = True
        for node in topology.nodes - self._ears.keys():
            self._ears[node] = self._begin(node)
        await self._end([node for node in self._ears if node not in topology.nodes])
        self._tell_gap()

    def _begin(self, node: Node) -> _Ear:
        ear = _Ear()

        def stood() -> None:
            ear.stands = self._gap = True
            self._tell_gap()

        def lost() -> None:
            ear.stands = False

        def answered(sent: float) -> None:
            ear.ping = sent
            self._tell_alive()

        listener = Listener(heard=self._heard, gap=stood, alive=answered, lost=lost)
        dialer = self._cluster().dialer(node).greeting(lambda wire: self._cluster().server(node).greet(wire))
        subscription = Subscription(dialer, channel_at(node), listener, self._pace)
        ear.task = asyncio.create_task(subscription.run(), name="acache-redis feed of a node")
        return ear

    async def _end(self, nodes: Sequence[Node]) -> None:
        tasks = [ear.task for node in nodes if (ear := self._ears.pop(node)).task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- telling --------------------------------------------------------------------------------

    def _heard(self, copy: bytes) -> None:
        for message in self._copies.take(copy, self._pace.monotonic()):
            self._tell.heard(message)

    def _tell_gap(self) -> None:
        """Tell of a gap once all subscriptions stand: what is said from then on is heard."""
        if self._gap and self._ears and all(ear.stands for ear in self._ears.values()):
            self._gap = False
            self._copies.clear()
            self._tell.gap()

    def _tell_alive(self) -> None:
        for message in self._copies.overdue(self._pace.monotonic()):
            self._tell.heard(message)
        if self._gap or not self._ears or not all(ear.stands for ear in self._ears.values()):
            return
        oldest = min(min(ear.ping, ear.asked) for ear in self._ears.values())
        if oldest > self._alive:
            self._alive = oldest
            self._tell.alive(oldest)


def _epoch(answer: Sequence[Reply] | BaseException) -> Epoch:
    """Return what a node knows, nothing if it did not say."""
    if isinstance(answer, BaseException):
        return ()
    [info] = answer
    if not isinstance(info, bytes):
        return ()
    fields = dict(line.split(b":", 1) for line in info.split(b"\r\n") if b":" in line)
    try:
        return tuple(int(fields[name]) for name in _TELLING)
    except (KeyError, ValueError):
        return ()
