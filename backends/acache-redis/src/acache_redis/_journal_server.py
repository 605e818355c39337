"""What a server says about itself that matters to a journal in it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from acache_redis._resp import Command, Reply

QUESTIONS: Final[Sequence[Command]] = ((b"INFO", b"memory"), (b"INFO", b"persistence"))
EVICTS: Final = (
    "the server may evict acknowledged writes: set its maxmemory-policy to noeviction or one of volatile-*"
)
FORGETS: Final = (
    "the server keeps it in memory only: acknowledged writes are lost with the server; "
    "set appendonly yes, and appendfsync always to have them on its disk before they are acknowledged"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is wrong with a server."""

    evicts: bool
    forgets: bool


def read(replies: Sequence[Reply]) -> Said:
    """Return what the replies to INFO tell; a server that does not answer them is not suspected."""
    lines = b"\n".join(reply for reply in replies if isinstance(reply, bytes)).splitlines()
    facts = {name: value for name, _, value in (line.partition(b":") for line in lines)}
    limited = facts.get(b"maxmemory", b"0") != b"0"
    return Said(
        evicts=limited and facts.get(b"maxmemory_policy", b"").startswith(b"allkeys"),
        forgets=facts.get(b"aof_enabled") == b"0",
    )
