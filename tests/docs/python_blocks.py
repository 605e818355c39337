"""Run the Python blocks of a document, top to bottom, in one namespace. Knows no document."""

import ast
import inspect

from sybil import Document
from sybil.parsers.markdown import CodeBlockParser


def run_blocks(path, runner, *, namespace=None, replace=None, wanted=lambda source: True):
    """Run each block that is *wanted*, those with an `await` at their top level by *runner*.

    *namespace* is there before the first block. *replace* maps what the reader sees to what it is here."""

    def run(block):
        source = str(block.parsed)
        for shown, here in (replace or {}).items():
            source = source.replace(shown, here)
        source = "\n" * (block.line + block.parsed.line_offset) + source
        if not wanted(source):
            return
        code = compile(source, block.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, block.namespace))
        else:
            exec(code, block.namespace)

    document = Document.parse(str(path), CodeBlockParser("python", run))
    document.namespace.update(namespace or {})
    blocks = list(document)
    for block in blocks:
        block.evaluate()
    return len(blocks), document.namespace
