"""What OpenTelemetry gets of a cache: one span a load, linked to who waits; metrics by function."""

import asyncio

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from acache import Cache
from acache.events import LoadAwaited
from acache.observe.opentelemetry import MOST_KEYS, instrument
from acache.testing.network import Network
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer


class Telemetry:
    """An SDK that keeps everything."""

    def __init__(self):
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("app")

    def watch(self, cache, **options):
        return instrument(cache, meter_provider=self.meters, tracer_provider=self.tracers, **options)

    def spans(self, start):
        return [span for span in self._spans.get_finished_spans() if span.name.startswith(start)]

    def points(self):
        data = self._reader.get_metrics_data()
        return {
            (metric.name, *point.attributes.values()): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def telemetry():
    held = Telemetry()
    yield held
    held.tracers.shutdown()
    held.meters.shutdown()


@pytest.mark.asyncio
async def test_a_load_is_one_span_linked_to_all_who_wait_for_it(cache, telemetry):
    telemetry.watch(cache)
    gate = asyncio.Event()

    async def load():
        with telemetry.tracer.start_as_current_span("query"):
            await gate.wait()
        return 1

    async def request(number):
        with telemetry.tracer.start_as_current_span(f"request {number}"):
            return await cache.get_or_load("k", load, ttl=60)

    requests = [asyncio.create_task(request(0))]
    while not telemetry_running(cache):
        await asyncio.sleep(0)
    requests += [asyncio.create_task(request(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*requests) == [1, 1, 1]
    (load_span,), (query,) = telemetry.spans("acache load"), telemetry.spans("query")
    waiters = {span.context.span_id for span in telemetry.spans("request")}
    assert {link.context.span_id for link in load_span.links} == waiters
    assert len(waiters) == 3
    assert load_span.parent is None, "no waiter's trace owns what all of them share"
    assert query.parent.span_id == load_span.context.span_id
    assert "acache.keys" not in load_span.attributes


def telemetry_running(cache):
    return cache.stats().loads


@pytest.mark.asyncio
async def test_a_failed_load_says_so_and_keys_are_told_when_asked_for(cache, telemetry):
    telemetry.watch(cache, record_keys=True)

    async def load():
        raise KeyError("secret")

    with pytest.raises(KeyError):
        await cache.get_or_load("k", load, ttl=60)
    (span,) = telemetry.spans("acache load")
    assert span.attributes["error.type"] == "KeyError"
    assert span.attributes["acache.keys"] == ("k",)
    assert not span.status.is_ok
    assert "secret" not in span.to_json()


@pytest.mark.asyncio
async def test_a_load_inside_a_load_is_linked_to_the_outer_one(cache, telemetry):
    telemetry.watch(cache)

    async def inner():
        return 1

    async def outer():
        return await cache.get_or_load("inner", inner, ttl=60)

    await cache.get_or_load("outer", outer, ttl=60)
    first, second = telemetry.spans("acache load")
    assert [link.context.span_id for link in first.links] == [second.context.span_id]


@pytest.mark.asyncio
async def test_figures_are_observed_by_function_and_loads_timed(cache, telemetry, clock):
    end = telemetry.watch(cache)

    async def load():
        clock.advance(0.25)
        return 1

    for _ in range(3):
        await cache.get_or_load("k", load, ttl=60)
    points = telemetry.points()
    of = ("default", "direct calls")
    assert points["acache.hits", *of].value == 2
    assert points["acache.loads", *of].value == 1
    assert points["acache.load.duration", *of].sum == 0.25
    assert points["acache.entries", "default"].value == 1
    end()
    assert ("acache.hits", *of) not in telemetry.points()
    await cache.get_or_load("k2", load, ttl=60)
    assert len(telemetry.spans("acache load")) == 1


@pytest.mark.asyncio
async def test_a_wait_for_another_process_is_a_span(telemetry, clock):
    server = MemoryServer(clock=clock)
    begun, gate = asyncio.Event(), asyncio.Event()

    async def load():
        begun.set()
        await gate.wait()
        return "v"

    async with (
        Cache(MemoryRemote(server, network=Network()), clock=clock) as one,
        Cache(MemoryRemote(server, network=Network()), clock=clock) as other,
    ):
        telemetry.watch(other)
        first = asyncio.create_task(one.get_or_load("k", load, ttl=60, type=str))
        await begun.wait()
        second = asyncio.create_task(other.get_or_load("k", load, ttl=60, type=str))
        for _ in range(30):
            await asyncio.sleep(0)
        clock.advance(0.5)
        gate.set()
        await asyncio.gather(first, second)
    (span,) = telemetry.spans("acache lease wait")
    assert span.end_time - span.start_time == 500_000_000
    assert not telemetry.spans("acache load")


@pytest.mark.asyncio
async def test_waiters_of_keys_that_others_load_are_not_remembered_for_ever(cache, telemetry):
    watched = []
    cache.subscribe = watched.append
    telemetry.watch(cache)
    with telemetry.tracer.start_as_current_span("request"):
        for number in range(MOST_KEYS * 2):
            watched[0](LoadAwaited(function="f", key=str(number)))
    assert len(watched[0]._waiters) == MOST_KEYS
