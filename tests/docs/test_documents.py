"""Every Python block of the README and of docs/ runs: top to bottom, one namespace per document.

A block may await at its top level, as in `python -m asyncio`. What a reader need not see but the
blocks need stands in an `invisible-code-block` comment."""

import ast
import asyncio
import inspect
from pathlib import Path

import pytest
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_blocks_run(path):
    with asyncio.Runner(debug=True) as runner:

        def run(block):
            source = "\n" * (block.line + block.parsed.line_offset) + block.parsed
            code = compile(source, block.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, block.namespace))
            else:
                exec(code, block.namespace)

        for block in Document.parse(str(path), CodeBlockParser("python", run)):
            block.evaluate()


def test_there_is_something_to_run():
    blocks = Document.parse(str(ROOT / "README.md"), CodeBlockParser("python", print))
    assert list(blocks.examples())
