"""Tools for testing code that caches, and caches. Needs no pytest."""

from acache.testing.chaos import Chaos, chaotic
from acache.testing.clock import ManualClock
from acache.testing.explore import Exploration, Failure, ViolationFound, ViolationMissed, explore
from acache.testing.history import History, StaleRead, Violation
from acache.testing.override import override
from acache.testing.process import Process, ProcessKilled, SimClock
from acache.testing.proxy import Proxy
from acache.testing.sim import CheckFailed, Sim
from acache.testing.simloop import Deadlock, Livelock, SimLoop

__all__ = [
    "Chaos",
    "CheckFailed",
    "Deadlock",
    "Exploration",
    "Failure",
    "History",
    "Livelock",
    "ManualClock",
    "Process",
    "ProcessKilled",
    "Proxy",
    "Sim",
    "SimClock",
    "SimLoop",
    "StaleRead",
    "Violation",
    "ViolationFound",
    "ViolationMissed",
    "chaotic",
    "explore",
    "override",
]
