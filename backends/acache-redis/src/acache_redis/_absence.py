"""The nodes of a cluster that do not answer. Pure: `now` is handed in, in seconds.

A failure has cost its timeout already, and what is on the node has another source. So a node that
failed once is asked for nothing more until it has answered a probe, of which there is one at a time.
"""

from collections.abc import Container
from typing import Final, final

from acache_redis._topology import Node

COOL_DOWN: Final = 1.0  # seconds from a failure to a probe


@final
class Absence:
    """Who is away, and when to probe."""

    def __init__(self) -> None:
        self._due: dict[Node, float] = {}

    def __contains__(self, node: object) -> bool:
        """Tell whether *node* is away."""
        return node in self._due

    @property
    def anybody(self) -> bool:
        """Whether anybody is away."""
        return bool(self._due)

    def failed(self, node: Node, now: float) -> bool:
        """Note that *node* did not answer; tell whether that is news."""
        news = node not in self._due
        self._due[node] = now + COOL_DOWN
        return news

    def answered(self, node: Node) -> bool:
        """Note that *node* is there; tell whether that is news."""
        return self._due.pop(node, None) is not None

    def keep(self, nodes: Container[Node]) -> None:
        """Forget all others."""
        self._due = {node: due for node, due in self._due.items() if node in nodes}

    def to_probe(self, node: Node, now: float) -> bool:
        """Tell whether *node* is to be probed; the next time only when another cool-down is over."""
        if now < self._due.get(node, now + COOL_DOWN):
            return False
        self._due[node] = now + COOL_DOWN
        return True
