"""Where figures were measured: the machine, the interpreter, the versions of everybody who took part."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PEERS = (
    "acache-core",
    "async-lru",
    "cachebox",
    "cachetools",
    "asyncstdlib",
    "theine",
    "aiocache",
    "cashews",
    "fastapi-cache2",
    "redis",
    "uvloop",
    "asyncpg",
    "aiosqlite",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a figure depends on beside the code."""

    python: str
    processor: str
    cores: int
    versions: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """Return this one."""
        return cls(
            python=f"{platform.python_implementation()} {platform.python_version()}",
            processor=_processor(),
            cores=os.cpu_count() or 1,
            versions=_versions(),
        )

    def __str__(self) -> str:
        """Say it in a line or two."""
        peers = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.short}\n{peers}"

    @property
    def short(self) -> str:
        """What fits under a plot."""
        return f"{self.python}, {self.cores} cores, {self.processor}"


def _processor() -> str:
    """Return the model's name where the system tells it (Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
