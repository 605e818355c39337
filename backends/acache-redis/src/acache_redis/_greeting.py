"""What a server is asked before anything else on a connection: which one it is. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from acache_redis._resp import Command, Refused, Reply

_OF_SERVER: Final[Sequence[Command]] = ((b"INFO", b"replication"),)
_OF_NODE: Final[Sequence[Command]] = (*_OF_SERVER, (b"CLUSTER", b"MYID"))


@final
@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    data: bytes  # the replication id: another one after each change of primary; empty if it is not told
    replica: bool


def questions(node: bytes) -> Sequence[Command]:
    """Return what to ask; *node*: the id of the node of a cluster that has to answer."""
    return _OF_NODE if node else _OF_SERVER


def read(replies: Sequence[Reply], node: bytes) -> Identity:
    """Return who answered. Raises Refused, or ConnectionError if it is not *node*."""
    for reply in replies:
        if isinstance(reply, Refused):
            raise reply
    info = replies[0] if isinstance(replies[0], bytes) else b""
    facts = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
    if node and replies[1] != node:
        raise ConnectionError("another node of the cluster is at its address now")
    return Identity(data=facts.get(b"master_replid", b""), replica=facts.get(b"role") == b"slave")
