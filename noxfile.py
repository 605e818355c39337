"""Everything that must pass, as sessions. Knows how to find Pythons, never downloads one.

`nox` alone runs lint, types, the tests on every CPython found, the coverage floor and the documents."""

import atexit
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree as ET

import nox

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
SOURCES = ["src", *sorted({str(path.parents[1]) for path in Path("backends").glob("*/src/*/*.py")})]
results: list[tuple[str, Path]] = []  # of this run: the session's name and where pytest wrote its counts

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # a missing Python is a line of the summary
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "coverage", "docs"]

# pyenv's Pythons go last on the path: found where nothing else answers, shadowing nothing.
_pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob("versions/3.*/bin")
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *sorted(str(path) for path in _pyenv)])
os.environ["UV_PYTHON_DOWNLOADS"] = "never"

# Compiled once, whatever the caller's environment says: tests start hundreds of processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(Path(".nox/bytecode").resolve())


@nox.session
def lint(session: nox.Session) -> None:
    """Every rule of ruff but those that pyproject.toml explains, and the format."""
    _sync(session, "--only-group=lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Two type checkers, both strict, over the sources and over the public API as a user writes it."""
    _sync(session, "--group=types")
    checked = [path for path in (*SOURCES, "tests/typing/api.py") if Path(path).exists()]
    session.run("mypy", *checked)
    session.run("basedpyright", *checked)


@nox.session(python=VERSIONS)
def tests(session: nox.Session) -> None:
    """The tests. On the first Python of the run also real servers and slow ones, and what is measured."""
    _sync(session, "--group=test")
    if results:
        _pytest(session, "-m", "not slow and not real and not scale", *session.posargs)
        return
    session.run("coverage", "erase")
    # Measuring doubles the time of a test, and another loop runs the same lines.
    apart = "slow or other_loop"
    chosen = session.posargs or ("--ignore=tests/docs",)  # which the session `docs` runs
    try:
        # Real servers are waited for: one worker more than there are processors fills the time.
        measured = ("coverage", "run", "-m")
        _pytest(session, "-m", f"not scale and not ({apart})", *chosen, runner=measured, workers=3)
    finally:
        _pytest(session, "-m", f"not scale and ({apart})", *chosen)


@nox.session(python=False)
def coverage(session: nox.Session) -> None:
    """The coverage floor of pyproject.toml, over what the tests of this run measured."""
    if not results:
        session.error(f"no tests ran: is one of CPython {', '.join(VERSIONS)} installed?")
    session.run(sys.executable, "-m", "coverage", "combine", "--quiet")
    session.run(sys.executable, "-m", "coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Run every Python block of the READMEs and of docs/, and build the site; `site/` holds it then."""
    _sync(session, "--group=test", "--group=docs")
    _pytest(session, "tests/docs", *session.posargs, workers=0)
    session.run("mkdocs", "build", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python=VERSIONS)
def full(session: nox.Session) -> None:
    """Everything on every Python, and a new random search by hypothesis each time."""
    _sync(session, "--group=test")
    _pytest(session, "--hypothesis-profile=search", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run a benchmark suite: `nox -s bench -- memory`."""
    _sync(session, "--group=test", "--group=bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def fleet(session: nox.Session) -> None:
    """Read and change keys in several processes over one server: 8,000 invalidations, nothing stale after."""
    _sync(session, "--group=test")
    folder = "backends/acache-redis/tests/fleet"
    session.run("pytest", "-rP", folder, *session.posargs, env={"FLEET_ROUNDS": "500"})


@nox.session
def peers(session: nox.Session) -> None:
    """Ask other libraries how they behave, and compare with what the comparison page says."""
    _sync(session, "--group=test", "--group=bench")
    session.run("python", "-m", "benchmarks.peers", *(session.posargs or ("--check", "docs/comparison.md")))


@nox.session
def dist(session: nox.Session) -> None:
    """Build every distribution and use it in an empty environment: from the wheels, then from the sdists."""
    place = Path(session.create_tmp()).resolve()
    shutil.rmtree(place / "dist", ignore_errors=True)
    session.run("uv", "build", "--quiet", "--all-packages", f"--out-dir={place / 'dist'}", external=True)
    for kind in ("*.whl", "*.tar.gz"):
        built = sorted(str(path) for path in (place / "dist").glob(f"acache_{kind}"))
        session.run("uv", "venv", "--quiet", "--clear", str(place / "empty"), external=True)
        python = str(place / "empty/bin/python")
        # The core is asked for with its extras; where it comes from is given by the files.
        extras = next(path for path in built if "acache_core" in path)
        wanted = [path for path in built if path != extras]
        named = f"acache-core[cli,zstd,pydantic,prometheus,opentelemetry] @ file://{extras}"
        session.run(
            "uv",
            "pip",
            "install",
            "--quiet",
            "--no-sources",
            f"--python={python}",
            named,
            *wanted,
            external=True,
        )
        session.run(python, "-I", str(Path("tests/installed/smoke.py").resolve()), external=True)


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the dashboard in headless Chromium, which is installed if this is Debian and we may."""
    _sync(session, "--group=test", "--group=browser")
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        if os.geteuid() or not shutil.which("apt-get"):
            session.error("no chromium on PATH: install it, on Debian with `apt-get install chromium`")
        session.run("apt-get", "update", "-qq", external=True)
        session.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", external=True)
    kept = {"ACACHE_PICTURES": str(Path("docs/images").resolve())} if "--pictures" in session.posargs else {}
    _pytest(session, "tests/dashboard", "-m", "browser", workers=0, env=kept)


@nox.session
def crash(session: nox.Session) -> None:
    """Kill processes that write behind with -9, some 200 times, and count what was lost."""
    _sync(session, "--group=test")
    session.run("python", "tests/crash/crash_runner.py", *session.posargs)


@nox.session
def prove(session: nox.Session) -> None:
    """Run 10,000 schedules of the simulator over P1 to P7, and plant bugs that it has to find."""
    _sync(session, "--group=test")
    session.run("python", "-m", "proofs", "prove", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Break networks and kill real servers under load, and print the reliability table."""
    _sync(session, "--group=test")
    session.run("python", "-m", "proofs", "chaos", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Feed a million damaged and hostile inputs to everything that reads what others wrote."""
    _sync(session, "--group=test")
    session.run("python", "-m", "proofs", "fuzz", *session.posargs)


@nox.session
def failover(session: nox.Session) -> None:
    """Kill primaries of a cluster and under sentinels, some 75 times under load, and count what it cost."""
    _sync(session, "--group=test")
    session.run("python", "backends/acache-redis/tests/failover_runner.py", *session.posargs)


def _sync(session: nox.Session, *groups: str) -> None:
    """Bring the session's environment to exactly the workspace and *groups*."""
    place = {"UV_PROJECT_ENVIRONMENT": session.virtualenv.location}
    session.run_install("uv", "sync", "--quiet", "--no-default-groups", *groups, env=place)


def _pytest(
    session: nox.Session,
    *arguments: str,
    runner: tuple[str, ...] = ("python", "-m"),
    workers: int = 2,
    env: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run pytest in Python's development mode and note where it writes its counts."""
    counts = Path(session.create_tmp()).resolve() / f"counts-{len(results)}.xml"
    counts.unlink(missing_ok=True)
    results.append((session.name, counts))
    session.run(
        *runner,
        "pytest",
        f"--numprocesses={workers}",
        "--dist=worksteal",  # a module's tests stay together, and so do the servers that they share
        f"--junit-xml={counts}",
        *arguments,
        # Unlike -X dev this reaches the workers, which must agree on the order of sets in test names too.
        # Development mode also checks the memory of C code: not ours, and an eighth of the time.
        env={"PYTHONDEVMODE": "1", "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc", **env},
        success_codes=[0, 5],  # 5: none of the tests that were asked for
    )


@atexit.register
def _summary() -> None:
    """Add up what every pytest of this run counted, as the last line."""
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for _, path in results:
        for suite in ET.parse(path).iter("testsuite") if path.exists() else ():
            for word in total:
                total[word] += int(suite.get(word, 0))
    if results:
        names = ", ".join(dict.fromkeys(name for name, _ in results))
        bad = total["failures"] + total["errors"]
        passed = total["tests"] - bad - total["skipped"]
        print(f"{passed} passed, {bad} failed, {total['skipped']} skipped in {names}", flush=True)
