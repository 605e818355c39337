"""From what the server replied to what a verb returns. Pure; a reply of another shape is a ValueError.

A server is foreign: a proxy, another program on the port, a script of another release.
"""

from collections.abc import Sequence

from acache.protocols import BUSY, FENCED, FOUND, GRANTED, Claim, ClaimKind, Grant
from acache_redis._resp import Reply


def nothing(_: Sequence[Reply]) -> None:
    """Return None: that no error came is all there is to know."""


def everything_done(replies: Sequence[Reply]) -> bool:
    """Tell whether every script returned 1."""
    if not {*replies} <= {0, 1}:
        raise ValueError("neither 0 nor 1")
    return all(replies)


def versions(replies: Sequence[Reply]) -> list[bytes | None]:
    """Return a version, or None, for each tag."""
    if not all(isinstance(reply, bytes | None) for reply in replies):
        raise ValueError("no version")
    return list(replies)


def stamp(replies: Sequence[Reply]) -> bytes:
    """Return the one stamp."""
    match replies:
        case [bytes(found)]:
            return found
        case _:
            raise ValueError("no stamp")


def grant(replies: Sequence[Reply]) -> Grant:
    """Return the answer to a request for a lease."""
    match replies:
        case [[b"granted"]]:
            return Grant(kind=GRANTED)
        case [[b"fenced"]]:
            return Grant(kind=FENCED)
        case [[b"found", bytes(data)]]:
            return Grant(kind=FOUND, data=data)
        case [[b"busy", int(milliseconds), bytes(holder)]]:
            return Grant(kind=BUSY, remaining=milliseconds / 1000, holder=holder)
        case _:
            raise ValueError("no answer to a request for a lease")


def claims(replies: Sequence[Reply]) -> list[Claim]:
    """Return what stands on a key."""
    [found] = replies
    return [
        Claim(kind=ClaimKind(kind.decode()), token=token, remaining=left / 1000, tainted=tainted == 1)
        for kind, token, left, tainted in found
    ]
