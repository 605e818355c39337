"""What would hold the loop too long is done in parts."""

import asyncio
import itertools

import pytest

from acache._parts import PART, parts, together


def test_parts_are_all_of_it_in_order():
    assert list(parts(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(parts([], 3)) == []


@pytest.mark.asyncio
async def test_works_run_together_and_begin_a_tick_apart():
    began, gate = [], asyncio.Event()

    async def work(number):
        began.append(number)
        await gate.wait()
        return number

    running = asyncio.create_task(together(work(number) for number in range(3)))
    assert len(began) <= 1  # one if tasks begin eagerly
    while len(began) < 3:
        held = len(began)
        await asyncio.sleep(0)
        assert len(began) <= held + 1
    gate.set()
    assert await running == [0, 1, 2]


@pytest.mark.asyncio
@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_error_or_a_cancellation_ends_all_works(turn, cancelled):
    ended = []

    async def work(number):
        try:
            if number == 1 and not cancelled:
                raise ValueError("down")
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    running = asyncio.create_task(together(work(number) for number in range(3)))
    await turn()
    if cancelled:
        running.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else ValueError):
        await running
    assert sorted(ended) == [0, 1, 2]
    assert len(asyncio.all_tasks()) == 1


# --- large reads ------------------------------------------------------------------------------------

MANY = range(3 * PART + 500)


class Rows:
    """A batch loader that notes how many ids each call asks for."""

    def __init__(self):
        self.asked = []
        self.gate = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, ids):
        self.asked.append(len(ids))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {id: f"row {id}" for id in ids}


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def get_rows(cache, rows):
    @cache.cached_many("row:{}", ttl=60)
    async def get_rows(ids: list[int]) -> dict[int, str]:
        return await rows(ids)

    return get_rows


@pytest.mark.asyncio
async def test_the_loop_runs_on_while_a_great_many_ids_are_read(cache, rows, get_rows):
    rows.gate.set()
    reading, held = asyncio.create_task(get_rows(MANY)), [0]
    while not reading.done():
        await asyncio.sleep(0)
        held.append(len(cache._engine.process.flights))
    assert await reading == {id: f"row {id}" for id in MANY}
    assert rows.asked == [PART, PART, PART, 500]
    assert max(after - before for before, after in itertools.pairwise(held)) <= PART


@pytest.mark.asyncio
async def test_what_is_missing_of_a_great_many_ids_is_one_call(rows, get_rows):
    rows.gate.set()
    await get_rows(MANY)
    rows.asked.clear()
    await get_rows.invalidate(MANY[::50])
    assert await get_rows(MANY) == {id: f"row {id}" for id in MANY}
    assert rows.asked == [len(MANY[::50])]
    assert (get_rows.stats().hits, get_rows.stats().misses) == (
        len(MANY) - len(MANY[::50]),
        len(MANY) + len(MANY[::50]),
    )


@pytest.mark.asyncio
async def test_cancelling_a_read_of_a_great_many_ids_cancels_its_loads(cache, rows, get_rows, turn):
    reading = asyncio.create_task(get_rows(MANY))
    await turn()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await turn()
    assert rows.cancelled == 4
    assert len(cache._engine.process.flights) == 0
