"""A home that is a cluster: every name on the node that has its slot, for one event loop.

What an operation needs of several nodes it asks of all at once. A node that says that a slot has
moved, or that cannot be reached, is a reason to look again who has which slot. Then the whole
operation is made again, as its scripts allow: its message is so never heard before its changes.
Replicas are never read: they are late. A node that is away is left alone for a while, and costs
those who want nothing of it no time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final, cast, final

from acache.errors import PartlyUnavailable, StoreUnavailable
from acache.protocols import Reply as Asker
from acache_redis._absence import Absence
from acache_redis._dial import Dialer, address_of
from acache_redis._errands import Away, Calling, Errand, Reading
from acache_redis._gathering import Gathering, Part
from acache_redis._lookout import Lookout
from acache_redis._names import channel_of
from acache_redis._recent import Recent
from acache_redis._resp import Command, Refused, Reply
from acache_redis._server import Server
from acache_redis._topology import Node, Redirect, Topology, redirect

log: Final = logging.getLogger("acache_redis")
FIRST_PAUSE: Final = 0.01  # seconds before what was refused for now is asked for again, doubled each time
LONGEST_PAUSE: Final = 0.2

Detours = dict[int, Redirect]
"""By its place in an errand, where a name is to be looked for whose slot is on its way there.

By name: of such a slot some are still here, and of those the other side would say that they are not."""


@final
class Cluster:
    """The connections of one event loop to the nodes that it has needed so far."""

    def __init__(
        self,
        seeds: Sequence[Dialer],
        name: str,
        *,
        timeout: float,
        recent: Recent,
        rng: Random,
        ids: Callable[[], bytes],
    ) -> None:
        self._seeds = seeds
        self._name = name
        self._timeout = timeout
        self._recent = recent
        self._rng = rng
        self._ids = ids
        self._servers: dict[Node, Server] = {}
        self._closing: set[asyncio.Task[Any]] = set()
        self._reading: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._absence = Absence()
        self._probing: set[asyncio.Task[None]] = set()
        self._lookout = Lookout(
            seeds,
            name,
            timeout=timeout,
            rng=rng,
            doubtful=self._absence.__contains__,
            seen=self._seen,
        )

    @property
    def topology(self) -> Topology | None:
        """Who has which slot, as was seen last."""
        return self._lookout.topology

    # --- what the store asks for ----------------------------------------------------------------

    async def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the bytes under *names*, None also where a node is away; raises StoreUnavailable.

        PartlyUnavailable if all of them are away, or the version of a namespace."""
        return await self._run(Reading(names))

    def read_for(self, names: Sequence[bytes], reply: Asker) -> None:
        """Tell *reply* the bytes under *names*, or StoreUnavailable: without a task while all is well."""
        topology = self.topology
        if topology is None or self._absence.anybody:
            self._read_on(self.read(names), reply)
            return
        until = asyncio.get_running_loop().time() + self._timeout
        shares = topology.split(names)

        def whole(found: list[Reply]) -> None:
            if any(isinstance(each, Exception) for each in found):
                self._read_on(self._go_on(Reading(names), found, until), reply)
            elif not reply.done():
                reply.set_result(found)

        gathering = Gathering(names, len(shares), whole, lambda: not reply.done())
        for node, places in shares.items():
            if node is None:
                gathering.add(places, StoreUnavailable(f"{self._name}: nobody has its slot"))
            else:
                server = self.server(node)
                part = Part(gathering, places, partial(self._note, server))
                server.read_for([names[place] for place in places], part)

    def _read_on(self, reading: Coroutine[Any, Any, list[Reply]], reply: Asker) -> None:
        if self._closed:
            reading.close()
            reply.set_exception(StoreUnavailable(f"{self._name}: closed meanwhile"))
            return
        task = asyncio.create_task(reading, name="acache-redis read")
        self._reading.add(task)
        task.add_done_callback(partial(self._have_read, reply))

    def _have_read(self, reply: Asker, task: asyncio.Task[list[Reply]]) -> None:
        self._reading.discard(task)
        error = None if task.cancelled() else task.exception()
        if reply.done():
            return
        if task.cancelled():
            if reply.done():  # as when the loop ends
                return
            reply.set_exception(StoreUnavailable(f"{self._name}: closed meanwhile"))
        elif error is not None:
            reply.set_exception(cast("Exception", error))
        else:
            reply.set_result(task.result())

    async def call(self, commands: Sequence[Command], message: bytes | None = None) -> Sequence[Reply]:
        """Return the replies to *commands*; raises StoreUnavailable if any is an error.

        PartlyUnavailable if a node is away and others are not; what is theirs is done all the same."""
        return await self._run(Calling(commands, message, self._ids()))

    async def close(self) -> None:
        """End what is under way with an error and close the connections."""
        self._closed = True
        for probe in self._probing:
            probe.cancel()
        if self._probing:
            await asyncio.wait(self._probing)
        await self._lookout.close()
        self._retire(list(self._servers))
        for task in self._reading:
            task.cancel()
        if self._closing or self._reading:
            await asyncio.wait(self._closing | self._reading)

    def server(self, node: Node) -> Server:
        """Return the connections to *node*."""
        server = self._servers.get(node)
        if server is None:
            server = self._servers[node] = Server(
                self.dialer(node),
                channel_at(node),
                timeout=self._timeout,
                recent=self._recent,
                node=node,
                mine=partial(self._is_at, node),
                stands=partial(self._stands_beside, node),
            )
        return server

    def _is_at(self, node: Node, name: bytes) -> bool:
        return self.topology is None or self.topology.owner(name) == node

    def _stands_beside(self, node: Node, data: bytes) -> bool:
        primaries = frozenset[Node]() if self.topology is None else self.topology.nodes
        return any(
            server.data == data for other, server in self._servers.items() if other in primaries - {node}
        )

    def dialer(self, node: Node) -> Dialer:
        """Return how to reach *node*."""
        return self._seeds[0].at(node.host, node.port)

    # --- until there is an answer ---------------------------------------------------------------

    async def _run(self, errand: Errand) -> list[Reply]:
        until = asyncio.get_running_loop().time() + self._timeout
        replies: list[Reply] | None = None
        if self.topology is not None:
            replies = await self._attempt(errand, self.topology, {})
        return await self._go_on(errand, replies, until)

    async def _go_on(self, errand: Errand, replies: list[Reply] | None, until: float) -> list[Reply]:
        """Return the replies, having tried as long as may be; *replies* are those of a first attempt."""
        if replies is not None:
            errors = [reply for reply in replies if isinstance(reply, Exception)]
            if all(isinstance(error, Away) for error in errors):
                return self._without(errand, replies, errors, asked=False) if errors else replies
        try:
            # The first attempt may have used all of the time, and taken it from nobody but itself.
            at_least = asyncio.get_running_loop().time() + self._timeout / 4
            async with asyncio.timeout_at(max(until, at_least)):
                return await self._insist(errand, replies)
        except TimeoutError:
            raise StoreUnavailable(f"{self._name}: no answer in time") from None

    async def _insist(self, errand: Errand, replies: list[Reply] | None) -> list[Reply]:
        """Return the replies of the first attempt without an error; *replies*: of the one before."""
        detours: Detours = {}
        pause, asked = 0.0, False
        while True:
            before = self.topology
            if before is None or replies is None:
                await self.look()
            else:
                errors = {place: reply for place, reply in enumerate(replies) if isinstance(reply, Exception)}
                if not errors:
                    return replies
                if all(isinstance(error, Away) for error in errors.values()):
                    return self._without(errand, replies, list(errors.values()), asked=asked)
                asked = True
                if await self._heed(errand, errors, before, detours) or pause:
                    pause = min(pause * 2, LONGEST_PAUSE) or FIRST_PAUSE
                    await asyncio.sleep(pause * (0.5 + self._rng.random() / 2))
                else:
                    pause = FIRST_PAUSE / 2  # who is sent on twice in a row waits
            assert self.topology is not None  # noqa: S101 - looked for above
            replies = await self._attempt(errand, self.topology, detours)

    async def _heed(
        self, errand: Errand, errors: Mapping[int, Exception], before: Topology, detours: Detours
    ) -> bool:
        """Do what *errors* ask for; tell whether to wait. Raises StoreUnavailable if nothing helps."""
        wait = False
        for place, error in errors.items():
            name = errand.names[place]
            owner = before.owner(name)
            if isinstance(error, Away):
                continue
            if not isinstance(error, Refused):  # of the connection, or nobody has the slot
                now = await self._lookout.look_after(before)
                if now.owner(name) == owner and not self._is_spared(owner, now):
                    raise error
            elif error.code == "MOVED":
                await self._lookout.look_after(before, redirect(error, "" if owner is None else owner.host))
            elif error.code == "ASK" and errand.may_detour(place):
                detours[place] = redirect(error, "" if owner is None else owner.host)
            elif error.code in {"ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY"}:
                if error.code in {"CLUSTERDOWN", "READONLY"}:
                    await self._lookout.look_after(before)
                wait = True
            else:
                dialer = self._seeds[0] if owner is None else self.dialer(owner)
                raise dialer.unavailable(dialer.bare(error))
        return wait

    async def _attempt(self, errand: Errand, topology: Topology, detours: Detours) -> list[Reply]:
        """Return the replies, an error in the place of each that there is none for."""
        shares = topology.split(errand.names)
        errand.spread_over(len(shares))
        replies: list[Reply] = [StoreUnavailable(f"{self._name}: nobody has its slot")] * len(errand.names)
        parts: list[tuple[Server | None, Sequence[int]]] = []  # of a node, or None of a detour
        asked: list[Awaitable[Sequence[Reply]]] = []
        for node, share in shares.items():
            straight: list[int] = []
            for place in share:
                to = detours.get(place)
                if to is None:
                    straight.append(place)
                else:
                    parts.append((None, [place]))
                    asked.append(errand.detour(self.server(Node(b"", to.host, to.port)), place))
            if node is not None and self._is_spared(node, topology):
                self._probe_in_time(node)
                for place in straight:
                    replies[place] = Away(address_of(node.host, node.port))
            elif node is not None and straight:
                server = self.server(node)
                parts.append((server, straight))
                asked.append(errand.ask(server, straight))
        for (of, part), answers in zip(parts, await _all(asked), strict=True):
            if of is not None:
                self._note(of, answers)
            for at, place in enumerate(part):
                replies[place] = answers if isinstance(answers, Exception) else answers[at]
        return replies

    def _without(
        self, errand: Errand, replies: list[Reply], away: Sequence[Exception], *, asked: bool
    ) -> list[Reply]:
        """Return what answers *errand* although some nodes are *away*, or raise PartlyUnavailable."""
        found = errand.without(replies)
        if found is None:
            raise PartlyUnavailable(f"{self._name}: {away[0]}", asked=asked)
        return found

    # --- who is away ----------------------------------------------------------------------------

    def _is_spared(self, node: Node | None, topology: Topology) -> bool:
        """Tell whether *node* is away and asked for nothing; not if all are, for then one has to try."""
        absence = self._absence
        return node in absence and not all(other in absence for other in topology.nodes)

    def _note(self, server: Server, answers: Sequence[Reply] | Exception) -> None:
        """Note whether the node of *server* has answered; closed meanwhile it is none to ask any more."""
        node = server.node
        if node is None or self._servers.get(node) is not server:
            return
        if not isinstance(answers, Exception):
            self._absence.answered(node)
        elif self._absence.failed(node, asyncio.get_running_loop().time()):
            log.warning("%s does not answer: nothing is read from it until it does", server.dialer.name)

    def _probe_in_time(self, node: Node) -> None:
        if self._absence.to_probe(node, asyncio.get_running_loop().time()):
            task = asyncio.create_task(self._probe(node), name="acache-redis probe")
            self._probing.add(task)
            task.add_done_callback(self._probing.discard)

    async def _probe(self, node: Node) -> None:
        """Look whether another node has taken over, or *node* is back."""
        try:
            topology = await self.look()
            if node in topology.nodes:
                server = self.server(node)
                [reply] = await server.ask([(b"PING",)])
                if not isinstance(reply, Refused):
                    self._note(server, [reply])
        except StoreUnavailable:
            pass  # the next one who wants something of it has it probed again

    # --- who has which slot ---------------------------------------------------------------------

    async def look(self, at: Redirect | None = None) -> Topology:
        """Return who has which slot now, asking first *at* an address that knows; StoreUnavailable."""
        return await self._lookout.look(at)

    def _seen(self, topology: Topology) -> None:
        self._absence.keep(topology.nodes)
        self._retire([node for node in self._servers if node.id and node not in topology.nodes])

    def _retire(self, nodes: Iterable[Node]) -> None:
        """Close the connections to *nodes*; what waits for them is asked elsewhere."""
        for node in nodes:
            task = asyncio.create_task(self._servers.pop(node).close(), name="acache-redis close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def channel_at(node: Node) -> bytes:
    """Return the channel on which a node is heard: its own, as each node also hands on what others say."""
    return b"%b:%b" % (channel_of(0), node.id)


async def _all(asked: Sequence[Awaitable[Sequence[Reply]]]) -> Sequence[Sequence[Reply] | Exception]:
    """Return each answer or error."""
    if len(asked) != 1:
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Exception):
                raise answer
        return answers  # type: ignore[return-value]
    try:
        return [await asked[0]]
    except Exception as error:  # noqa: BLE001 - handed on
        return [error]
