"""All scenarios together."""

import scenarios_alone  # noqa: F401 - registers
import scenarios_cancelled  # noqa: F401
import scenarios_directed  # noqa: F401
import scenarios_errors  # noqa: F401
import scenarios_feed  # noqa: F401
import scenarios_loads  # noqa: F401
import scenarios_mixed  # noqa: F401
import scenarios_outages  # noqa: F401
import scenarios_pending  # noqa: F401
import scenarios_readers  # noqa: F401
import scenarios_register  # noqa: F401
import scenarios_sources  # noqa: F401
import scenarios_versions  # noqa: F401
import scenarios_writers  # noqa: F401
from scenario_registry import REGISTRY

SCENARIOS = list(REGISTRY.values())
