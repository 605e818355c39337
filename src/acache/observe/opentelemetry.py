"""Metrics and spans of a cache through OpenTelemetry's API; which exporter is the application's affair.

Needs `pip install "acache-core[opentelemetry]"`. Metrics are read when they are collected; spans are made
of what the cache tells its observers, so only loads and waits pay for them, never hits."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, TracerProvider

from acache import Cache, WriteBehind, __version__
from acache.clock import SYSTEM_CLOCK
from acache.events import BatchFlushed, Event, LeaseAwaited, LoadAwaited, LoadEnded, LoadStarted
from acache.observe._figures import BACKLOG, CACHE, FUNCTION, Figure

T = TypeVar("T")
Labelled = Callable[[], Iterable[tuple[Mapping[str, str], T]]]
"""Returns what figures are read from now, each with its attributes."""

MOST_LINKS: Final = 128  # per span: the default limit of OpenTelemetry's SDK
MOST_KEYS: Final = 1_000  # whose waiters are remembered until their load begins


def instrument(
    cache: Cache,
    *,
    write_behind: Mapping[str, WriteBehind[Any, Any]] | None = None,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    record_keys: bool = False,
) -> Callable[[], None]:
    """Export metrics and spans of *cache*, and of *write_behind* patterns by a name; return what ends it.

    Metrics are named `acache.*`, with the attributes `acache.namespace` and `acache.function` or
    `acache.pattern`. Each call of a loader is one span, the parent of what the loader does itself and
    linked to the spans of those who wait for it; a wait for another process's load and a flush of
    written-behind records are spans too. *record_keys*: put keys on spans; they may be personal data.
    The providers default to the global ones."""
    meter = metrics.get_meter("acache", __version__, meter_provider=meter_provider)
    tracer = trace.get_tracer("acache", __version__, tracer_provider=tracer_provider)
    watch = _Watch(cache.namespace, meter, tracer, record_keys=record_keys)
    leave = cache.subscribe(watch)
    ended = False
    where = {"acache.namespace": cache.namespace}

    def functions() -> Iterable[tuple[Mapping[str, str], Any]]:
        return [(where | {"acache.function": f.name}, f) for f in cache.report().functions]

    def observe(figures: Iterable[Figure[T]], subjects: Labelled[T], make: Callable[..., object]) -> None:
        for figure in figures:

            def read(_: CallbackOptions, figure: Figure[T] = figure) -> Iterable[Observation]:
                for attributes, subject in () if ended else subjects():
                    value = figure.read(subject)
                    if value is not None:
                        yield Observation(value, attributes)

            make(f"acache.{figure.name}", callbacks=[read], unit=figure.unit, description=figure.text)

    observe(FUNCTION, functions, meter.create_observable_counter)
    observe(CACHE, lambda: [(where, cache.health())], meter.create_observable_gauge)
    patterns = write_behind or {}
    observe(
        BACKLOG,
        lambda: [({"acache.pattern": name}, pattern) for name, pattern in patterns.items()],
        meter.create_observable_gauge,
    )

    def end() -> None:
        nonlocal ended
        ended = True  # callbacks cannot be taken back
        leave()

    return end


class _Watch:
    """Makes spans and durations of events."""

    def __init__(
        self, namespace: str, meter: metrics.Meter, tracer: trace.Tracer, *, record_keys: bool
    ) -> None:
        self._namespace = namespace
        self._tracer = tracer
        self._record_keys = record_keys
        self._load_duration = meter.create_histogram("acache.load.duration", unit="s")
        self._lease_wait = meter.create_histogram("acache.lease.wait", unit="s")
        self._flush_duration = meter.create_histogram("acache.flush.duration", unit="s")
        self._waiters: dict[str, list[SpanContext]] = {}  # of keys whose load has not begun
        self._running: dict[str, Span] = {}
        # Loads by their keys, each with what takes its span off the context again.
        self._entered: dict[tuple[str, ...], list[tuple[Span, Any]]] = {}

    def __call__(self, event: Event) -> None:
        """Take an event, in the context that it is told in."""
        match event:
            case LoadAwaited():
                self._await(event.key)
            case LoadStarted():
                self._start(event)
            case LoadEnded():
                self._end(event)
            case LeaseAwaited():
                self._lease_wait.record(event.seconds, self._attributes(event.function))
                self._past("acache lease wait", event.seconds, self._attributes(event.function, (event.key,)))
            case BatchFlushed():
                self._flush_duration.record(event.seconds, self._attributes())
                records = {"acache.flush.records": event.records}
                self._past("acache flush", event.seconds, self._attributes() | records)
            case _:
                pass

    def _attributes(self, function: str | None = None, keys: tuple[str, ...] = ()) -> dict[str, Any]:
        attributes: dict[str, Any] = {"acache.namespace": self._namespace}
        if function is not None:
            attributes["acache.function"] = function
        if keys and self._record_keys:
            attributes["acache.keys"] = keys
        return attributes

    def _await(self, key: str) -> None:
        waiter = trace.get_current_span().get_span_context()
        if not waiter.is_valid:
            return
        running = self._running.get(key)
        if running is not None:
            running.add_link(waiter)
            return
        # Some keys are never loaded here, because another process has done it: the oldest go.
        if key not in self._waiters and len(self._waiters) >= MOST_KEYS:
            del self._waiters[next(iter(self._waiters))]
        waiters = self._waiters.setdefault(key, [])
        if len(waiters) < MOST_LINKS:
            waiters.append(waiter)

    def _start(self, event: LoadStarted) -> None:
        waiters = [waiter for key in event.keys for waiter in self._waiters.pop(key, ())]
        span = self._tracer.start_span(
            f"acache load {event.function}",
            links=[Link(waiter) for waiter in waiters[:MOST_LINKS]],
            attributes=self._attributes(event.function, event.keys) | {"acache.load.keys": len(event.keys)},
        )
        self._running.update(dict.fromkeys(event.keys, span))
        token = context.attach(trace.set_span_in_context(span))
        self._entered.setdefault(event.keys, []).append((span, token))

    def _end(self, event: LoadEnded) -> None:
        self._load_duration.record(event.seconds, self._attributes(event.function))
        loads = self._entered.get(event.keys, [])
        mine = next((load for load in loads if load[0] is trace.get_current_span()), None)
        if mine is None:  # begun before this watch did
            return
        span, token = mine
        loads.remove(mine)
        if not loads:
            del self._entered[event.keys]
        for key in event.keys:
            if self._running.get(key) is span:
                del self._running[key]
        context.detach(token)
        if event.error is not None:
            span.set_attribute("error.type", event.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _past(self, name: str, seconds: float, attributes: Mapping[str, Any]) -> None:
        """Make a span of what has just ended."""
        end = int(SYSTEM_CLOCK.time() * 1e9)
        self._tracer.start_span(name, start_time=end - int(seconds * 1e9), attributes=attributes).end(end)
