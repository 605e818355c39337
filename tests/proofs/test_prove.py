"""The proof of the promises: a slice of it, and that it can fail."""

import json
from contextlib import nullcontext

import pytest

from proofs import _catalogue, prove
from proofs.__main__ import main

QUICK = {
    "lease": "leases are not renewed",
    "fence": "a commit needs only to be present",
    "tags": "tags do not count",
    "near": "an own store keeps the older near copy",
    "feed": "a gap is no message",
    "flight": "a void load is stored",
    "outage": "a retry that lands makes no pass",
    "journal": "The journal forgets a batch before the source has it",
    "flusher": "Reads go to the cache and the source, past the pending writes",
}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.delenv("ACACHE_SEED", raising=False)


def test_a_slice_of_every_promise_holds(tmp_path, capsys):
    told = tmp_path / "figures.json"
    code = main(["prove", "--schedules=250", "--seed=5000", "--workers=0", "--no-mutants", f"--json={told}"])
    figures = json.loads(told.read_text(encoding="utf-8"))
    assert code == 0, capsys.readouterr().out
    assert [line["promise"] for line in figures["promises"]] == ["P1", "P2", "P3", "P4", "P5", "P6", "P7"]
    assert sum(line["schedules"] for line in figures["promises"]) == 250
    assert all(line["faults"] for line in figures["promises"])
    assert "0 violations" in capsys.readouterr().out


@pytest.mark.parametrize(("part", "name"), QUICK.items(), ids=QUICK)
def test_a_planted_bug_of_every_part_is_caught(part, name):
    caught = prove.catch(name)
    assert (caught.part, caught.seed is not None) == (part, True)


def test_every_scenario_gets_its_share_and_the_sum_is_exact():
    names = list(_catalogue.programs())
    for wanted in (len(names) * 4, 10_000):
        chunks = list(prove.plan(names, wanted, 7))
        assert sum(len(chunk.seeds) for chunk in chunks) == wanted
        assert {chunk.program for chunk in chunks} == set(names)
        assert min(chunk.seeds.start for chunk in chunks) == 7


def test_a_violation_is_told_with_its_replay_and_fails_the_proof(monkeypatch, capsys):
    async def broken(sim):
        sim.check(sim.seed != 3, "it broke")

    program = _catalogue.Program(name="broken", promise="P1", weight=1, run=broken)
    missed = _catalogue.Bug(
        name="harmless", part="lease", program="broken", scheduler="random", planted=nullcontext
    )
    monkeypatch.setattr(prove, "programs", lambda: {"broken": program})
    monkeypatch.setattr(prove, "bugs", lambda: {"harmless": missed})
    monkeypatch.setattr(_catalogue, "programs", lambda: {"broken": program})
    assert main(["prove", "--schedules=20", "--workers=0", "--only=broken"]) == 1
    told = capsys.readouterr().out
    assert "it broke" in told
    assert "seeds=[3]" in told
    assert prove.catch("harmless").seed == 3
