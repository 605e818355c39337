"""The source of truth of a fleet's tests: versions in a file that all processes have mapped.

Each key has one writer at a time, so eight aligned bytes need no lock. A writer first raises the
version (its commit), then invalidates, then raises the *floor*: no read that starts later may answer
less. The last floors are kept with their times (CLOCK_MONOTONIC, one for all processes), so that a
reader which may lag knows by how much it did."""

import mmap
import struct
import time
from pathlib import Path

FLOORS = 64  # the last ones of each key
_RECORD = 16 + 16 * FLOORS
_NUMBER = struct.Struct("<Q")
_FLOOR = struct.Struct("<Qd")


class Register:
    """Versions and floors of some keys, shared by processes."""

    def __init__(self, path, keys):
        self.path = str(path)
        self.keys = keys
        file = Path(path)
        if not file.exists():
            file.write_bytes(bytes(_RECORD * keys))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _RECORD * keys)

    def version(self, key):
        """Return the version that the source holds."""
        return _NUMBER.unpack_from(self._map, key * _RECORD)[0]

    def commit(self, key):
        """Raise the version and return it."""
        version = self.version(key) + 1
        _NUMBER.pack_into(self._map, key * _RECORD, version)
        return version

    def floor(self, key):
        """Return the version below which no read may answer that starts now."""
        return _NUMBER.unpack_from(self._map, key * _RECORD + 8)[0]

    def raise_floor(self, key, version):
        """Note that *version* was invalidated for, now."""
        place = key * _RECORD + 16 + version % FLOORS * 16
        _FLOOR.pack_into(self._map, place, version, time.monotonic())
        _NUMBER.pack_into(self._map, key * _RECORD + 8, version)

    def lag(self, key, value, started):
        """Return how long before *started* a version after *value* had been invalidated for; 0 if none."""
        since = []
        for version in range(value + 1, self.floor(key) + 1):
            number, at = _FLOOR.unpack_from(self._map, key * _RECORD + 16 + version % FLOORS * 16)
            if number != version:
                raise LookupError(f"{self.floor(key) - value} versions late: more than are remembered")
            since.append(at)
        return max(0.0, started - min(since)) if since else 0.0
