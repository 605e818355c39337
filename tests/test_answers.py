"""An id is answered only by a key that is exactly that id: 1, True and 1.0 are three."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from functools import partial
from uuid import UUID

import pytest

from acache import MemoryJournal, ReadThrough, WriteBehind, WriteThrough
from acache._answers import CONFUSED, answering
from acache._text import text
from acache.errors import SourceRefused
from acache.protocols import Saved

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


class Level(IntEnum):
    LOW = 1


class Mail(str):
    __slots__ = ()


class Rows:
    """A source that answers whatever is equal, under its own keys."""

    version_column = None

    def __init__(self):
        self.rows = {1: "one", 2: "two"}
        self.asked = []
        self.saved = []

    async def load(self, ids):
        self.asked.append(list(ids))
        return {number: row for number, row in self.rows.items() if number in ids}

    async def save(self, items, *, versions=None):
        self.saved.append(dict(items))
        return Saved()

    async def remove(self, keys, *, versions=None):
        self.saved.append(list(keys))
        return Saved()


@pytest.fixture
def source():
    return Rows()


@pytest.mark.parametrize(
    ("id", "other"),
    [
        (1, True),
        (1, 1.0),
        (1, Decimal(1)),
        (1, Level.LOW),
        (0.0, -0.0),
        (Decimal("1.0"), Decimal("1.00")),
        (NOON, NOON.astimezone(timezone(timedelta(hours=1)))),
        ((1, "a"), (True, "a")),
        ("a", Mail("a")),
    ],
    ids=repr,
)
def test_an_equal_key_of_another_text_is_no_answer(id, other):
    for asked, held in ((id, other), (other, id)):
        assert answering({held: "value"}, [asked], text)(asked) is CONFUSED
        assert answering({asked: "value"}, [asked], text)(asked) == "value"


@pytest.mark.parametrize("id", [1, "a", b"a", UUID(int=1), 1.5, NOON, (1, "a"), Level.LOW, None], ids=repr)
def test_an_equal_key_of_the_same_text_is_the_answer(id):
    assert answering({id: "value", "more": "values"}, [id, 2], text)(id) == "value"
    assert answering({}, [id], text)(id) is None


def test_what_no_key_can_be_made_of_is_no_answer():
    class Equal:
        def __eq__(self, other):
            return True

        def __hash__(self):
            return hash(1)

    assert answering({Equal(): "value"}, [1], text)(1) is CONFUSED


@pytest.mark.asyncio
async def test_a_read_through_takes_no_row_of_an_id_that_is_merely_equal(cache, source, caplog):
    rows = ReadThrough(cache, source, key="row:{}", ttl=60)
    assert await rows.get(True) is None
    assert await rows.get(1.0) is None
    assert await rows.get(1) == "one"
    assert [await rows.get_many([id]) for id in (2.0, 2, Decimal(2))] == [{}, {2: "two"}, {}]
    assert caplog.text.count("return the ids that were asked for") == 1


@pytest.mark.asyncio
async def test_equal_ids_of_one_tick_are_asked_for_apart(cache, source):
    rows = ReadThrough(cache, source, key="row:{}", ttl=60)
    assert await asyncio.gather(rows.get(True), rows.get(1), rows.get(2), rows.get(1.0)) == [
        None,
        "one",
        "two",
        None,
    ]
    assert [[repr(id) for id in ids] for ids in source.asked] == [["True"], ["1", "2"], ["1.0"]]


@pytest.mark.asyncio
async def test_a_batch_function_without_annotation_keeps_equal_ids_apart(cache, source):
    @cache.cached_many("row:{}", ttl=60)
    async def rows(ids):
        return await source.load(ids)

    async def each():
        return [await rows([id, 2]) for id in (True, 1, 1.0)]

    two = {2: "two"}
    assert await each() == [two, {1: "one"} | two, two]
    source.rows[1] = "new"
    await rows.invalidate([1])
    assert await each() == [two, {1: "new"} | two, two]


@pytest.mark.asyncio
async def test_equal_ids_are_not_read_in_one_call(cache, source):
    """A mapping would give one of them the value of the other."""

    @cache.cached_many("row:{}", ttl=60)
    async def rows(ids):
        return {id: repr(id) for id in ids}

    through = ReadThrough(cache, source, key="through:{}", ttl=60)
    async with WriteBehind(cache, source, key="behind:{}", ttl=60, journal=MemoryJournal()) as behind:
        for read in (rows, rows.refresh, through.get_many, behind.get_many):
            with pytest.raises(ValueError, match="one at a time"):
                await read([1, True])
            assert await read([]) == {}


@pytest.mark.asyncio
async def test_an_annotation_says_which_ids_are_one(cache, source):
    @cache.cached_many("row:{}", ttl=60)
    async def rows(ids: list[int]) -> dict[int, str]:
        return await source.load(ids)

    assert rows.key(True) == rows.key(1)
    assert await rows([True]) == {1: "one"}
    assert await rows([1.0]) == {}


@pytest.mark.asyncio
async def test_an_update_is_given_no_row_of_an_id_that_is_merely_equal(cache, source):
    rows = WriteThrough(cache, source, key="row:{}", ttl=60)
    assert await rows.update(True, lambda current: f"{current} and more") == "None and more"
    assert await rows.update(1, lambda current: f"{current} and more") == "one and more"


@pytest.mark.asyncio
async def test_equal_ids_are_flushed_apart(cache, source):
    async with WriteBehind(cache, source, key="row:{}", ttl=60, journal=MemoryJournal()) as rows:
        await rows.put(1, "a")
        await rows.put(True, "b")
        await rows.put(2, "c")
        await rows.flush()
        assert sorted(map(repr, source.saved)) == ["{1: 'a', 2: 'c'}", "{True: 'b'}"]


@pytest.mark.asyncio
@pytest.mark.parametrize("behind", [False, True])
async def test_equal_ids_are_not_removed_in_one_call(cache, source, behind):
    pattern = partial(WriteBehind, journal=MemoryJournal()) if behind else WriteThrough
    async with pattern(cache, source, key="row:{}", ttl=60) as rows:
        with pytest.raises(ValueError, match="one at a time"):
            await rows.remove(1, True)
        assert source.saved == []


class Picky(Rows):
    """A source that refuses a batch for some of its ids, by name, one at a time."""

    async def load(self, ids):
        bad = [id for id in ids if id in ("poison", "venom")]
        if bad:
            self.asked.append(list(ids))
            raise SourceRefused("no id of ours", keys=bad[:1])
        return await super().load(ids)


@pytest.mark.asyncio
@pytest.mark.parametrize("behind", [False, True])
async def test_an_id_that_the_source_refuses_by_name_fails_no_stranger_of_its_tick(cache, behind):
    pattern = partial(WriteBehind, journal=MemoryJournal()) if behind else WriteThrough
    async with pattern(cache, Picky(), key="row:{}", ttl=60) as rows:
        first, bad, second, missing, worse = await asyncio.gather(
            *map(rows.get, (1, "poison", 2, 3, "venom")), return_exceptions=True
        )
        assert (first, second, missing) == ("one", "two", None)
        assert [(type(error), error.keys) for error in (bad, worse)] == [
            (SourceRefused, ("poison",)),
            (SourceRefused, ("venom",)),
        ]
        with pytest.raises(SourceRefused):
            await rows.get_many([1, "poison"])
        with pytest.raises(SourceRefused):  # it is not remembered as missing
            await rows.get("poison")
