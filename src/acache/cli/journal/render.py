"""A journal in the terminal. Knows the figures, not where they come from."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from acache.cli.journal.overview import Overview

NUMBERS: Final = frozenset({"bytes", "attempts", "age"})


def show_pending(overview: Overview, console: Console, *, limit: int) -> None:
    """Print what waits: the figures, then the oldest *limit* writes."""
    if overview.pending:
        _table(
            f"pending: {_count(overview.keys, 'key')}, {_count(len(overview.pending), 'write')}, "
            f"the oldest {age(overview.oldest_age)} old",
            ("key", "number", "what", "bytes", "age"),
            (
                (
                    write.key,
                    str(write.sequence),
                    "remove" if write.removal else "put",
                    f"{write.bytes:,}",
                    age(write.age),
                )
                for write in overview.pending[:limit]
            ),
            console,
        )
        if len(overview.pending) > limit:
            console.print(f"... and {len(overview.pending) - limit:,} more: --limit shows them")
    else:
        console.print("pending: nothing")
    console.print(f"dead: {_count(len(overview.dead), 'letter')}")


def show_dead(overview: Overview, console: Console) -> None:
    """Print the dead letters, oldest first."""
    if not overview.dead:
        console.print("dead: nothing")
        return
    _table(
        f"dead: {_count(len(overview.dead), 'letter')}",
        ("id", "key", "error", "attempts", "age"),
        (
            (letter.id, letter.key, letter.error, str(letter.attempts), age(letter.age))
            for letter in overview.dead
        ),
        console,
    )


def age(seconds: float) -> str:
    """Return a duration as people say it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]], console: Console) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in NUMBERS else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
