"""What the benchmarks reckon and draw: the best possible hit ratio, plots, comparisons."""

from functools import cache
from itertools import combinations
from random import Random
from xml.etree import ElementTree as ET

import pytest

from benchmarks._charts import CHARTS, draw
from benchmarks._hit_ratio import acache_hits, lru_hits, opt_hits
from benchmarks._machine import Machine
from benchmarks._record import compared, read, written
from benchmarks._table import Row, at_most

HERE = Machine(python="CPython 3", processor="<any>", cores=2, versions={"acache-core": "1"})


def best(trace, capacity):
    """Return the most hits that any choice of victims gives, having tried all."""

    @cache
    def rest(place, held):
        if place == len(trace):
            return 0
        key = trace[place]
        if key in held:
            return 1 + rest(place + 1, held)
        kept = [held] if len(held) < capacity else map(frozenset, combinations(held, capacity - 1))
        return max(rest(place + 1, each | {key}) for each in kept)

    return rest(0, frozenset())


@pytest.mark.parametrize("seed", range(20))
def test_no_choice_of_victims_beats_opt(seed):
    rng = Random(seed)
    trace = "".join(rng.choices("abcdefg", k=24))
    capacity = rng.randint(1, 4)
    most = best(trace, capacity)
    assert opt_hits(trace, capacity) == most
    assert max(lru_hits(trace, capacity), acache_hits(trace, capacity)) <= most


def test_what_was_measured_is_drawn_with_its_machine(tmp_path):
    rows = [
        *(
            Row(suite="memory", name=f"decorated hit, {who}", value=n)
            for n, who in ((1, "acache"), (9, "b<c"))
        ),
        *(Row(suite="scale", name=f"{at} entries: a hit", value=4.0) for at in ("1,000", "10,000")),
        Row(suite="other", name="decorated hit, nobody", value=3),
    ]
    files = {path.stem: ET.parse(path) for path in draw(rows, tmp_path, HERE)}
    assert files.keys() == {"hit", "scale-entries"}
    said = ["".join(text.itertext()) for text in files["hit"].iter("{http://www.w3.org/2000/svg}text")]
    assert {"acache", "b<c", HERE.short} <= {*said}
    assert "nobody" not in said


def test_each_chart_has_a_name_of_its_own():
    assert len({chart.name for chart in CHARTS}) == len(CHARTS)


def test_figures_are_kept_and_changes_are_told(tmp_path):
    path = tmp_path / "old.json"
    old = [Row(suite="s", name="steady", value=10.0), at_most("s", "slower", 1.0, 2.0)]
    written(path, HERE, old)
    assert read(path) == (HERE, old)
    now = [Row(suite="s", name="steady", value=10.5), at_most("s", "slower", 3.0, 2.0)]
    lines = compared(old, [*now, Row(suite="s", name="new", value=1.0)]).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["+5%", "FAIL"]
    assert not any("new" in line for line in lines)
