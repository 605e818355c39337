"""Valkey servers for benchmarks: the launchers of the Redis adapter's tests."""

import sys
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

LAUNCHERS = Path(__file__).parents[1] / "backends/acache-redis/tests"


def valkey(*options: str) -> AbstractContextManager[Any]:
    """Start a server of the wheel; it has a `url` and is killed at the end of the block."""
    return _launcher("valkey_server").valkey(*options)  # type: ignore[no-any-return]


def cluster(primaries: int, replicas: int) -> AbstractContextManager[Any]:
    """Start as many in a cluster; it has a `url`."""
    return _launcher("valkey_cluster").cluster(primaries, replicas)  # type: ignore[no-any-return]


def _launcher(name: str) -> Any:
    if str(LAUNCHERS) not in sys.path:
        sys.path.insert(0, str(LAUNCHERS))
    return import_module(name)
