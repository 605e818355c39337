"""A Valkey server for benchmarks: the launcher of the Redis adapter's tests."""

import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

LAUNCHER = Path(__file__).parents[1] / "backends/acache-redis/tests/valkey_server.py"


def valkey(*options: str) -> AbstractContextManager[Any]:
    """Start a server of the wheel; it has a `url` and is killed at the end of the block."""
    spec = importlib.util.spec_from_file_location("valkey_server", LAUNCHER)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(LAUNCHER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.valkey(*options)  # type: ignore[no-any-return]
