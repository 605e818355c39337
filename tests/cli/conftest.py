"""A result that was never run, made from a constructed history, for whoever shows or writes one."""

import pytest

from acache.cli.demo.record import Recorder
from acache.cli.demo.result import (
    DemoResult,
    KillResult,
    TagLine,
    TagsResult,
    WriteResult,
    WritesResult,
    refresh_result,
    strategy_result,
)
from acache.cli.demo.strategies import STRATEGIES


class Hand:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture
def recorder(hand):
    return Recorder(hand)


@pytest.fixture
def sample():
    """Two seconds of one reader and one key, renewed every half second, under every strategy's name."""
    hand = Hand()
    recorder = Recorder(hand)
    for n in range(4):
        hand.now = n / 2
        read, load = recorder.read_begins(7), recorder.load_begins(7)
        recorder.load_runs(load)
        hand.now += 0.01
        recorder.load_ends(load)
        recorder.read_ends(read, 1)
    hand.now = 2.0
    recorder.stop()
    return DemoResult(
        version="0.1.0",
        python="3.11.0",
        cores=2,
        seed=1,
        readers=1,
        hot_keys=1,
        ttl=0.5,
        writes_per_second=20.0,
        total_seconds=12.0,
        strategies=tuple(strategy_result(name, recorder) for name in STRATEGIES),
        refresh=refresh_result(recorder, ttl=0.5),
        tags=TagsResult(
            tag="user:<1>",
            keys=(
                TagLine(key="page:<1>", tags=("user:<1>",), kept=False, before="1 & 1", after="2"),
                TagLine(key="page:2", tags=("user:2",), kept=True, before="1", after="1"),
            ),
        ),
        writes=WritesResult(
            writers=100,
            patterns=(
                WriteResult(
                    name="write-through", acknowledged=200, rows_per_second=100.0, p50_ms=9.5, p99_ms=20.0
                ),
                WriteResult(
                    name="write-behind", acknowledged=1600, rows_per_second=800.0, p50_ms=1.25, p99_ms=4.0
                ),
            ),
            flush_ms=12.0,
            kill=KillResult(
                acknowledged=1003, sessions=400, missing=17, recovered=18, recovery_ms=30.0, lost=0
            ),
        ),
    )
