"""A module imports only from lower floors. The table of floors stands in CONTRIBUTING.md, nowhere else."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "src" / "acache"
TABLE = ROOT / "CONTRIBUTING.md"
ITSELF = "acache"  # the package's own `__init__`, in the table and among what is imported
APART = "testing"
IMPURE = {"anyio", "asyncio", "logging", "random", "secrets", "time"}


def floors():
    """Return the rows of the table: floor, module names, remark."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.*?) ?\|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return [(int(floor), re.findall(r"`(\w+)/?`", names), remark) for floor, names, remark in rows]


FLOOR = {name: floor for floor, names, _ in floors() for name in names}
PURE = [name for _, names, remark in floors() for name in names if "pure" in remark]
MODULES = sorted(path.relative_to(CORE) for path in CORE.rglob("*.py"))
PLUGINS = sorted(ROOT.glob("backends/*/src/**/*.py"))


def home(path):
    """Return the name in the table of a file of the core: a module, or the package that it is part of."""
    return ITSELF if path == Path("__init__.py") else path.parts[0].removesuffix(".py")


def imports(path, package="acache"):
    """Return every dotted name that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}:{node.lineno}: import by the full name"
            # `from acache import errors` names a module, `from acache import Cache` a thing of the package.
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = node.module == package and alias.name in FLOOR.keys() | {APART}
                found.add(whole if is_module else node.module)
    return found


def of_the_core(path):
    """Return the names in the table that a file imports from."""
    parts = [name.split(".") for name in imports(path) if name.split(".")[0] == "acache"]
    return {name[1] if len(name) > 1 else ITSELF for name in parts}


def in_the_table(name):
    assert name in FLOOR, (
        f"src/acache/{name} stands on no floor: add it to the table of floors in {TABLE.name}"
    )
    return FLOOR[name]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_only_from_lower_floors(path):
    name = home(path)
    if name == APART:
        return
    here = in_the_table(name)
    for other in of_the_core(CORE / path) - {name}:
        assert other != APART, f"{path} imports acache.{APART}, which is for tests"
        there = in_the_table(other)
        assert there < here, f"{path} stands on floor {here} and imports {other} of floor {there}"


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_knows_no_loop_no_time_no_chance_and_no_log(name):
    for path in [CORE / f"{name}.py", *CORE.glob(f"{name}/**/*.py")]:
        if path.is_file():
            assert not {whole.split(".")[0] for whole in imports(path)} & IMPURE


def test_only_the_clock_reads_time():
    readers = {home(path) for path in MODULES if "time" in imports(CORE / path)}
    assert readers - {"cli", APART} == {"clock"}


def test_the_table_names_no_module_that_is_gone():
    standing = {home(path) for path in MODULES}
    assert sorted(FLOOR.keys() - standing) == []


def test_the_protocols_need_only_errors_and_values():
    assert of_the_core(CORE / "protocols.py") <= {"errors", "_types", "_entry"}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT / "backends")))
def test_a_plugin_imports_only_the_protocols_and_the_errors(path):
    assert of_the_core(path) <= {"protocols", "errors"}


def test_an_import_of_acache_loads_nothing_that_it_may_not_need():
    optional = {"anyio", "typer", "rich", "pydantic", "zstandard", "prometheus_client", "opentelemetry"}
    parts = {f"acache.{name}" for name in ("testing", "cli", "observe", "dashboard", "contrib")}
    standard = {"importlib.metadata", "email", "http", "zipfile", "pickle", "difflib", "sqlite3"}
    program = "import sys; before = set(sys.modules); import acache; print(*sys.modules.keys() - before)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    loaded = set(ran.stdout.split())
    assert "acache" in loaded
    assert not loaded & (optional | parts | standard)
