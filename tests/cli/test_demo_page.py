"""What is shown: the page, its pictures, the terminal, the JSON file."""

import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from acache.cli.demo.page import page
from acache.cli.demo.render import progress, render
from acache.cli.demo.svg import Scale, element, path, round_up, text
from acache.cli.demo.words import milliseconds

# --- the page ---------------------------------------------------------------------------------------


def test_the_page_loads_nothing_from_anywhere(sample):
    html = page(sample)
    assert not re.search(r"https?://|//[a-z]|<link|<script|<img|<iframe|@import|url\(|src=", html)


def test_the_page_works_in_the_dark_and_on_a_phone(sample):
    html = page(sample)
    assert "prefers-color-scheme: dark" in html
    assert '<meta name="viewport" content="width=device-width' in html


def test_every_picture_is_well_formed_and_says_what_it_shows(sample):
    pictures = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page(sample), re.DOTALL)]
    assert len(pictures) == 5 + 1 + 1
    assert all(picture.get("viewBox") and picture.get("aria-label") for picture in pictures)


def test_names_from_outside_are_text_on_the_page_and_never_markup(sample):
    html = page(sample)
    assert "page:&lt;1&gt;" in html
    assert "1 &amp; 1" in html
    assert "<1>" not in html


def test_a_run_in_which_nothing_happened_has_a_page_too(sample):
    still = tuple(
        replace(strategy, queries_over_time=(0,) * 48, stale_reads=0, latency_ms=())
        for strategy in sample.strategies
    )
    nothing = replace(
        sample, strategies=still, refresh=replace(sample.refresh, keys=(), ratio=0.0, passed=False)
    )
    assert "nan" not in page(nothing)
    render(nothing, Console(file=io.StringIO()))


# --- pictures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "pixel"), [(0, 10), (50, 60), (100, 110), (-5, 10), (500, 110)])
def test_a_scale_maps_values_onto_pixels_and_stays_inside(value, pixel):
    assert Scale(low=0, high=100, start=10, end=110)(value) == pixel


def test_a_logarithmic_scale_gives_each_power_the_same_room():
    scale = Scale(low=0.001, high=1_000, start=0, end=60, logarithmic=True)
    assert [scale(10.0**n) for n in range(-4, 5)] == pytest.approx([0, 0, 10, 20, 30, 40, 50, 60, 60])


def test_a_scale_of_nothing_is_a_point():
    assert Scale(low=3, high=3, start=5, end=9)(3) == 5


@given(st.floats(1e-9, 1e12))
def test_rounding_up_goes_up_and_less_than_twofold(value):
    assert value <= round_up(value) * (1 + 1e-12)
    assert round_up(value) <= 2 * value * (1 + 1e-12)


def test_markup():
    assert round_up(0) == 1
    assert text("a < b", 1, 2.5, text_anchor="end") == '<text x="1" y="2.5" text-anchor="end">a &lt; b</text>'
    assert element("g", element("a"), class_='"x"') == '<g class="&quot;x&quot;"><a></a></g>'
    assert path([(0, 1), (2.5, 3.25)]) == "M0,1L2.5,3.25"


# --- the terminal -----------------------------------------------------------------------------------


def printed(sample, **options):
    raw = io.BytesIO()
    encoding = options.pop("encoding", "utf-8")
    stream = io.TextIOWrapper(raw, encoding=encoding)
    render(sample, Console(file=stream, **options))
    stream.flush()
    return raw.getvalue().decode(encoding)


def test_the_tables_fit_into_eighty_columns(sample):
    large = tuple(
        replace(
            strategy, queries=99_999, queries_of_hottest_key=9_999, reads_per_second=9_999.0, p99_ms=4_999.0
        )
        for strategy in sample.strategies
    )
    lines = printed(replace(sample, strategies=large), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("99,999" in line and "4,999" in line for line in lines) == len(large)


def test_a_terminal_without_unicode_gets_plain_characters(sample):
    assert "acache" in printed(sample, width=80, encoding="ascii")


@pytest.mark.parametrize(("passed", "word"), [(True, "PASS"), (False, "FAIL")])
def test_the_verdict_is_said(sample, passed, word):
    result = replace(sample, refresh=replace(sample.refresh, passed=passed))
    assert word in printed(result, width=80)
    assert word in page(result)


@pytest.mark.parametrize(("lost", "word"), [(0, "Lost: 0. PASS"), (3, "Lost: 3. FAIL")])
def test_what_became_of_the_killed_process_is_said(sample, lost, word):
    kill = replace(sample.writes.kill, lost=lost)
    result = replace(sample, writes=replace(sample.writes, kill=kill))
    for shown in (printed(result, width=400), page(result)):
        for said in (word, "8.0 times", "write-behind", "1.2"):
            assert said in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.000"), (0.00149, "0.001"), (9.87, "9.9"), (99.94, "99.9"), (1234.5, "1,234")],
)
def test_a_duration_has_the_digits_that_mean_something(value, shown):
    assert milliseconds(value) == shown


def test_progress_in_a_pipe_is_a_line_per_step():
    stream = io.StringIO()
    with progress(Console(file=stream)) as show:
        for done in (0.0, 0.1, 0.2):
            show("first", done)
        show("second", 0.5)
    assert stream.getvalue() == "acache demo: first\nacache demo: second\n"


def test_progress_on_a_terminal_is_a_bar_that_goes_away():
    stream = io.StringIO()
    with progress(Console(file=stream, force_terminal=True, width=80)) as show:
        show("first", 0.5)
    assert "first" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


# --- the JSON file ----------------------------------------------------------------------------------

FIELDS = {
    "": "schema version python cores seed readers hot_keys ttl writes_per_second total_seconds strategies "
    "refresh tags writes",
    "strategies": "name seconds reads reads_per_second unfinished_reads queries queries_of_hottest_key "
    "void_queries peak_of_one_key peak_of_one_key_not_void writes stale_reads p50_ms p99_ms latency_ms "
    "bucket_seconds queries_over_time stale_reads_over_time",
    "refresh": "seconds ttl keys ratio passed",
    "refresh.keys": "key reads_per_second mean_load_ms head_start_ms measured_head_start_ms loads expected",
    "tags": "tag keys",
    "tags.keys": "key tags kept before after",
    "writes": "writers patterns flush_ms kill",
    "writes.patterns": "name acknowledged rows_per_second p50_ms p99_ms",
    "writes.kill": "acknowledged sessions missing recovered recovery_ms lost",
}


@pytest.mark.parametrize("place", FIELDS)
def test_the_json_file_has_the_fields_of_schema_1(sample, place):
    found = json.loads(sample.to_json())
    assert found["schema"] == 1
    for name in filter(None, place.split(".")):
        found = found[name]
        found = found[0] if isinstance(found, list) else found
    assert list(found) == FIELDS[place].split()
