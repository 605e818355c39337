"""What has to happen around `os.fork`. Knows nothing of databases or journals.

SQLite forbids carrying an open connection into a child: the child believes that it holds its
parent's file locks, and when the parent closes, the write-ahead log is deleted under the child."""

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that must let go of its resources while the process forks."""

    def before_fork(self) -> None:
        """Wait for what is running and let go; called in the parent."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """Go on; called in both processes."""
        ...


_watched: WeakSet[Forkable] = WeakSet()
_held: list[Forkable] = []  # filled before a fork, emptied after it, by the forking thread
_installed: list[bool] = []


def watch(part: Forkable) -> None:
    """Call *part* around every fork, for as long as somebody holds it."""
    if not _installed:
        _installed.append(True)
        os.register_at_fork(
            before=_before,
            after_in_parent=lambda: _after(child=False),
            after_in_child=lambda: _after(child=True),
        )
    _watched.add(part)


def _before() -> None:
    for part in list(_watched):
        part.before_fork()
        _held.append(part)


def _after(*, child: bool) -> None:
    while _held:
        _held.pop().after_fork(child=child)
