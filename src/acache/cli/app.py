"""The commands and their options. Knows what a user may type, not what a command does."""

import asyncio
import json
import sqlite3
import tempfile
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from acache import __version__
from acache.cli.demo.page import page
from acache.cli.demo.render import progress, render
from acache.cli.demo.result import DemoResult
from acache.cli.demo.run import Options, run_demo
from acache.cli.fleet.commands import inspect, invalidate
from acache.cli.journal.commands import journal

app = typer.Typer(
    name="acache",
    help="An asyncio-native caching library.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(journal)
app.command()(inspect)
app.command()(invalidate)


def _finite(seconds: float) -> float:
    if not isfinite(seconds):
        raise typer.BadParameter("must be a finite number")
    return seconds


def _finite_or_none(seconds: float | None) -> float | None:
    return None if seconds is None else _finite(seconds)


def _writable(path: Path | None) -> Path | None:
    """Refuse a file that cannot be written, before anybody waits for a run; leaves no file behind."""
    if path is None:
        return None
    existed = path.exists()
    try:
        with path.open("a"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror}") from error
    return path


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"acache {__version__}")
        raise typer.Exit


@app.callback()
def acache(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """An asyncio-native caching library."""


@app.command()
def demo(
    *,
    seed: Annotated[int, typer.Option(help="Of the data and the traffic.")] = 1,
    readers: Annotated[int, typer.Option(min=1, max=20_000, help="How many read at the same time.")] = 1_000,
    seconds: Annotated[
        float, typer.Option(min=1, max=600, callback=_finite, help="Of traffic, for all phases together.")
    ] = 22,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", callback=_writable, help="Write every figure as JSON."),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", callback=_writable, help="Write a page with plots."),
    ] = None,
) -> None:
    """Run five ways to cache against a real SQLite database, and measure them.

    The same seeded traffic meets no cache, naive cache-aside, a mutex, XFetch alone, and acache. Then rows
    are written through and behind, and a process that writes behind is killed and recovered."""
    if json_file is not None and html_file is not None and json_file.resolve() == html_file.resolve():
        raise typer.BadParameter("--json and --html name the same file")
    try:
        with progress(Console(stderr=True)) as show:
            result = asyncio.run(run_demo(Options(seed=seed, readers=readers, seconds=seconds), show))
        render(result, Console())
        _save(result, json_file=json_file, html_file=html_file)
    except (OSError, sqlite3.Error) as error:
        typer.echo(f"acache: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def dashboard(
    *,
    demonstrate: Annotated[
        bool, typer.Option("--demo", help="Over a busy shop with a real SQLite database.")
    ] = False,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    seed: Annotated[int, typer.Option(help="Of the data and the traffic.")] = 1,
    seconds: Annotated[
        float | None,
        typer.Option(min=0, max=1e6, callback=_finite_or_none, help="Stop by itself after this."),
    ] = None,
) -> None:
    """Serve the live page. A cache lives in its own process, so yours is shown by your app.

    In an ASGI app: app.mount("/cache", acache.dashboard.asgi_app(cache))"""
    if not demonstrate:
        raise typer.BadParameter(
            "a running app shows its own caches: mount acache.dashboard.asgi_app(cache) in it; "
            "add --demo to see the page over a demonstration"
        )
    from acache.cli.live import serve

    def ready(url: str) -> None:
        typer.echo(f"the dashboard is at {url} (Ctrl-C ends it)")

    with tempfile.TemporaryDirectory(prefix="acache-") as directory:
        work = serve(Path(directory), seed=seed, host=host, port=port, seconds=seconds, ready=ready)
        try:
            asyncio.run(work)
        except KeyboardInterrupt:
            pass
        except OSError as error:
            typer.echo(f"acache: cannot listen on {host}:{port}: {error.strerror or error}", err=True)
            raise typer.Exit(1) from error


@app.command()
def simulate(
    *,
    ttl: Annotated[float, typer.Option(min=1e-3, callback=_finite, help="Seconds of freshness.")] = 60,
    load_time: Annotated[float, typer.Option(min=1e-6, callback=_finite, help="Seconds a load takes.")] = 0.1,
    rate: Annotated[float, typer.Option(min=1e-6, callback=_finite, help="Reads per second.")] = 100,
    beta: Annotated[float, typer.Option(min=0, callback=_finite, help="Eagerness; 0: none.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draws that check the formulas.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    svg_file: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", callback=_writable, help="Draw the curves.")
    ] = None,
) -> None:
    """Say what early refresh (XFetch) does for one key: head start, stampede, waste.

    The figures are closed forms, checked by drawing reads in virtual time."""
    from acache.cli import simulate as simulation

    if ttl < load_time / 1_000:
        raise typer.BadParameter("--ttl is less than a thousandth of --load-time")
    situation = simulation.Situation(ttl=ttl, load_time=load_time, rate=rate, beta=beta)
    result = simulation.simulate(situation, seed=seed)
    if as_json:
        typer.echo(json.dumps(result.as_dict(), indent=2))
    else:
        simulation.render(result, Console())
    if svg_file is not None:
        from acache.cli.xfetch_plot import plot

        svg_file.write_text(plot(ttl=ttl, load_time=load_time, rate=rate, beta=beta), encoding="utf-8")


def _save(result: DemoResult, *, json_file: Path | None, html_file: Path | None) -> None:
    for path, text in ((json_file, result.to_json()), (html_file, page(result))):
        if path is not None:
            path.write_text(text, encoding="utf-8")
            typer.echo(f"wrote {path}")
