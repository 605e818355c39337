"""A home that is a cluster: every name on the node that has its slot, for one event loop.

What an operation needs of several nodes it asks of all at once. A node that says that a slot has
moved, or that cannot be reached, is a reason to look again who has which slot. Then the whole
operation is made again, as its scripts allow: its message is so never heard before its changes.
Replicas are never read: they are late.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final, final

from acache.errors import StoreUnavailable
from acache_redis._dial import Dialer
from acache_redis._errands import Calling, Errand, Reading
from acache_redis._link import Link
from acache_redis._names import channel_of
from acache_redis._recent import Recent
from acache_redis._resp import Command, Refused, Reply
from acache_redis._server import Server
from acache_redis._topology import ASK_FOR_SLOTS, Node, Redirect, Topology, redirect

FIRST_PAUSE: Final = 0.01  # seconds before what was refused for now is asked for again, doubled each time
LONGEST_PAUSE: Final = 0.2
TRIES: Final = 4  # nodes that one timeout leaves time to ask for the slots

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
        self._looking: asyncio.Task[Topology] | None = None
        self._waiting = 0  # for that
        self._closing: set[asyncio.Task[None]] = set()
        self.topology: Topology | None = None

    # --- what the store asks for ----------------------------------------------------------------

    async def read(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the bytes under *names*; raises StoreUnavailable."""
        return await self._run(Reading(names))

    async def call(self, commands: Sequence[Command], message: bytes | None = None) -> Sequence[Reply]:
        """Return the replies to *commands*; raises StoreUnavailable if any is an error."""
        return await self._run(Calling(commands, message, self._ids()))

    async def close(self) -> None:
        """End what is under way with an error and close the connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        self._retire(list(self._servers))
        if self._closing:
            await asyncio.wait(self._closing)

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
            if not any(isinstance(reply, Exception) for reply in replies):
                return replies
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
        pause = 0.0
        while True:
            before = self.topology
            if before is None or replies is None:
                await self.look()
            else:
                errors = {place: reply for place, reply in enumerate(replies) if isinstance(reply, Exception)}
                if not errors:
                    return replies
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
            if not isinstance(error, Refused):  # of the connection, or nobody has the slot
                await self._look_after(before)
                if (self.topology or before).owner(name) == owner:
                    raise error
            elif error.code == "MOVED":
                await self._look_after(before, redirect(error, "" if owner is None else owner.host))
            elif error.code == "ASK" and errand.may_detour(place):
                detours[place] = redirect(error, "" if owner is None else owner.host)
            elif error.code in {"ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY"}:
                if error.code in {"CLUSTERDOWN", "READONLY"}:
                    await self._look_after(before)
                wait = True
            else:
                dialer = self._seeds[0] if owner is None else self.dialer(owner)
                raise dialer.unavailable(dialer.bare(error))
        return wait

    async def _attempt(self, errand: Errand, topology: Topology, detours: Detours) -> list[Reply]:
        """Return the replies, an error in the place of each that there is none for."""
        shares = topology.split(errand.names)
        errand.spread_over(len(shares))
        parts: list[Sequence[int]] = []
        asked: list[Awaitable[Sequence[Reply]]] = []
        for node, share in shares.items():
            straight: list[int] = []
            for place in share:
                to = detours.get(place)
                if to is None:
                    straight.append(place)
                else:
                    parts.append([place])
                    asked.append(errand.detour(self.server(Node(b"", to.host, to.port)), place))
            if node is not None and straight:
                parts.append(straight)
                asked.append(errand.ask(self.server(node), straight))
        replies: list[Reply] = [StoreUnavailable(f"{self._name}: nobody has its slot")] * len(errand.names)
        for part, answers in zip(parts, await _all(asked), strict=True):
            for at, place in enumerate(part):
                replies[place] = answers if isinstance(answers, Exception) else answers[at]
        return replies

    # --- who has which slot ---------------------------------------------------------------------

    async def _look_after(self, before: Topology, at: Redirect | None = None) -> None:
        """Look, unless somebody did since."""
        if self.topology is before:
            await self.look(at)

    async def look(self, at: Redirect | None = None) -> Topology:
        """Return who has which slot now, asking first *at* an address that knows; StoreUnavailable."""
        looking = self._looking
        if looking is None:
            looking = asyncio.create_task(self._ask_around(at), name="acache-redis topology")
            looking.add_done_callback(self._looked)
            self._looking, self._waiting = looking, 0
        self._waiting += 1
        try:
            return await asyncio.shield(looking)
        except StoreUnavailable as error:  # shared by all who wait, and each gets one of its own
            raise StoreUnavailable(str(error)) from error.__cause__
        except asyncio.CancelledError:
            if self._waiting == 1:
                looking.cancel()
                await asyncio.wait([looking])
            raise
        finally:
            self._waiting -= 1

    def _looked(self, looking: asyncio.Task[Topology]) -> None:
        if self._looking is looking:
            self._looking = None
        if not looking.cancelled():
            looking.exception()

    async def _ask_around(self, at: Redirect | None) -> Topology:
        cause: BaseException | None = None
        for dialer in self._whom_to_ask(at):
            link = Link(dialer)
            until = asyncio.get_running_loop().time() + self._timeout / TRIES
            try:
                [reply] = await link.exchange([ASK_FOR_SLOTS], deadline=until)
                if isinstance(reply, Refused):
                    raise reply  # noqa: TRY301 - as whatever else makes an answer useless
                topology = Topology.of(reply, dialer.host)
            except Exception as error:  # noqa: BLE001 - the border: whatever a foreign server causes
                cause = dialer.bare(error)
            else:
                self.topology = topology
                self._retire([node for node in self._servers if node.id and node not in topology.nodes])
                return topology
            finally:
                await link.close()
        raise self._seeds[0].unavailable(cause or ConnectionError("no node is known"), name=self._name)

    def _whom_to_ask(self, at: Redirect | None) -> Iterable[Dialer]:
        known = [] if self.topology is None else sorted(self.topology.nodes)
        self._rng.shuffle(known)
        if at is not None:
            yield self._seeds[0].at(at.host, at.port)
        yield from map(self.dialer, known)
        yield from self._seeds

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
