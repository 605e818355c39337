"""A PostgreSQL server for benchmarks: the launcher of the PostgreSQL adapter's tests."""

import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

LAUNCHER = Path(__file__).parents[1] / "backends/acache-postgres/tests/postgres_server.py"


def postgres(**options: str) -> AbstractContextManager[Any]:
    """Start a server of the wheel with these settings; it has a `url` and ends with the block."""
    spec = importlib.util.spec_from_file_location("postgres_server", LAUNCHER)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(LAUNCHER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.postgres(**options)  # type: ignore[no-any-return]
