"""All scenarios together."""

import scenarios_directed  # noqa: F401 - registers
import scenarios_readers  # noqa: F401
from scenario_registry import REGISTRY

SCENARIOS = list(REGISTRY.values())
