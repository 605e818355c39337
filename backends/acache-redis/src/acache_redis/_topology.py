"""Which node of a cluster has which slot. Pure: from what a node says to where a name is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from acache_redis._resp import Command, Refused, Reply

ASK_FOR_SLOTS: Final = (b"CLUSTER", b"SLOTS")


class Node(NamedTuple):
    """One server of a cluster. Its id names it, whatever else answers at its address one day."""

    id: bytes
    host: str
    port: int


class Redirect(NamedTuple):
    """Where a server says that a slot is, or is about to be."""

    slot: int
    host: str
    port: int


@final
class Topology:
    """The primaries of a cluster and their slots, as one node saw them."""

    def __init__(self, ranges: Iterable[tuple[int, int, Node]]) -> None:
        self._owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, node in ranges:
            self._owners[first : last + 1] = [node] * (last + 1 - first)
        self.nodes: frozenset[Node] = frozenset(node for node in self._owners if node is not None)

    @classmethod
    def of(cls, reply: Reply, host: str) -> "Topology":
        """Return what *host* answered to `ASK_FOR_SLOTS`. Raises ValueError for what is no such answer.

        A node that does not know its own address leaves it out: it is the one that it was asked at.
        """
        try:
            return cls(
                (first, last, Node(bytes(node_id), (name or b"").decode() or host, int(port)))
                for first, last, (name, port, node_id, *_), *_replicas in reply
            )
        except (TypeError, AttributeError, UnicodeDecodeError) as error:
            raise ValueError("not the slots of a cluster") from error

    def owner(self, name: bytes) -> Node | None:
        """Return the node that a name is on, None if nobody has its slot."""
        return self._owners[key_slot(name)]

    def split(self, names: Sequence[bytes]) -> Mapping[Node | None, list[int]]:
        """Return the places in *names* of each node's share."""
        shares: dict[Node | None, list[int]] = {}
        owners = self._owners
        for place, name in enumerate(names):
            shares.setdefault(owners[key_slot(name)], []).append(place)
        return shares

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topology) and self._owners == other._owners

    __hash__ = None  # type: ignore[assignment]


def redirect(refused: Refused, asked: str) -> Redirect:
    """Return where a MOVED or ASK leads; *asked* is the host that said it. Raises ValueError."""
    _, slot, address = str(refused).split(" ")[:3]
    host, _, port = address.rpartition(":")
    return Redirect(int(slot), host or asked, int(port))


def slot_of(name: bytes) -> int:
    """Return the slot of a name."""
    return key_slot(name)


def name_of(command: Command) -> bytes:
    """Return the name that decides where a command of the store is to be sent."""
    name = command[3 if command[0] == b"EVALSHA" else 1]
    assert isinstance(name, bytes)  # noqa: S101 - the store's own commands
    return name
