"""What hand-written statements do on a connection: one batch from begin to commit.

Every method takes a connection that is its own until it returns."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from acache.errors import ConfigurationError, SourceRefused
from acache.protocols import Saved
from acache_postgres._blame import blame
from acache_postgres._driver import InterfaceError, PostgresError
from acache_postgres._errors import Unfit, is_data
from acache_postgres._keys import BoundKey, KeyShape, columns_of, loosely, ordered
from acache_postgres._named import Statement
from acache_postgres._reading import Reading, Row, codecs_of
from acache_postgres._rows import Shape
from acache_postgres._settling import transaction, undone
from acache_postgres._values import Codecs, key_given, part_taken, taken

K = TypeVar("K")
V = TypeVar("V")

Kind = tuple[str, str]
"""Base type and category, in PostgreSQL's words."""

_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "citext", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement whose parameters' types PostgreSQL has told."""

    statement: Statement
    kinds: tuple[Kind, ...]
    codecs: Codecs

    def arguments(self, row: Mapping[str, object]) -> list[object]:
        """Return what the parameters take of *row*. Raises `Unfit` where it lacks one."""
        arguments: list[object] = []
        for name, kind in zip(self.statement.names, self.kinds, strict=True):
            if name not in row:
                raise Unfit(f"there is no column {name!r}, which the statement names, among those of the row")
            arguments.append(taken(*kind, row[name], self.codecs))
        return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading(Generic[V]):
    """How the rows of `load` are taken apart."""

    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]  # of the key's parts, by what the statement takes
    key_at: tuple[tuple[int, str], ...]  # where the key's parts are, and their base types
    at: tuple[int, ...]
    reading: Reading[V]


class QueryWork(Generic[K, V]):
    """The batches of one set of statements."""

    def __init__(self, load: Statement, *, key: KeyShape[K], shape: Shape[V]) -> None:
        self._load = load
        self._key = key
        self._names = key.columns if key.composite else ("keys",)  # of the arrays of keys
        self._shape = shape
        self._loading: Loading[V] | None = None
        self._prepared: dict[str, Prepared] = {}

    async def load(self, connection: Any, keys: Mapping[K, BoundKey]) -> dict[K, V]:
        """Return the values of those of *keys* that the query finds."""
        return await self._halved(connection, keys)

    async def save(
        self,
        connection: Any,
        statement: Statement,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> Saved[K, V]:
        """Run *statement* for each item; return the rows that differ and the keys that changed nothing."""
        prepared = await self._prepare(connection, statement)
        rows = self._rows(prepared, items, keys, versions)
        async with transaction(connection):
            unchanged = await _run(connection, prepared, rows, counted=versions is not None)
            confused: list[K] = []
            written = {key: keys[key] for key in keys if key not in unchanged}
            held = await self._found(connection, written, confused)
            if wrong := [key for key in confused if key not in held]:
                raise SourceRefused(f"{len(wrong)} of the keys are found as another type or text", keys=wrong)
            differing = {key: value for key, value in held.items() if not self._shape.same(value, items[key])}
        return Saved(rows=differing, refused=tuple(unchanged))

    async def probe(
        self,
        connection: Any,
        statement: Statement,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
        bad: list[K],
    ) -> None:
        """Collect in *bad* the keys to blame for the refusal of a batch; write nothing."""
        prepared = await self._prepare(connection, statement)
        await self._blame(connection, prepared, self._rows(prepared, items, keys, versions), bad)

    async def remove(
        self,
        connection: Any,
        statement: Statement,
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> Saved[K, V]:
        """Run *statement* for each key; refused are those that can still be loaded."""
        prepared = await self._prepare(connection, statement)
        rows: dict[K, list[object]] = {}
        for key in ordered(keys):
            with suppress(Unfit):  # what cannot be a key has no row to remove
                rows[key] = prepared.arguments(self._named(keys[key], key, versions))
        try:
            return await self._removed(connection, prepared, rows, keys, versions)
        except (PostgresError, InterfaceError) as error:
            if not _is_unsendable(error):
                raise
        bad: list[K] = []
        await self._blame(connection, prepared, rows, bad)
        fit = {key: row for key, row in rows.items() if key not in bad}
        return await self._removed(connection, prepared, fit, keys, versions)

    async def _removed(
        self,
        connection: Any,
        prepared: Prepared,
        rows: Mapping[K, list[object]],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> Saved[K, V]:
        async with transaction(connection):
            others: list[K] = []
            held = await self._halved(connection, {key: keys[key] for key in rows}, others)
            rows = {key: row for key, row in rows.items() if key in held or key not in others}
            await _run(connection, prepared, rows, counted=False)
            asked = {key: keys[key] for key in rows} if versions is not None else {}
            left = await self._found(connection, asked)
        return Saved(refused=tuple(left))

    async def _blame(
        self, connection: Any, prepared: Prepared, rows: Mapping[K, list[object]], bad: list[K]
    ) -> None:
        async def attempt(some: Sequence[K]) -> None:
            await _run(connection, prepared, {key: rows[key] for key in some}, counted=False)

        try:
            await connection.execute("BEGIN")
            await blame(connection, list(rows), attempt, bad)
        finally:
            await undone(connection)

    async def _halved(
        self, connection: Any, keys: Mapping[K, BoundKey], confused: list[K] | None = None
    ) -> dict[K, V]:
        """Load, in halves where a key is of a type that the query cannot take: it has no row."""
        try:
            return await self._found(connection, keys, confused)
        except (PostgresError, InterfaceError) as error:
            if not _is_unsendable(error):
                raise
        if len(keys) == 1:
            return {}
        items = list(keys.items())
        middle = len(items) // 2
        left = await self._halved(connection, dict(items[:middle]), confused)
        return left | await self._halved(connection, dict(items[middle:]), confused)

    async def _found(
        self, connection: Any, keys: Mapping[K, BoundKey], confused: list[K] | None = None
    ) -> dict[K, V]:
        """Return the values of *keys*; *confused* collects those that have a row of a similar key."""
        if not keys:
            return {}
        loading = self._loading = self._loading or await self._look(connection)
        asked: dict[BoundKey, list[K]] = {}
        sent: list[BoundKey] = []
        for key, bound in keys.items():
            with suppress(Unfit):
                parts = _parts(bound, loading)
                sent.append(parts)
                asked.setdefault(loosely(parts), []).append(key)
        given = dict(zip(self._names, columns_of(sent, len(self._names)), strict=True))
        found: dict[K, Row] = {}
        records = await connection.fetch(self._load.text, *(given[name] for name in self._load.names))
        if records and tuple(records[0].keys()) != loading.columns:  # SELECT * of an altered table
            loading = self._loading = await self._look(connection)
        for record in records:
            row = tuple(record[place] for place in loading.at)
            own = [key_given(base, record[place]) for place, base in loading.key_at]
            for key in asked.get(loosely(own), ()):
                if not self._key.answers(own, key):
                    if confused is not None:
                        confused.append(key)
                    continue
                # The same row twice is no contradiction: a join does that.
                if found.setdefault(key, row) != row:
                    raise SourceRefused("load= returned several rows of one key", keys=(key,))
        return loading.reading.values(found)

    async def _look(self, connection: Any) -> Loading[V]:
        """Find out what `load` takes and returns. Raises `ConfigurationError` if that cannot work."""
        keys = ", ".join(f":{name}" for name in self._names)
        if unknown := set(self._load.names).difference(self._names):
            raise ConfigurationError(f"load= names :{min(unknown)}; the keys are in {keys}, as arrays")
        prepared = await connection.prepare(self._load.text)
        takes = {
            name: kind.name for name, kind in zip(self._load.names, prepared.get_parameters(), strict=True)
        }
        if scalar := [name for name, kind in takes.items() if not kind.endswith("[]")]:
            raise ConfigurationError(
                f"load= takes one value in :{scalar[0]}; it has to take an array: = ANY(:keys)"
            )
        result = prepared.get_attributes()
        columns = [attribute.name for attribute in result]
        wanted = self._shape.columns if self._shape.columns is not None else columns
        missing = [name for name in (*self._key.columns, *wanted) if name not in columns]
        if missing:
            raise ConfigurationError(
                f"load= returns no column {missing[0]!r}; it returns: {', '.join(map(repr, columns))}"
            )
        kinds = [(attribute.name, *_kind(attribute.type)) for attribute in result]
        codecs = await codecs_of(connection, [base for _, base, _ in kinds])
        at = tuple(columns.index(name) for name in wanted)
        return Loading(
            columns=tuple(columns),
            kinds=tuple(_simple(takes.get(name, "")) for name in self._names),
            key_at=tuple((place, kinds[place][1]) for place in map(columns.index, self._key.columns)),
            at=at,
            reading=Reading(self._shape, [kinds[place] for place in at], codecs),
        )

    async def _prepare(self, connection: Any, statement: Statement) -> Prepared:
        """Return *statement* with the types of its parameters, asked for once."""
        known = self._prepared.get(statement.text)
        if known is None:
            types = (await connection.prepare(statement.text)).get_parameters()
            kinds = tuple(_kind(each) for each in types)
            codecs = await codecs_of(connection, [base for base, _ in kinds])
            known = self._prepared[statement.text] = Prepared(statement=statement, kinds=kinds, codecs=codecs)
        return known

    def _rows(
        self,
        prepared: Prepared,
        items: Mapping[K, V],
        keys: Mapping[K, BoundKey],
        versions: Mapping[K, int] | None,
    ) -> dict[K, list[object]]:
        rows: dict[K, list[object]] = {}
        unfit: dict[K, Unfit] = {}
        for key in ordered(keys):
            try:
                row = self._shape.write(items[key]) | self._named(keys[key], key, versions)
                rows[key] = prepared.arguments(row)
            except Unfit as error:
                unfit[key] = error
        if unfit:
            raise SourceRefused(
                f"{len(unfit)} of the rows cannot be saved: {next(iter(unfit.values()))}", keys=tuple(unfit)
            )
        return rows

    def _named(self, bound: BoundKey, key: K, versions: Mapping[K, int] | None) -> dict[str, object]:
        version = versions[key] if versions is not None else None
        return {**dict(zip(self._key.columns, bound, strict=True)), "version": version}


async def _run(
    connection: Any, prepared: Prepared, rows: Mapping[K, Iterable[object]], *, counted: bool
) -> list[K]:
    """Run a statement for each row; if *counted*, return the keys of those that changed nothing."""
    text = prepared.statement.text
    if not counted:
        await connection.executemany(text, list(rows.values()))
        return []
    unchanged: list[K] = []
    for key, arguments in rows.items():
        status = await connection.execute(text, *arguments)
        if status.rpartition(" ")[2] == "0":
            unchanged.append(key)
    return unchanged


def _is_unsendable(error: Exception) -> bool:
    """Return whether asyncpg could not even send a parameter.

    What PostgreSQL itself refuses comes with a severity, and is the statement's own affair."""
    return is_data(error) and getattr(error, "severity", None) is None


def _kind(kind: Any) -> Kind:
    """Return base and category of a type as asyncpg describes it."""
    if kind.kind == "array":
        return "_" + kind.name.removesuffix("[]"), "A"
    if kind.kind == "composite":
        return kind.name, "C"
    return _simple(kind.name)


def _simple(name: str) -> Kind:
    """Return base and category of a type, or of an array's elements, by its name."""
    base = name.removesuffix("[]")
    return base, "S" if base in _TEXTS else "?"


def _parts(bound: BoundKey, loading: Loading[Any]) -> BoundKey:
    return tuple(part_taken(*kind, part, Codecs()) for kind, part in zip(loading.kinds, bound, strict=True))
