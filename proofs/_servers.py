"""The real servers that proofs use, which are those of the tests. Knows no proof."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
for backend in ("acache-redis", "acache-postgres"):
    sys.path.append(str(ROOT / "backends" / backend / "tests"))

from postgres_server import postgres  # noqa: E402
from valkey_server import valkey  # noqa: E402

__all__ = ["ROOT", "postgres", "valkey"]
