"""What an operation asks of the nodes of a cluster: each its share. Knows no topology."""

from collections.abc import Awaitable, Sequence
from typing import Final, Protocol, final

from acache_redis._copies import copy_of
from acache_redis._names import is_namespace
from acache_redis._resp import Command, Refused, Reply
from acache_redis._server import Server
from acache_redis._topology import name_of

_NOWHERE: Final = b""  # the name of what is not about any


@final
class Away(Exception):
    """In the place of a reply: the node that has a name did not answer a moment ago, others do."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} does not answer")


class Errand(Protocol):
    """An operation that may be made again, whole or in part."""

    @property
    def names(self) -> Sequence[bytes]:
        """The names that decide which node is asked what."""
        ...

    def ask(self, server: Server, places: Sequence[int]) -> Awaitable[Sequence[Reply]]:
        """Return what will be the replies for the names at *places*, errors of the server among them."""
        ...

    def spread_over(self, nodes: int) -> None:
        """Prepare to be asked of so many nodes."""
        ...

    def may_detour(self, place: int) -> bool:
        """Tell whether a server may be asked about a slot that is on its way to it."""
        ...

    async def detour(self, server: Server, place: int) -> Sequence[Reply]:
        """Ask so about one name."""
        ...

    def without(self, replies: Sequence[Reply | Away]) -> list[Reply] | None:
        """Return what answers the whole although some names are away, None if nothing does."""
        ...


@final
class Reading:
    """The bytes under names."""

    def __init__(self, names: Sequence[bytes]) -> None:
        self.names = names

    def spread_over(self, nodes: int) -> None:
        """Nothing depends on it."""

    def ask(self, server: Server, places: Sequence[int]) -> Awaitable[Sequence[Reply]]:
        """Join the node's batch."""
        return server.read([self.names[place] for place in places])

    def may_detour(self, place: int) -> bool:  # noqa: ARG002
        """Always."""
        return True

    async def detour(self, server: Server, place: int) -> Sequence[Reply]:
        """Ask for one name out of turn."""
        values = await server.ask_about_moving((b"MGET", self.names[place]))
        return [values] if isinstance(values, Refused) else values

    def without(self, replies: Sequence[Reply | Away]) -> list[Reply] | None:
        """Nothing is found of what is away, unless that is all, or what everything else depends on."""
        away = [place for place, reply in enumerate(replies) if isinstance(reply, Away)]
        if len(away) == len(replies) or any(is_namespace(self.names[place]) for place in away):
            return None
        return [None if isinstance(reply, Away) else reply for reply in replies]


@final
class Calling:
    """Commands about a name each, and a message that is heard once and after all of them."""

    def __init__(self, commands: Sequence[Command], message: bytes | None, unique: bytes) -> None:
        self._commands = commands
        self._message = message
        self._unique = unique
        self._copy = message
        self.names = [*map(name_of, commands)] or [_NOWHERE]

    def spread_over(self, nodes: int) -> None:
        """Let each node publish a copy of the message."""
        if self._message is not None:
            self._copy = copy_of(self._message, nodes, self._unique)

    def ask(self, server: Server, places: Sequence[int]) -> Awaitable[Sequence[Reply]]:
        """Join the node's batch."""
        return server.ask([self._commands[place] for place in places] if self._commands else [], self._copy)

    def may_detour(self, place: int) -> bool:
        """Not a script: while the second of its names is missing the server refuses it, and mostly it is."""
        return bool(self._commands) and self._commands[place][0] != b"EVALSHA"

    async def detour(self, server: Server, place: int) -> Sequence[Reply]:
        """Send one command."""
        return [await server.ask_about_moving(self._commands[place])]

    def without(self, replies: Sequence[Reply | Away]) -> list[Reply] | None:  # noqa: ARG002
        """Nothing: who changes something has to know whether it is changed."""
        return None
