"""A script that runs inside Redis, and the command that runs it. Knows no script."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from acache_redis._resp import Command


@dataclass(frozen=True, slots=True)
class Script:
    """A text, and the name under which the server keeps it."""

    text: bytes
    sha: bytes

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the script with this text."""
        data = text.encode()
        return cls(data, hashlib.sha1(data, usedforsecurity=False).hexdigest().encode())

    def run(self, keys: Sequence[bytes], *arguments: bytes | int) -> Command:
        """Return the command that runs it."""
        return (b"EVALSHA", self.sha, len(keys), *keys, *arguments)


def loads(scripts: Iterable[Script]) -> Sequence[Command]:
    """Return what a server is sent that does not know a script: a new one, or one that was restarted."""
    return tuple((b"SCRIPT", b"LOAD", script.text) for script in scripts)
