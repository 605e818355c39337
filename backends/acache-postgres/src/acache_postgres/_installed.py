"""Watched tables in a database, and their triggers: found, installed, missing.

Functions over a connection; nothing is kept, nothing is listened to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acache.errors import ConfigurationError
from acache_postgres._driver import InsufficientPrivilegeError
from acache_postgres._schema import checked, columns_of, table_named
from acache_postgres._settling import transaction
from acache_postgres._triggers import EVENTS, INSTALLING, MISSING, Triggers
from acache_postgres._watched import Watched

_TABLE_OR_PARTITIONED = "rp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A watched table as it was found in the database."""

    watched: Watched
    oid: int
    triggers: Triggers
    types: Mapping[str, str]  # of the columns that the templates name


async def find(connection: Any, tables: Iterable[Watched]) -> list[Found]:
    """Look the tables up. `ConfigurationError` names a table or column that is missing, or a view."""
    found: list[Found] = []
    for each in tables:
        oid, schema, name, kind = await table_named(connection, each.table)
        if kind not in _TABLE_OR_PARTITIONED:
            raise ConfigurationError(
                f"tables={each.table!r} is a view or foreign table, which cannot tell of its changes: "
                "name the tables that it is made of"
            )
        columns = checked(each.table, await columns_of(connection, oid), each.columns)
        triggers = Triggers(schema=schema, table=name, columns=columns)
        types = {column.name: column.base for column in columns}
        found.append(Found(watched=each, oid=oid, triggers=triggers, types=types))
    return found


async def install(connection: Any, tables: Iterable[Found]) -> None:
    """Create what is missing, table by table. `ConfigurationError` says which permission lacks."""
    for found in tables:
        if not await missing(connection, found):
            continue
        try:
            await _install(connection, found)
        except InsufficientPrivilegeError as error:
            raise ConfigurationError(
                f"table {found.watched.table!r}: this role may not install triggers; it needs TRIGGER on "
                "the table and CREATE on its schema, or its owner calls install() once"
            ) from error


async def missing(connection: Any, found: Found) -> Sequence[tuple[str, str, str]]:
    """Return schema, table and kind of statement of each trigger that the table or a partition lacks.

    A table that is gone lacks them all."""
    rows = await connection.fetch(MISSING, found.oid, found.triggers.channel, list(EVENTS))
    return [(row["schema"], row["name"], row["event"]) for row in rows]


async def _install(connection: Any, found: Found) -> None:
    async with transaction(connection):
        # Processes that start together take turns, and the later ones find nothing missing.
        await connection.execute(f"SELECT pg_advisory_xact_lock({INSTALLING})")
        lacking = await missing(connection, found)
        if lacking:
            await connection.execute(found.triggers.create_function())
        for schema, table, event in lacking:
            for statement in found.triggers.create_trigger(schema, table, event):
                await connection.execute(statement)
