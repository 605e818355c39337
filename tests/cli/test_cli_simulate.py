"""`acache simulate`: closed forms that the deciding function itself agrees with."""

import json
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from acache.cli.app import app
from acache.cli.simulate import Situation, simulate
from acache.cli.xfetch import refreshed_before

pytestmark = pytest.mark.slow


def run(*arguments):
    return CliRunner().invoke(app, ["simulate", *arguments])


@pytest.mark.parametrize(("rate", "beta"), [(100, 0.5), (100, 1), (100, 2), (30, 1)])
def test_what_is_drawn_agrees_with_the_closed_forms(rate, beta):
    result = simulate(Situation(ttl=60, load_time=0.1, rate=rate, beta=beta), seed=7)
    assert result.drawn.head_start == pytest.approx(result.expected.head_start, rel=0.05)
    assert result.drawn.unrefreshed == pytest.approx(result.expected.unrefreshed, abs=0.01)
    if result.expected.herd is not None:
        assert result.drawn.herd == pytest.approx(result.expected.herd, rel=0.1)


def test_without_eagerness_every_expiry_is_met_by_readers_that_wait():
    result = simulate(Situation(ttl=60, load_time=0.1, rate=100, beta=0), seed=1)
    assert result.drawn.unrefreshed == result.expected.unrefreshed == 1
    assert result.expected.herd is None
    assert result.drawn.herd == pytest.approx(result.naive, rel=0.05)


@given(st.floats(0.01, 1e4), st.floats(1e-4, 10), st.floats(0.1, 5), st.floats(0, 10), st.floats(0, 10))
def test_the_longer_before_expiry_the_less_likely_is_a_refresh(rate, delta, beta, lead, more):
    of = {"rate": rate, "delta": delta, "beta": beta}
    assert 0 <= refreshed_before(lead + more, **of) <= refreshed_before(lead, **of) <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nearly always ahead of expiry"),
        (("--ttl", "0.2", "--rate", "1000"), "lower beta, or raise the ttl"),
        (("--rate", "0.1"), "stale_while_revalidate would spare it"),
        (("--ttl", "1", "--load-time", "5"), "longer than its value lives"),
        (("--beta", "0"), "stale_while_revalidate would spare it"),
    ],
)
def test_it_says_what_follows(arguments, words):
    done = run(*arguments)
    assert done.exit_code == 0
    assert words in " ".join(done.output.split())


def test_the_curves_are_drawn(tmp_path):
    file = tmp_path / "curves.svg"
    assert run("--svg", str(file)).exit_code == 0
    drawing = file.read_text()
    assert drawing.count('class="line') == 3
    fromstring(drawing)  # it is XML
    committed = Path(__file__).parents[2] / "docs/images/xfetch.svg"
    assert committed.read_text() == drawing, "draw it anew: acache simulate --svg docs/images/xfetch.svg"


def test_machines_get_json():
    told = json.loads(run("--json", "--beta", "0").output)
    assert told["situation"]["ttl"] == 60
    assert told["expected"]["herd"] is None
    assert json.loads(run("--json", "--seed", "5").output) == json.loads(run("--json", "--seed", "5").output)


@pytest.mark.parametrize(
    "arguments", [("--ttl", "nan"), ("--rate", "0"), ("--beta", "-1"), ("--ttl", "1", "--load-time", "5000")]
)
def test_nonsense_is_refused(arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
