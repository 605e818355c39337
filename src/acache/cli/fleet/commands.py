"""`acache inspect` and `acache invalidate` and their options. Knows what a user may type, and no store."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import typer

from acache.cli.fleet import store
from acache.errors import CacheError, ConfigurationError, InvalidKey

T = TypeVar("T")

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", help="Of the remote store, such as redis://localhost:6379/0.", show_default=False
    ),
]
Key = Annotated[str, typer.Argument(metavar="KEY", show_default=False)]
Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", show_default=False)]
Namespace = Annotated[str, typer.Option(help="Of the cache.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def inspect(
    url: Url,
    key: Key,
    *,
    namespace: Namespace = "default",
    signing_key_file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Holds a signing key; may be repeated."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a remote store holds of a key: age, tags, who loads or writes it. Never its value."""
    signing_keys = [path.read_bytes() for path in signing_key_file or ()]
    facts = _ask(store.inspect(url, key, namespace=namespace, signing_keys=signing_keys)).facts()
    typer.echo(json.dumps(facts) if as_json else _lines(facts))


def invalidate(
    url: Url,
    keys: Keys = None,
    *,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="May be repeated.")] = None,
    namespace: Namespace = "default",
    as_json: AsJson = False,
) -> None:
    """Drop keys, and everything that carries one of the tags, in every process that shares the store."""
    keys, tags = keys or [], tag or []
    if not keys and not tags:
        raise typer.BadParameter("name a KEY or a --tag, or several")
    done = _ask(store.invalidate(url, keys, tags, namespace=namespace))
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(f"invalidated in {namespace!r}: {', '.join([*keys, *(f'tag {each}' for each in tags)])}")


def _ask(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* does; an error of ours is one line, and 2 if the call was wrong, else 1."""
    try:
        return asyncio.run(work)
    except CacheError as error:
        typer.echo(f"acache: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigurationError | InvalidKey) else 1) from error


def _lines(facts: Mapping[str, object]) -> str:
    """Return one line per fact that says anything."""
    shown = {
        name: ", ".join(map(str, cast("tuple[object, ...]", fact))) if isinstance(fact, tuple) else fact
        for name, fact in facts.items()
    }
    return "\n".join(
        f"{name:>10}: {f'{fact:,.3f} s' if isinstance(fact, float) else fact}"
        for name, fact in shown.items()
        if fact not in (None, "", False)
    )
