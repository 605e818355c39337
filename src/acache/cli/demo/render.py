"""The result in the terminal, and progress while there is none yet. Knows the results and rich."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from acache.cli.demo.result import DemoResult, StrategyResult, TagsResult, WriteResult
from acache.cli.demo.words import (
    HEADINGS,
    NOTES,
    WRITE_HEADINGS,
    cells,
    kill_verdict,
    refresh_verdict,
    setting,
    write_cells,
    writes_story,
)

_COLOURS: Final = ("bright_black", "red", "yellow", "magenta", "green")
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:-=+*#@"


@contextmanager
def progress(console: Console) -> Generator[Callable[[str, float], None]]:
    """Yield what to call with the current step and the share that is done.

    A bar that goes away on a terminal; a line per step where *console* is a file or a pipe."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    # No refreshing thread: it would take the interpreter from the readers whenever it likes.
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda step, done: bar.update(task, description=f"{step:<22}", completed=done, refresh=True)


class _Lines:
    """Says each step once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def show(self, step: str, _done: float) -> None:
        """Print *step* if it is a new one."""
        if step != self._last:
            self._last = step
            self._console.print(f"acache demo: {step}", highlight=False)


def render(result: DemoResult, console: Console) -> None:
    """Print the tables and the chart."""
    console.print(f"\n{setting(result)}\n", highlight=False)
    console.print(_strategies(result.strategies))
    for note in NOTES:
        console.print(note, style="dim", highlight=False)
    console.print("\n[bold]Queries over time[/], one scale for all")
    console.print(_chart(result.strategies, _blocks(console)))
    console.print("[bold]Early refresh against its theory[/]")
    style = "green" if result.refresh.passed else "red"
    console.print(f"{refresh_verdict(result.refresh)}\n", style=style, highlight=False)
    console.print(f"[bold]One tag invalidated[/], after a write: {result.tags.tag}")
    console.print(_tags(result.tags))
    console.print("[bold]Written through, written behind[/]")
    console.print(writes_story(result.writes), highlight=False)
    console.print(_writes(result.writes.patterns))
    style = "red" if result.writes.kill.lost else "green"
    console.print(kill_verdict(result.writes.kill), style=style, highlight=False)


def _strategies(results: Sequence[StrategyResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    rows = [cells(result) for result in results]
    for number, heading in enumerate(HEADINGS):
        widest = max(len(word) for word in (*heading.split(), *(row[number] for row in rows)))
        table.add_column(heading, justify="right" if number else "left", vertical="bottom", width=widest)
    for row, colour in zip(rows, _COLOURS, strict=True):
        table.add_row(*row, style=colour)
    return table


def _chart(results: Sequence[StrategyResult], blocks: str) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    top = max((max(result.queries_over_time) for result in results), default=1) or 1
    for result, colour in zip(results, _COLOURS, strict=True):
        bars = "".join(_block(count, top, blocks) for count in result.queries_over_time)
        table.add_row(result.name, Text(bars), f"{result.queries:,}", style=colour)
    return table


def _block(count: int, top: int, blocks: str) -> str:
    """Return the block for *count*; anything above nothing shows."""
    return blocks[-(-count * (len(blocks) - 1) // top)]


def _blocks(console: Console) -> str:
    return _BLOCKS if console.encoding.lower().startswith("utf") else _ASCII


def _tags(result: TagsResult) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("key", "tags", "then", "before", "next read"):
        table.add_column(heading, no_wrap=True)
    for line in result.keys:
        then = Text("kept", "green") if line.kept else Text("dropped", "red")
        table.add_row(line.key, ", ".join(line.tags), then, line.before, line.after)
    return table


def _writes(results: Sequence[WriteResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for number, heading in enumerate(WRITE_HEADINGS):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for result, colour in zip(results, (_COLOURS[1], _COLOURS[-1]), strict=True):
        table.add_row(*write_cells(result), style=colour)
    return table
