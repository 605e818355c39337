"""What becomes of a written value that somebody changes in place: nothing, it was acknowledged as it was."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field

import pytest
from behind_table import Table, behind

from acache import Cache
from acache.protocols import Saved


@dataclass
class User:
    id: int
    names: list[str] = field(default_factory=list)


class Keeping(Table):
    """Keeps what it got as it was at that moment, as a database does."""

    async def save(self, items: Mapping[int, object], *, versions=None) -> Saved[int, object]:
        return await super().save(deepcopy(dict(items)))


@pytest.fixture
def table() -> Table:
    return Keeping()


@pytest.fixture
def real() -> Cache:
    return Cache("memory://")


def change(value) -> None:
    """Change *value* in place, as deep as it goes."""
    if isinstance(value, User):
        value.names.append("changed")
    elif isinstance(value, list):
        value.append("changed")
    else:
        value["changed"] = True
        for part in value.values():
            if isinstance(part, list | dict):
                change(part)


VALUES = [
    ({"id": 1, "name": "Ann"}, {}),  # plain: it is not read back to see whether it comes back
    ({"id": 1, "names": ["Ann"]}, {}),
    ({"id": 1, "in": {"it": {"names": []}}}, {}),
    ({"id": 1, "text": "x" * 70_000}, {}),
    ({"id": 1, "name": "Ann"}, {"type": dict[str, int | str]}),
    ([1, 2], {}),
    (User(1, ["Ann"]), {"type": User}),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("value", "options"), VALUES)
async def test_what_a_caller_changes_after_it_was_written_is_neither_read_nor_written(
    real, table, value, options
):
    value, written = deepcopy(value), deepcopy(value)
    async with behind(real, table, max_delay=60, **options) as rows:
        await rows.put(1, value)
        await rows.put_many({2: value})
        change(value)
        assert await rows.get_many([1, 2]) == {1: written, 2: written}
        await rows.flush()
        assert table.rows == {1: written, 2: written}
        assert await rows.get_many([1, 2]) == {1: written, 2: written}
    await real.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize(("value", "options"), VALUES)
async def test_what_a_reader_changes_in_a_pending_value_never_reaches_the_source(real, table, value, options):
    value, written = deepcopy(value), deepcopy(value)
    async with behind(real, table, max_delay=60, **options) as rows:
        await rows.put(1, value)
        change(await rows.get(1))
        await rows.flush()
        assert table.rows == {1: written}
    await real.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(("value", "options"), VALUES)
async def test_an_update_may_change_what_it_gets_in_place_and_fail(real, table, value, options, flushed):
    def sell(current):
        change(current)
        raise ValueError("sold out")

    async with behind(real, table, max_delay=60, **options) as rows:
        await rows.put(1, deepcopy(value))
        if flushed:
            await rows.flush()
        with pytest.raises(ValueError, match="sold out"):
            await rows.update(1, sell)
        assert await rows.get(1) == value
    await real.aclose()
    assert table.rows == {1: value}


@pytest.mark.asyncio
async def test_an_update_that_fails_halfway_leaves_what_is_pending_as_it_was(real, table):
    started, gate = asyncio.Event(), asyncio.Event()

    async def half(row):
        row["stock"] = 0
        started.set()
        await gate.wait()
        raise ValueError("no such product")

    async with behind(real, table, max_delay=60) as rows:
        await rows.put(1, {"stock": 5})
        updating = asyncio.create_task(rows.update(1, half))
        await started.wait()
        await rows.flush()
        assert table.rows == {1: {"stock": 5}}
        gate.set()
        with suppress(ValueError):
            await updating
    await real.aclose()
    assert table.rows == {1: {"stock": 5}}
