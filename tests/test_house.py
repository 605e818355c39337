"""The house rules that no linter knows: what a test may leave behind, what a tracked file may say."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent


# --- what the shared conftest.py catches ------------------------------------------------------------

TESTS = """
    import asyncio, pytest, socket

    async def fail():
        raise ValueError

    @pytest.mark.asyncio
    async def test_leaving_a_task():
        started = asyncio.create_task(asyncio.sleep(60))

    @pytest.mark.asyncio
    async def test_leaving_an_exception():
        asyncio.create_task(fail())
        await asyncio.sleep(0)

    @pytest.mark.asyncio
    async def test_leaving_an_exception_in_a_cycle():
        cycle = [asyncio.create_task(fail())]
        cycle.append(cycle)
        await asyncio.sleep(0)

    @pytest.mark.asyncio
    async def test_leaving_a_socket():
        socket.socket()

    @pytest.mark.asyncio
    async def test_leaving_a_socket_in_a_cycle():
        cycle = [socket.socket()]
        cycle.append(cycle)

    @pytest.mark.asyncio
    async def test_leaving_a_coroutine():
        asyncio.sleep(0)

    @pytest.mark.asyncio
    async def test_tidy_on_every_loop():
        asyncio.create_task(asyncio.sleep(60)).cancel()

    @pytest.mark.asyncio
    @pytest.mark.one_loop
    async def test_tidy_on_one_loop():
        assert asyncio.get_running_loop().get_debug()

    def test_tidy_without_a_loop():
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
    """
KINDS = {"debug", "uvloop", "eager"} if sys.version_info >= (3, 12) else {"debug", "uvloop"}


@pytest.mark.slow
def test_a_test_fails_on_every_kind_of_loop_if_it_leaves_something_behind(pytester, monkeypatch):
    for name in ("pyproject.toml", "conftest.py"):
        (pytester.path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    pytester.mkdir("tests").joinpath("test_it.py").write_text(dedent(TESTS), encoding="utf-8")
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    report = pytester.runpytest_subprocess("-rA", "-p", "no:cacheprovider", "-p", "no:xdist")

    def tests(*outcomes):
        lines = [line for line in report.outlines if line.startswith(outcomes)]
        return {line.split("::")[1].split(" ")[0] for line in lines}

    names = re.findall(r"test_\w+", TESTS)
    assert tests("FAILED ", "ERROR tests") == {f"{name}[{kind}]" for name in names[:-3] for kind in KINDS}
    on_every, on_one, without = names[-3:]
    assert tests("PASSED ") >= {f"{on_every}[{kind}]" for kind in KINDS} | {on_one, without}


# --- what a tracked file may say --------------------------------------------------------------------

REFUSED = {
    "a path of somebody's machine": re.compile(r"(?<![\w.])/(?:home|root|Users)/[\w.]"),
    "a note to finish it later": re.compile("TO" + "DO|FIX" + "ME"),
    "a stub": re.compile("NotImplemented" + "Error"),
    "a package host": re.compile(r"\b(?:py" + r"pi\.org|files\.python" + r"hosted)"),
    "a trace of a merge": re.compile("^(?:<{7}|>{7}|={7}) ", re.MULTILINE),
}


def tracked():
    """Return the paths of this checkout's files that git knows, relative to its root."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [Path(name) for name in listed.stdout.decode().split("\0") if name]


def test_no_tracked_file_names_a_machine_or_is_unfinished():
    found = []
    for path in tracked():
        if not (ROOT / path).is_file():
            continue
        text = (ROOT / path).read_bytes().decode("utf-8", errors="replace")
        for what, pattern in REFUSED.items():
            if match := pattern.search(text):
                found.append(f"{path}:{text.count(chr(10), 0, match.start()) + 1} has {what}: {match[0]!r}")
    assert not found, "\n".join(found)


def test_nothing_that_is_made_by_running_is_tracked():
    made = {"uv.lock", ".venv", ".uv", ".nox", "__pycache__", "dist", ".coverage"}
    assert [path for path in tracked() if made & set(path.parts)] == []


def test_whatever_a_session_runs_is_tracked():
    named = re.findall(r'"([\w/-]+/[\w/-]+\.py)"', Path(ROOT, "noxfile.py").read_text())
    assert len(named) > 3
    assert {Path(path) for path in named} <= set(tracked())


def test_every_test_module_has_a_name_of_its_own():
    names = [path.name for path in tracked() if path.name.startswith("test_") and path.suffix == ".py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_test_folders_are_no_packages():
    found = [path for path in tracked() if path.name == "__init__.py" and "tests" in path.parts]
    assert found == []
