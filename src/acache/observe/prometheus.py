"""Figures of caches for Prometheus, read when it scrapes: a hit pays nothing for them.

Needs `pip install "acache-core[prometheus]"`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from acache import Cache, WriteBehind
from acache._stats import Histogram
from acache.observe._figures import BACKLOG, CACHE, DISTRIBUTIONS, FUNCTION, Distribution, Figure

T = TypeVar("T")
Labelled = Sequence[tuple[tuple[str, ...], T]]
"""What figures are read from, each with the values of its labels."""


class CacheCollector(Collector):
    """The figures of one or several caches.

    registry.register(CacheCollector(cache, write_behind={"users": users}))

    Labels are `cache` (the namespace) and `function`, or `pattern` for write-behind; none per key,
    whose number has no bound. Scraped from another thread, figures may be a moment apart."""

    def __init__(
        self, *caches: Cache, write_behind: Mapping[str, WriteBehind[Any, Any]] | None = None
    ) -> None:
        """Export *caches*, which may be configured later, and *write_behind* patterns by a name."""
        self._caches = caches
        self._patterns = dict(write_behind or {})

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        functions = [
            ((cache.namespace, function.name), function)
            for cache in self._caches
            for function in cache.report().functions
        ]
        caches = [((cache.namespace,), cache.health()) for cache in self._caches]
        evictions = [((cache.namespace,), cache.stats().evictions) for cache in self._caches]
        patterns = [((name,), pattern) for name, pattern in self._patterns.items()]
        evicted: Figure[int] = Figure("evictions", "{entry}", "Entries evicted from the local store.", float)
        for counted in FUNCTION:
            yield _filled(CounterMetricFamily, counted, ("cache", "function"), functions)
        yield _filled(CounterMetricFamily, evicted, ("cache",), evictions)
        for distribution in DISTRIBUTIONS:
            yield _histogram(distribution, functions)
        for state in CACHE:
            yield _filled(GaugeMetricFamily, state, ("cache",), caches)
        for waiting in BACKLOG:
            yield _filled(GaugeMetricFamily, waiting, ("pattern",), patterns)


def _filled(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    figure: Figure[T],
    labels: tuple[str, ...],
    of: Labelled[T],
) -> Metric:
    suffix = "_seconds" if figure.unit == "s" else ""
    family = kind(f"acache_{figure.name}{suffix}", figure.text, labels=labels)
    for values, subject in of:
        value = figure.read(subject)
        if value is not None:
            family.add_metric(values, value)
    return family


def _histogram(distribution: Distribution, functions: Labelled[Any]) -> Metric:
    name = f"acache_{distribution.name}_seconds"
    family = HistogramMetricFamily(name, distribution.text, labels=("cache", "function"))
    for values, function in functions:
        held: Histogram = getattr(function, distribution.attribute)
        buckets = [(f"{1e-8 * 2.0**end:.4g}", float(held.below(end))) for end in distribution.octaves]
        family.add_metric(values, [*buckets, ("+Inf", float(held.count))], held.total)
    return family
