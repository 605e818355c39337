"""The backend to copy: its tests pass as a newcomer runs them, and its entry point finds the store."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "examples" / "custom_backend"


@pytest.mark.real
def test_its_contract_passes():
    """Skips inside, by the fixture, where there is no memcached."""
    # Away from this project's configuration, as in a repository of its own.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            os.devnull,
            "-p",
            "no:cacheprovider",
            str(ROOT / "tests"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTEST_ADDOPTS": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_entry_point_names_what_is_there(monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["acache.stores"]["memcached"].partition(":")
    monkeypatch.syspath_prepend(ROOT / "src")
    factory = getattr(__import__(module), name)
    assert repr(factory("memcached://example.org:1234?timeout=2")) == "<MemcachedStore example.org:1234>"


def test_it_imports_no_more_of_acache_than_a_third_party_may():
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "acache":
                assert node.module in {"acache.protocols", "acache.errors"}, path
