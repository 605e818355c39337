"""A remote store in memory, as slow and unreliable as a test wants. Knows `MemoryServer`'s steps.

Each verb suspends before, between and after its atomic steps, so that whatever may come in between
does: under a seeded loop every interleaving of a real server is within reach. Time is the loop's
or the server's clock, chance is the network's.

A class for each set of capabilities: `PlainRemote` (neither leases nor feed), `LeasingRemote` (leases),
`MemoryRemote` (both) and `PromptRemote` (these, and reads that cost no task).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from acache.protocols import Claim, Grant, Item, Reply, namespace_of
from acache.testing._line import Line
from acache.testing.network import Network
from acache.testing.server import MemoryServer

T = TypeVar("T")


class PlainRemote:
    """Bytes only: what the smallest plugin can do.

    Clients of one *server* see the same data, each over its own *network*. `requests` counts round
    trips and `steps` what the server did for them, by verb.
    """

    def __init__(self, server: MemoryServer | None = None, *, network: Network | None = None) -> None:
        self.server = MemoryServer() if server is None else server
        self.network = Network() if network is None else network
        self.requests: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes under each of *keys*."""
        return await self._ask("get_many", [partial(self.server.get, key) for key in keys])

    async def set_many(self, items: Sequence[Item]) -> None:
        """Store every item."""
        await self._ask("set_many", [partial(self.server.set, item) for item in items])

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete *keys*."""
        await self._ask("delete_many", [partial(self.server.delete, key) for key in keys])

    async def aclose(self) -> None:
        """Do nothing: nothing stays open between requests."""

    async def _ask(self, verb: str, steps: Sequence[Callable[[], T]]) -> list[T]:
        """Send the steps in one request and return their results.

        Cancelled on its way, a request may have had some of its effects or, late, have all.
        """
        if not steps:
            return []
        self.requests[verb] += 1
        todo, arrives = self.network.fate(verb, len(steps))
        made: list[T] = []
        try:
            await self.network.travel(verb)
            for step in steps[:todo]:
                if made:
                    await asyncio.sleep(0)
                made.append(step())
                self.steps[verb] += 1
        except asyncio.CancelledError:
            if self.network.happens(self.network.lands_late):
                for step in steps[len(made) : todo]:
                    asyncio.get_running_loop().call_soon(step)
            raise
        await self.network.travel(verb)
        self.network.check(verb, arrives=arrives)
        return made


class LeasingRemote(PlainRemote):
    """Bytes and claims."""

    async def peek(
        self, keys: Sequence[str], tags: Sequence[str]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return entries and versions as they are."""
        steps = [partial(self.server.get, key) for key in keys]
        steps += [partial(self.server.peek_version, tag) for tag in tags]
        found = await self._ask("peek", steps)
        return found[: len(keys)], found[len(keys) :]

    async def versions(self, tags: Sequence[str], *, ttl: float) -> list[bytes | None]:
        """Return the version of each tag, made if missing; None while fenced."""
        return await self._ask("versions", [partial(self.server.version, tag, ttl) for tag in tags])

    async def stamp(self, namespace: str) -> bytes:
        """Return the namespace's stamp, made if missing."""
        [stamp] = await self._ask("stamp", [partial(self.server.stamp, namespace)])
        return stamp

    async def lease(self, key: str, token: bytes, *, ttl: float, seen: bytes | None) -> Grant:
        """Ask to be the only loader of *key*."""
        [grant] = await self._ask("lease", [partial(self.server.lease, key, token, ttl, seen)])
        return grant

    async def renew(self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float) -> bool:
        """Prolong this token's claims; False if any is no longer there."""
        steps = [partial(self.server.renew_key, key, token, ttl) for key in keys]
        steps += [partial(self.server.renew_tag, tag, token, ttl) for tag in tags]
        return all(await self._ask("renew", steps))

    async def commit(self, item: Item, token: bytes, *, message: bytes | None) -> bool:
        """Store the entry if the token may; end its claim either way."""

        def step() -> bool:
            stands, new = self.server.commit(item, token)
            if new and message is not None:
                self.server.publish(message)
            return stands

        [stands] = await self._ask("commit", [step])
        return stands

    async def put(self, items: Sequence[Item], *, message: bytes | None) -> None:
        """Store entries whatever lease stands; under a fence delete and taint instead."""
        await self._change("put", [partial(self.server.put, item) for item in items], message)

    async def drop(
        self,
        keys: Sequence[str],
        tags: Sequence[str],
        *,
        keep: Mapping[str, bytes] = {},
        message: bytes | None,
    ) -> None:
        """Delete entries and versions, end leases, taint fences."""
        await self._replace_stamps("drop", tags)
        steps = [partial(self.server.drop_key, key, keep.get(key)) for key in keys]
        steps += [partial(self.server.drop_tag, tag) for tag in tags]
        await self._change("drop", steps, message)

    async def fence(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, ttl: float, message: bytes | None
    ) -> None:
        """Like `drop`, and add a fence to each key and tag."""
        await self._replace_stamps("fence", tags)
        steps = [partial(self.server.fence_key, key, token, ttl) for key in keys]
        steps += [partial(self.server.fence_tag, tag, token, ttl) for tag in tags]
        await self._change("fence", steps, message)

    async def settle(self, tags: Sequence[str], token: bytes, *, ttl: float) -> list[bytes | None]:
        """Delete each version and end the fence; make a new version where the token may."""
        await self._replace_stamps("settle", tags)
        return await self._ask("settle", [partial(self.server.settle, tag, token, ttl) for tag in tags])

    async def release(
        self, keys: Sequence[str], tags: Sequence[str], token: bytes, *, message: bytes | None
    ) -> None:
        """End this token's claims, nobody else's."""
        steps = [partial(self.server.release_key, key, token) for key in keys]
        steps += [partial(self.server.release_tag, tag, token) for tag in tags]
        await self._change("release", steps, message)

    async def claims(self, key: str) -> Sequence[Claim]:
        """Return what stands on *key* now."""
        [claims] = await self._ask("claims", [partial(self.server.claims, key)])
        return claims

    async def _replace_stamps(self, verb: str, tags: Sequence[str]) -> None:
        namespaces = dict.fromkeys(map(namespace_of, tags))
        await self._ask(verb, [partial(self.server.replace_stamp, name) for name in namespaces])

    async def _change(self, verb: str, steps: Sequence[Callable[[], None]], message: bytes | None) -> None:
        """Ask, and publish *message* within the last step."""
        if message is None:
            await self._ask(verb, steps)
            return

        def last() -> None:
            for step in steps[-1:]:
                step()
            self.server.publish(message)

        await self._ask(verb, [*steps[:-1], last])


class MemoryRemote(LeasingRemote):
    """Bytes, claims and a feed."""

    def __init__(
        self,
        server: MemoryServer | None = None,
        *,
        network: Network | None = None,
        ping_every: float = 1.0,
        reconnect_after: float = 0.1,
    ) -> None:
        super().__init__(server, network=network)
        self._ping_every = ping_every  # seconds
        self._reconnect_after = reconnect_after  # seconds

    @asynccontextmanager
    async def listen(
        self,
        *,
        heard: Callable[[bytes], None],
        gap: Callable[[], None],
        alive: Callable[[float], None],
    ) -> AsyncGenerator[None]:
        """Call back while the context is entered; an error of a callback comes out at the end."""
        line = Line(self.server, self.network, heard=heard, gap=gap, alive=alive)
        task = asyncio.create_task(line.run(self._ping_every, self._reconnect_after), name="listen")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


class PromptRemote(MemoryRemote):
    """The same, which hands the answers of reads over by itself, as a store over a socket can."""

    def __init__(self, server: MemoryServer | None = None, **options: Any) -> None:
        super().__init__(server, **options)
        self._asking: set[asyncio.Task[None]] = set()

    def ask(self, keys: Sequence[str], tags: Sequence[str], reply: Reply) -> None:
        """Tell *reply* what `peek` returns, or the error."""
        task = asyncio.get_running_loop().create_task(self._tell(keys, tags, reply))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _tell(self, keys: Sequence[str], tags: Sequence[str], reply: Reply) -> None:
        try:
            entries, versions = await self.peek(keys, tags)
        except Exception as error:  # noqa: BLE001 - handed on
            reply.set_exception(error)
        else:
            reply.set_result([*entries, *versions])

    async def aclose(self) -> None:
        """Wait until all who asked were told."""
        while self._asking:
            await asyncio.wait(self._asking)
