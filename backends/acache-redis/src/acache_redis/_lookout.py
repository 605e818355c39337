"""Asks the nodes of a cluster who has which slot, once for all who want to know. Knows no name."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final, final

from acache.errors import StoreUnavailable
from acache_redis._dial import Dialer
from acache_redis._link import Link
from acache_redis._resp import Refused
from acache_redis._topology import ASK_FOR_SLOTS, Node, Redirect, Topology

TRIES: Final = 4  # nodes that one timeout leaves time to ask for the slots


@final
class Lookout:
    """What was seen last."""

    def __init__(
        self,
        seeds: Sequence[Dialer],
        name: str,
        *,
        timeout: float,
        rng: Random,
        doubtful: Callable[[Node], bool],
        seen: Callable[[Topology], None],
    ) -> None:
        """Ask the nodes that are known, then *seeds*; *doubtful* ones last. *seen* is told of each answer."""
        self._seeds = seeds
        self._name = name
        self._timeout = timeout
        self._rng = rng
        self._doubtful = doubtful
        self._seen = seen
        self._looking: asyncio.Task[Topology] | None = None
        self._waiting = 0  # for that
        self.topology: Topology | None = None

    async def look_after(self, before: Topology, at: Redirect | None = None) -> Topology:
        """Look, unless somebody did since *before*; return what is known then. Raises StoreUnavailable."""
        known = self.topology
        return await self.look(at) if known is None or known is before else known

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

    async def close(self) -> None:
        """End what is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

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
                self._seen(topology)
                return topology
            finally:
                await link.close()
        raise self._seeds[0].unavailable(cause or ConnectionError("no node is known"), name=self._name)

    def _whom_to_ask(self, at: Redirect | None) -> Iterable[Dialer]:
        known = [] if self.topology is None else sorted(self.topology.nodes)
        self._rng.shuffle(known)
        known.sort(key=self._doubtful)
        first = self._seeds[0]
        if at is not None:
            yield first.at(at.host, at.port)
        yield from (first.at(node.host, node.port) for node in known)
        yield from self._seeds
