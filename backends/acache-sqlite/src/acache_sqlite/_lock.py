"""A lock file: held for as long as a process lives and wants it. Knows nothing of what it protects.

flock and not fcntl: an fcntl lock is lost when any other descriptor of the file is closed, and does
not keep two journals of one process apart. A flock lock survives in a forked child that holds the
descriptor, so whoever holds one has to forget it there."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path


class LockFile:
    """One lock, not held yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody has it; return whether it is held now. Raises `OSError`."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have deleted the file between our open and our lock.
            held = self.path.stat().st_ino == os.fstat(descriptor).st_ino
        except (BlockingIOError, FileNotFoundError):
            held = False
        except BaseException:
            os.close(descriptor)
            raise
        if held:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return held

    def wait(self, seconds: float) -> bool:
        """Take the lock, waiting for another holder for so long; return whether it is held now."""
        end = time.monotonic() + seconds
        while not self.acquire():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def release(self) -> None:
        """Let others have it. Closing is enough, and in a forked child leaves the parent its lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def delete(self) -> None:
        """Remove the file, then let go: whoever waits for it sees that it is gone."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.release()
