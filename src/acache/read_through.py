"""Read-through: a cache that loads what it lacks from a source by itself."""

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, Unpack

from acache._answers import Partly, apart
from acache._cache import Cache
from acache._decorators import Reader
from acache._entry import Entry
from acache._given import names
from acache._keys import LONGEST_READABLE, Template
from acache._policy import Options, Policy, unique
from acache._process import Call, Group
from acache._stats import SAMPLE_EVERY
from acache.errors import CacheError, SourceRefused, SourceUnavailable
from acache.protocols import Source

MAX_REFUSED: Final = 100  # ids of a batch that a source may refuse one after the other

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ReadThrough(Generic[K, V]):
    """Values of a source, by id, through a cache.

    Concurrent reads of different ids become one query. An id that the source does not return is
    remembered as not existing for `missing_ttl`; a failed query says nothing about any id."""

    def __init__(
        self,
        cache: Cache,
        source: Source[K, V],
        *,
        key: str,
        tags: Iterable[str] = (),
        type: Any = Any,
        policy: Policy | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Prepare; nothing is read.

        *cache*: what keeps the values. *source*: where loads read. *key*: the template of the key, in
        which `{}` is the id, "user:{}". *tags*: templates of tags, likewise. *type*: of a value, which
        a remote store's bytes are decoded into. *policy*: a `Policy` to start from.

        Options are those of `Policy`; `ttl` is required. Raises NoInvalidationPlan, InvalidPolicy,
        InvalidTemplate."""
        self._cache = cache
        self._source = source
        self._key = one_field("key", key)
        self._pattern = self._key.pattern
        self._tags = tuple(one_field("tags", tag, required=False) for tag in unique(names("tags", tags)))
        name = f"{self.__class__.__name__}({key})"
        self._reader = Reader(
            name=name,
            options=options,
            policy=policy,
            plannable=True,
            type=type,
            keys=self._key,
            tags=self._tags,
        )
        # Patterns are friends of the cache; nobody else has a use for it.
        cache._attach(self._reader)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._group = Group(identity=self, load=self._load, text=self.key)

    async def get(self, id: K) -> V | None:
        """Return the value of *id*, None if it does not exist.

        Raises what the source raises (SourceUnavailable, SourceRefused), LoadTimeout. Cancelling is
        private to the caller."""
        key = self.key(id)
        reader = self._reader
        entry = reader.lookup(key)
        # The hit path of a decorated function: what is left to judge, the engine judges.
        if (
            entry is not None
            and reader.near.trusted_until > reader.now() < entry.calm_until
            and entry.version == reader.policy.version
        ):
            entry.used = True
            tally = reader.tally
            tally.hits += 1
            if not tally.hits % reader.sample_every:
                self._sample(key, entry, id)
            return entry.value  # type: ignore[return-value]
        value: V | None = await reader.engine.read(key, self._call(id))
        return value

    def _sample(self, key: str, entry: Entry, id: K) -> None:
        """Time one hit in 1,024, and have this one checked if chance elects it."""
        reader = self._reader
        process, tally = reader.engine.process, reader.tally
        if not tally.hits % SAMPLE_EVERY:
            reader.time(entry, self.get, id)
            tally.hits -= 1  # the sample was none
        if process.verifier is not None and process.verifier.elects(process.sample_every):
            process.verifier.check(key, entry, self._call(id))

    async def get_many(self, ids: Iterable[K]) -> dict[K, V]:
        """Return the values of those of *ids* that exist.

        Raises ValueError for two ids that are equal but of several types, as 1 and True are."""
        asked = by_key(listed(ids), self.key)
        found = await self._reader.read_many(asked, lambda key: self._call(asked[key]))
        return {asked[key]: value for key, value in found.items() if value is not None}

    async def invalidate(self, *ids: K) -> None:
        """Drop what is cached of *ids*."""
        await self._cache.invalidate(*map(self.key, ids))

    def key(self, id: K) -> str:
        """Return the cache key of *id*."""
        if id.__class__ is int and len(key := self._pattern % id) <= LONGEST_READABLE:
            return key
        return self._key.format(id)

    def tags(self, id: K) -> tuple[str, ...]:
        """Return the tags of *id*."""
        return tuple([tag.format(id) if tag.fields else tag.text for tag in self._tags])

    def _call(self, id: K) -> Call:
        reader = self._reader
        return Call(
            policy=reader.policy,
            tally=reader.tally,
            type=reader.type,
            group=self._group,
            id=id,
            tags=self.tags(id) if self._tags else (),
        )

    async def _load(self, ids: Sequence[K]) -> Mapping[K, V]:
        """Load *ids*. What the source refuses by name fails alone: others of its tick are strangers to it."""
        errors: dict[K, SourceRefused] = {}
        rest: list[K] = list(ids)
        with self._reaching():
            while rest:
                try:
                    found = await self._source.load(rest)
                except SourceRefused as error:
                    parts: tuple[list[K], list[K]] = _apart(rest, error.keys)
                    bad, good = parts
                    if not bad or len(bad) == len(ids) or len(errors) > MAX_REFUSED:
                        raise
                    errors.update((id, _of_one(error, id)) for id in bad)
                    rest = good
                else:
                    return Partly(found, errors) if errors else found
        return Partly({}, errors)

    @contextmanager
    def _reaching(self) -> Generator[None]:
        """Say what an error of the network means that a source lets through."""
        try:
            yield
        except CacheError:
            raise
        except OSError as error:
            raise SourceUnavailable(f"the source of {self._key.text!r} cannot be reached") from error

    async def __aenter__(self) -> Self:
        """Use it; nothing needs to be opened for reading."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self, timeout: float | None = None) -> None:
        """Nothing was opened: cache and source belong to the caller."""
        del timeout


def _apart(ids: Sequence[K], named: Iterable[object]) -> tuple[list[K], list[K]]:
    """Return those of *ids* that are *named*, and the others."""
    those = frozenset(named)
    return [id for id in ids if id in those], [id for id in ids if id not in those]


def _of_one(error: SourceRefused, id: object) -> SourceRefused:
    """Return *error* as it concerns one id."""
    own = SourceRefused(str(error), keys=(id,))
    own.__cause__ = error.__cause__
    return own


def one_field(parameter: str, text: str, *, required: bool = True) -> Template:
    """Return the template *text*, which names the id by `{}` once."""
    template = Template.parse(text)
    if len(template.fields) > 1 or (required and not template.fields):
        raise ValueError(f'{parameter}={text!r}: write {{}} once, where the id belongs, as in "user:{{}}"')
    return template


def by_key(ids: Iterable[K], key: Callable[[K], str]) -> dict[str, K]:
    """Return *ids* by their keys; refuse two that no mapping would hold apart."""
    return apart({key(id): id for id in ids})


def listed(ids: Iterable[K]) -> list[K]:
    """Return *ids*, walked once; refuse a text, which would be walked by its letters."""
    if isinstance(ids, str | bytes):
        raise TypeError(f"ids takes an iterable of ids, not {ids!r}: write [{ids!r}]")
    return list(ids)
