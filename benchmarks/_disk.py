"""What an fsync costs here: every durable figure is a multiple of it."""

import os
import statistics
import tempfile
from time import perf_counter


async def fsync() -> float:
    """Return the median of some fsyncs, each after 4 KiB appended to a file in the temporary directory.

    A contestant like the others: a disk that is shared has other moods from minute to minute."""
    found = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(30):
            os.write(file.fileno(), bytes(4096))
            start = perf_counter()
            os.fsync(file.fileno())
            found.append(perf_counter() - start)
    return statistics.median(found)
