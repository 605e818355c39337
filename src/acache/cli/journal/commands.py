"""The verbs of `acache journal` and their options. Knows what a user may type, and no kind of journal."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from acache._registry import open_journal
from acache.cli.journal.overview import Overview
from acache.cli.journal.render import show_dead, show_pending
from acache.clock import SYSTEM_CLOCK
from acache.errors import CacheError, JournalFailed
from acache.protocols import DeadLetter, JournalView

T = TypeVar("T")
journal = typer.Typer(
    name="journal",
    help="Look after acknowledged writes that have not reached their source.",
    no_args_is_help=True,
)

Place = Annotated[
    str, typer.Argument(metavar="PATH-or-URL", help="The folder of a SQLiteJournal, or a server's URL.")
]
Name = Annotated[str | None, typer.Option(help="Which journal of a server.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `dead` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


@journal.command("list")
def list_(
    place: Place,
    *,
    name: Name = None,
    limit: Annotated[int, typer.Option(min=0, help="How many writes to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what is pending, oldest first, also while processes are writing."""
    overview = _with(place, name, _look)
    if as_json:
        typer.echo(json.dumps(overview.as_dict(), indent=2))
    else:
        show_pending(overview, Console(), limit=limit)


@journal.command()
def dead(place: Place, *, name: Name = None, as_json: AsJson = False) -> None:
    """Show the writes that the source refused for their data."""
    overview = _with(place, name, _look)
    if as_json:
        typer.echo(json.dumps(overview.as_dict()["letters"], indent=2))
    else:
        show_dead(overview, Console())


@journal.command()
def requeue(
    place: Place, ids: Ids = None, *, every: All = False, name: Name = None, as_json: AsJson = False
) -> None:
    """Make dead letters pending again, each with its old number.

    Where processes share the journal one of them tries again at once; one that keeps it in files does when
    it, or its successor, opens it the next time."""
    _check(ids, every=every)
    _settle(place, name, ids, as_json, "requeued", lambda view, letter: view.revive(letter))


@journal.command()
def discard(
    place: Place,
    ids: Ids = None,
    *,
    every: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters: those writes are lost, by decision."""
    _check(ids, every=every)
    if every and not yes:
        typer.confirm("Delete all dead letters for good?", abort=True, err=True)
    _settle(place, name, ids, as_json, "discarded", lambda view, letter: view.discard(letter))


def _check(ids: list[str] | None, *, every: bool) -> None:
    if bool(ids) is every:
        raise typer.BadParameter("name the ids of dead letters, or --all")


def _settle(
    place: str,
    name: str | None,
    ids: list[str] | None,
    as_json: bool,
    verb: str,
    act: Callable[[JournalView, DeadLetter], Awaitable[None]],
) -> None:
    """Do *act* to the dead letters of these ids, or to all; one that is refused stops no other."""

    async def work(view: JournalView) -> tuple[list[str], dict[str, str]]:
        letters = {letter.id: letter async for letter in view.dead()}
        done: list[str] = []
        refused = {id: "there is no such dead letter" for id in ids or () if id not in letters}
        for id in ids if ids is not None else letters:
            if id not in letters:
                continue
            try:
                await act(view, letters[id])
            except JournalFailed as error:
                refused[id] = str(error)
            else:
                done.append(id)
        return done, refused

    done, refused = _with(place, name, work)
    if as_json:
        typer.echo(json.dumps({verb: done, "refused": refused}, indent=2))
    else:
        typer.echo(f"{verb}: {len(done):,}")
        for id, why in refused.items():
            typer.echo(f"acache: {id}: {why}", err=True)
    if refused:
        raise typer.Exit(1)


async def _look(view: JournalView) -> Overview:
    writes = [write async for write in view.recover()]
    letters = [letter async for letter in view.dead()]
    return Overview.of(writes, letters, now=SYSTEM_CLOCK.time())


def _with(place: str, name: str | None, work: Callable[[JournalView], Awaitable[T]]) -> T:
    """Return what *work* makes of the journal at *place*; an error is a line, not a traceback."""
    options: dict[str, Any] = {} if name is None else {"name": name}
    if name is not None and "://" not in place:
        raise typer.BadParameter("--name is for the journals of a server; a folder holds one")

    async def run() -> T:
        async with aclosing(open_journal(place, **options)) as view:
            return await work(view)

    try:
        return asyncio.run(run())
    except CacheError as error:
        typer.echo(f"acache: {error}", err=True)
        raise typer.Exit(1) from error
