"""The proof with real servers: a slice of each part, and that it can fail."""

import logging

import pytest

from proofs import _crowds, _faults, _outages, _soak, chaos
from proofs.__main__ import main

pytestmark = pytest.mark.real
SLICE = {
    "faults of a cache over Valkey": 0.019,
    "faults of sources over PostgreSQL": 0.03,
    "killed server": 0.05,
    "cancelled reads": 0.03,
    "misses": 0.05,
}


@pytest.mark.parametrize(("part", "scale"), SLICE.items(), ids=SLICE)
def test_a_slice_of_it_holds(part, scale, capsys, monkeypatch):
    # What a busy machine makes of latencies is the full run's to judge.
    monkeypatch.setattr(chaos, "P99", 60.0)
    monkeypatch.setattr(_faults, "TIMEOUT", 1.0)
    monkeypatch.setattr(_faults, "HEALS", 60.0)
    monkeypatch.setattr(_faults, "MARGIN", 30.0)
    figures, _ = chaos.run(options(part, scale))
    assert figures
    assert all(figure.passed for figure in figures), capsys.readouterr().out
    assert logging.root.manager.disable == logging.NOTSET


def options(part, scale):
    from argparse import Namespace

    return Namespace(only=part, scale=scale, seed=1)


def test_a_wrong_answer_fails_it(monkeypatch, capsys):
    async def mixed_up(port, count, *, seed):
        return _crowds.Crowd(cancelled=count, answered=count, wrong=1)

    monkeypatch.setattr(_crowds, "cancelled_reads", mixed_up)
    assert main(["chaos", "--only=cancelled", "--scale=0.01"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_a_failed_read_or_a_server_that_was_never_found_again_fails_it():
    fine = {"latencies": [0.001], "reconnected": 1, "outages": 1}
    for found, passed in [
        ({}, True),
        ({"failed": ["Oops"]}, False),
        ({"wrong": 1}, False),
        ({"reconnected": 0}, False),
        ({"latencies": [99.0]}, False),
    ]:
        figure = chaos._outage("it", _outages.Load(**{**fine, **found}), 0.0, None)
        assert figure.passed is passed


def test_growth_is_seen_after_the_warm_up():
    warming = list(range(40))
    steady = _soak.Soak(memory=warming + [100] * 60)
    growing = _soak.Soak(memory=warming + list(range(100, 160)))
    assert steady.growth(steady.memory) == 0
    assert growing.growth(growing.memory) > 0.2
