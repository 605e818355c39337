"""The command line: what it answers, what it refuses, and one whole short run."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from acache import __version__
from acache.cli import app as cli
from acache.cli import main


def acache(*arguments):
    """Call the command line in this process."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def no_run(monkeypatch):
    """Fail the test if the demo is started."""

    async def run_demo(*_):
        raise AssertionError("the demo was started")

    monkeypatch.setattr(cli, "run_demo", run_demo)


def test_the_version_is_the_librarys():
    assert acache("--version").output == f"acache {__version__}\n"


def test_without_a_command_it_says_what_there_is():
    assert "demo" in acache().output


# --- what is refused, before anything runs ----------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["demo", "--frobnicate"],
        ["demo", "--readers", "0"],
        ["demo", "--readers", "many"],
        ["demo", "--readers", "20001"],
        ["demo", "--seconds", "0"],
        ["demo", "--seconds", "-1"],
        ["demo", "--seconds", "nan"],
        ["demo", "--seconds", "inf"],
        ["demo", "--seed", "x"],
    ],
)
def test_a_wrong_call_is_a_usage_error(no_run, arguments):
    refused(acache(*arguments))


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("name", ["", "absent/file", "file/inside"])
def test_a_file_that_cannot_be_written_is_refused(no_run, tmp_path, option, name):
    (tmp_path / "file").touch()
    result = acache("demo", option, tmp_path / name)
    refused(result)
    assert "cannot write" in result.output


def test_one_file_for_both_is_refused(no_run, tmp_path):
    (tmp_path / "folder").mkdir()
    for other in (tmp_path / "x", tmp_path / "folder" / ".." / "x"):
        refused(acache("demo", "--json", tmp_path / "x", "--html", other))


def test_trying_a_file_leaves_none_behind_and_keeps_what_is_there(no_run, tmp_path):
    (tmp_path / "old").write_text("kept")
    refused(acache("demo", "--json", tmp_path / "old", "--html", tmp_path / "new", "--readers", "0"))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "kept")]


def refused(result):
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output


# --- what can go wrong later ------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_full_is_one_line(monkeypatch, sample):
    async def run_demo(*_):
        return sample

    monkeypatch.setattr(cli, "run_demo", run_demo)
    result = acache("demo", "--json", "/dev/full")
    assert result.exit_code == 1
    assert "No space left" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("package", ["typer", "rich", "aiosqlite"])
def test_where_a_package_is_missing_it_says_what_to_install(monkeypatch, capsys, package):
    forget_the_command_line(monkeypatch)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    assert (
        capsys.readouterr().err
        == f'acache: {package} is not installed; run: pip install "acache-core[cli]"\n'
    )


def test_a_missing_part_of_acache_itself_is_not_explained_away(monkeypatch):
    forget_the_command_line(monkeypatch)
    monkeypatch.setitem(sys.modules, "acache.cli.demo.run", None)
    with pytest.raises(ModuleNotFoundError):
        main()


def forget_the_command_line(monkeypatch):
    for name in [
        name for name in sys.modules if name.startswith(("acache.cli.app", "acache.cli.demo", "rich."))
    ]:
        monkeypatch.delitem(sys.modules, name)


def test_the_package_can_be_run_as_a_module(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["acache", "--version"])
    with pytest.raises(SystemExit) as exited:
        importlib.import_module("acache.cli.__main__")
    assert exited.value.code == 0


# --- one whole run ----------------------------------------------------------------------------------


SLOW_MODES = {"PYTHONDEVMODE", "PYTHONASYNCIODEBUG"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of everything, in a process without the development mode that slows a loop down tenfold."""
    directory = tmp_path_factory.mktemp("demo")
    files = ["--json", directory / "demo.json", "--html", directory / "demo.html"]
    process = subprocess.run(
        [sys.executable, "-m", "acache.cli", "demo", "--seconds", "6", "--readers", "500", *files],
        env={name: value for name, value in os.environ.items() if name not in SLOW_MODES},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return (
        process.stdout,
        json.loads((directory / "demo.json").read_text()),
        (directory / "demo.html").read_text(),
    )


def of(run, name):
    return next(strategy for strategy in run[1]["strategies"] if strategy["name"] == name)


@pytest.mark.slow
def test_a_run_measures_every_strategy(run):
    assert [strategy["name"] for strategy in run[1]["strategies"]] == [
        "no cache", "naive cache-aside", "mutex only", "XFetch only", "acache",
    ]  # fmt: skip
    for strategy in run[1]["strategies"]:
        assert strategy["reads"] > 0
        assert strategy["writes"] > 0
        assert 0 < strategy["p50_ms"] <= strategy["p99_ms"]
        assert sum(strategy["queries_over_time"]) == strategy["queries"] > 0


@pytest.mark.slow
def test_acache_served_nothing_stale_and_ran_one_load_of_a_key_at_a_time(run):
    assert of(run, "acache")["stale_reads"] == 0
    assert of(run, "acache")["peak_of_one_key_not_void"] == 1


@pytest.mark.slow
def test_what_needs_no_cache_to_be_right_is_right_in_the_demo_too(run):
    # Controls of the measurement: the database itself is never stale, a herd is seen where nobody stops it.
    assert of(run, "no cache")["stale_reads"] == 0
    assert of(run, "no cache")["peak_of_one_key"] > 10
    assert of(run, "mutex only")["peak_of_one_key"] == 1
    assert of(run, "naive cache-aside")["peak_of_one_key"] > 1


@pytest.mark.slow
def test_only_pages_with_the_tag_were_dropped_and_they_show_the_write(run):
    tags = run[1]["tags"]
    for line in tags["keys"]:
        assert line["kept"] == (tags["tag"] not in line["tags"]) == (line["before"] == line["after"])
    assert {line["kept"] for line in tags["keys"]} == {True, False}


@pytest.mark.slow
def test_the_verdict_on_early_refresh_follows_from_its_keys(run):
    refresh = run[1]["refresh"]  # of a run too short, on a machine too busy, to demand a PASS
    ratios = [key["loads"] / key["expected"] for key in refresh["keys"]]
    assert refresh["ratio"] == pytest.approx(sum(ratios) / len(ratios) if ratios else 0)
    assert refresh["passed"] == (abs(refresh["ratio"] - 1) <= 0.05)


@pytest.mark.slow
def test_nothing_that_the_killed_process_had_acknowledged_is_lost(run):
    writes = run[1]["writes"]
    kill = writes["kill"]
    assert kill["acknowledged"] >= kill["sessions"] > 0
    assert kill["recovered"] >= kill["missing"]
    assert kill["lost"] == 0
    assert [pattern["name"] for pattern in writes["patterns"]] == ["write-through", "write-behind"]
    assert all(pattern["acknowledged"] > 0 for pattern in writes["patterns"])


@pytest.mark.slow
def test_terminal_and_page_show_the_same_figures(run):
    printed, found, html = run
    for strategy in found["strategies"]:
        shown = f"{strategy['queries']:,}"
        assert shown in html
        assert re.search(rf"{strategy['name']}.*{shown}", printed)
