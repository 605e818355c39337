"""What an fsync costs here: every durable figure is a multiple of it."""

import os
import statistics
import tempfile
from time import perf_counter


def fsync_seconds(times: int = 200) -> float:
    """Return the median of an fsync after 4 KiB appended to a file in the temporary directory."""
    found = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(times):
            os.write(file.fileno(), bytes(4096))
            start = perf_counter()
            os.fsync(file.fileno())
            found.append(perf_counter() - start)
    return statistics.median(found)
