"""The invalidations that this process has sent a moment ago, and to whose data. Knows no connection.

A replica that becomes primary may lack the last that its primary acknowledged, and then what was
dropped is back. So a primary whose replication id is another than the one that an invalidation was
sent to is told it again before anything is read from it.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from acache_redis import _scripts as scripts
from acache_redis._resp import Command

log: Final = logging.getLogger("acache_redis")
MOST: Final = 50_000  # names; more than one process invalidates in a window unless it should clear instead


@final
@dataclass(slots=True)
class Sent:
    """One name that was invalidated."""

    at: float
    command: Command  # that invalidates it
    message: bytes | None
    data: bytes  # the replication id of the last primary that did it; empty while none has


@final
class Recent:
    """What was sent in the last `window` seconds in which its server answered; *monotonic* tells the time."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._sent: dict[bytes, Sent] = {}  # by name, oldest first
        self._answered: dict[bytes, float] = {}  # when whose data were last changed
        self._asked = False
        self.window = 30.0
        self.wait_replicas = 0

    def expect(self, *, window: float, wait_replicas: int) -> None:
        """Remember for *window* seconds, let invalidations wait for replicas; the most asked for counts."""
        self.window = max(window, self.window) if self._asked else window
        self.wait_replicas = max(wait_replicas, self.wait_replicas)
        self._asked = True

    def note(self, commands: Iterable[Command], message: bytes | None) -> list[Sent | None]:
        """Return what each of *commands* invalidates, to be marked when it has been done.

        Until then what is known of the same name stays true: that another primary did it before."""
        now = self._monotonic()
        noted: list[Sent | None] = []
        for command in commands:
            again = scripts.invalidation(command)
            if again is None:
                noted.append(None)
                continue
            name, to_send = again
            before = self._sent.pop(name, None)
            sent = Sent(at=now, command=to_send, message=message, data=b"")
            if before is not None:
                sent.data = before.data
                sent.message = before.message if message is None else message
            self._sent[name] = sent
            noted.append(sent)
        self._forget_the_oldest()
        return noted

    def done(self, sent: Iterable[Sent | None], data: bytes) -> None:
        """Note that the primary with these *data* did it."""
        for one in sent:
            if one is not None:
                one.data = data
        self._answered[data] = self._monotonic()

    def unknown_to(
        self,
        data: bytes,
        *,
        before: bytes = b"",
        mine: Callable[[bytes], bool],
        stands: Callable[[bytes], bool],
    ) -> list[Sent]:
        """Return what of the names that are *mine* was sent to other data than these.

        Not what was sent to data that another primary still has (*stands*): then the names have been
        moved here with all that had happened to them. But also what has no answer yet, if there was
        another primary *before*: it may have done it, and its answer be on the way."""
        self._sent = {name: sent for name, sent in self._sent.items() if not self._over(sent)}
        others = {before, *(sent.data for sent in self._sent.values())} - {b"", data}
        self._answered = {known: at for known, at in self._answered.items() if known in {*others, data}}
        gone = {other for other in others if not stands(other)}
        if gone:
            gone.add(b"")
        return [sent for name, sent in self._sent.items() if sent.data in gone and mine(name)]

    def _over(self, sent: Sent) -> bool:
        """Tell whether the server that did it went on for so long that a replica will have heard of it.

        While it is away nothing is over: its successor may be named in a second or in an hour."""
        return sent.at <= self._answered.get(sent.data, self._monotonic()) - self.window

    def _forget_the_oldest(self) -> None:
        while self._sent:
            name = next(iter(self._sent))
            if len(self._sent) <= MOST and not self._over(self._sent[name]):
                return
            del self._sent[name]


def again(sent: Sequence[Sent], channel: bytes, alone: Callable[[bytes], bytes]) -> list[Command]:
    """Return the commands that invalidate all of *sent*, and say so; *alone* makes a message of one node."""
    commands: list[Command] = []
    for one, following in zip(sent, [*sent[1:], None], strict=True):
        message = one.message
        last = following is None or following.message is not message
        if message is None or not last or one.command[0] != b"EVALSHA":
            commands.append(one.command)
        else:
            commands += scripts.saying([one.command], channel, alone(message))
    return commands
