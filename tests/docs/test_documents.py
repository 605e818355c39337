"""Every Python block of the README and of docs/ runs: top to bottom, one namespace per document.

A block may await at its top level, as in `python -m asyncio`. What a reader need not see but the
blocks need stands in an `invisible-code-block` comment. A block that imports another library of the kind
is left out, and the test says so, where that is not installed: the session `docs` installs all."""

import ast
import asyncio
from importlib.util import find_spec
from pathlib import Path

import pytest
from python_blocks import run_blocks
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parents[2]
PEERS = {"aiocache", "async_lru", "cashews", "dogpile"}
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_blocks_run(path):
    missing = set()

    def installed(source):
        lacking = {name for name in PEERS & imported(source) if find_spec(name) is None}
        missing.update(lacking)
        return not lacking

    with asyncio.Runner(debug=True) as runner:
        run_blocks(path, runner, wanted=installed)
    if missing:
        names = ", ".join(sorted(missing))
        pytest.skip(f"all blocks ran but those that need {names}: `nox -s docs` installs what they need")


def imported(source):
    """Return the top packages that a block imports."""
    found = set()
    for node in ast.walk(
        compile(source, "block", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def test_there_is_something_to_run():
    blocks = Document.parse(str(ROOT / "README.md"), CodeBlockParser("python", print))
    assert list(blocks.examples())
