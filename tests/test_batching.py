"""One request for all that is asked for in one tick of the loop."""

import asyncio
import contextvars

import pytest

from acache._background import Background
from acache._batching import Batcher

WHO = contextvars.ContextVar("who", default="nobody")


@pytest.fixture
def tasks():
    return []


def batcher(tasks, **options):
    return Batcher(
        loop=asyncio.get_running_loop(), keep=tasks.append, context=contextvars.copy_context, **options
    )


@pytest.mark.asyncio
async def test_a_tick_is_one_request_per_group(tasks, turn):
    asked, landed = [], []

    async def send(batch, items):
        asked.append(items)
        return items

    batches = batcher(tasks)
    for item in (1, 2, 1):
        batches.add("g", send, item, lambda answer, error, item=item: landed.append((item, answer, error)))
    batches.add("other", send, 1, lambda answer, error: landed.append((1, answer, error)))
    await turn()
    assert asked == [[1, 2], [1]]
    assert landed == [(1, [1, 2], None), (1, [1, 2], None), (2, [1, 2], None), (1, [1], None)]
    assert len(batches._open) == 0
    batches.add("g", send, 3, lambda answer, error: None)
    await turn()
    assert asked[2:] == [[3]]


@pytest.mark.asyncio
async def test_a_full_batch_departs_with_the_tick_too(tasks, turn):
    asked = []

    async def send(batch, items):
        asked.append(items)

    batches = batcher(tasks, max_items=2)
    for item in range(5):
        batches.add("g", send, item, lambda answer, error: None)
    await turn()
    assert asked == [[0, 1], [2, 3], [4]]


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", ["error", "cancelled from within", "task cancelled", "closed"])
async def test_every_item_hears_how_its_batch_ended_once(tasks, turn, failure):
    landed = []
    error = ValueError("down")

    async def send(batch, items):
        await asyncio.sleep(0)
        if failure == "error":
            raise error
        if failure == "cancelled from within":
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    batches = batcher(tasks)
    for item in range(3):
        batches.add("g", send, item, lambda answer, error, item=item: landed.append((item, answer, error)))
    if failure == "closed":
        batches.close()
    await turn()
    for task in tasks:
        task.cancel()
    await turn()
    wanted = error if failure == "error" else None
    assert landed == [(0, None, wanted), (1, None, wanted), (2, None, wanted)]


@pytest.mark.asyncio
async def test_a_batch_is_cancelled_when_nobody_wants_it_any_more(tasks, turn):
    running = []

    async def send(batch, items):
        running.append(items)
        try:
            await asyncio.Event().wait()
        finally:
            running.clear()

    batches = batcher(tasks)
    one = batches.add("g", send, 1, lambda answer, error: None)
    two = batches.add("g", send, 2, lambda answer, error: None)
    await turn()
    one.leave()
    await turn()
    assert running
    two.leave()
    await turn()
    assert not running
    never = batches.add("g", send, 3, lambda answer, error: None)
    never.leave()
    await turn()
    assert not running


# --- the tasks that a cache owns --------------------------------------------------------------------


@pytest.mark.asyncio
async def test_closing_cancels_what_may_be_cancelled_and_waits_for_the_rest(turn):
    background = Background(asyncio.get_running_loop())
    ended = []

    async def work(name, seconds):
        try:
            for _ in range(seconds):
                await asyncio.sleep(0)
            ended.append(name)
        except asyncio.CancelledError:
            ended.append(f"{name} cancelled")
            raise

    background.start(work("refresh", 10**9))
    background.begin(work("invalidation", 10))
    await turn()
    assert len(background) == 1
    await background.aclose()
    assert sorted(ended) == ["invalidation", "refresh cancelled"]
    assert len(background) == 0


@pytest.mark.asyncio
async def test_closing_waits_for_what_is_begun_meanwhile():
    background = Background(asyncio.get_running_loop())
    ended = []

    async def last():
        await asyncio.sleep(0)
        ended.append("last")

    async def refresh():
        try:
            await asyncio.Event().wait()
        finally:
            background.begin(last())

    background.start(refresh())
    await asyncio.sleep(0)
    await background.aclose()
    assert ended == ["last"]


@pytest.mark.asyncio
async def test_cancelling_one_who_waits_for_work_ends_only_the_wait(turn):
    background = Background(asyncio.get_running_loop())
    gate, ended = asyncio.Event(), []

    async def work():
        await gate.wait()
        ended.append(1)
        raise ValueError("told by the work itself")

    waiting = asyncio.create_task(background.finish(work()))
    await turn()
    waiting.cancel()
    await turn()
    assert (waiting.cancelled(), ended) == (True, [])
    gate.set()
    await turn()
    assert (ended, len(background)) == ([1], 0)


@pytest.mark.asyncio
async def test_what_work_returns_or_raises_reaches_who_waits():
    background = Background(asyncio.get_running_loop())

    async def fail():
        raise ValueError("down")

    assert await background.finish(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="down"):
        await background.finish(fail())
