"""One request for all that is asked for in one tick of the loop."""

import asyncio
import contextvars
from dataclasses import dataclass

import pytest

from acache._background import Background
from acache._batching import Batcher

WHO = contextvars.ContextVar("who", default="nobody")


@pytest.fixture
def tasks():
    return []


@dataclass(frozen=True)
class Who:
    """One who asks."""

    name: str
    key: str


class Carrier:
    """Carries a batch by calling *send*, and notes what those who asked hear."""

    def __init__(self, send):
        self.send = send
        self.landed = []

    def carry(self, batch, items):
        return self.send(items)

    def land(self, batch, answer, error):
        self.landed += [(who, answer, error) for who in batch]


def batcher(tasks, **options):
    return Batcher(
        loop=asyncio.get_running_loop(), keep=tasks.append, context=contextvars.copy_context, **options
    )


@pytest.mark.asyncio
async def test_a_tick_is_one_request_per_group(tasks, turn):
    asked = []

    async def send(items):
        asked.append(items)
        return items

    batches, one, other = batcher(tasks), Carrier(send), Carrier(send)
    a, b, c, d = (Who(name, str(item)) for name, item in {"a": 1, "b": 2, "c": 1, "d": 1}.items())
    for who in (a, b, c):
        batches.add("g", one, int(who.key), who)
    batches.add("other", other, 1, d)
    await turn()
    assert asked == [[1, 2], [1]]
    assert one.landed == [(a, [1, 2], None), (b, [1, 2], None), (c, [1, 2], None)]
    assert other.landed == [(d, [1], None)]
    assert len(batches._open) == 0
    batches.add("g", one, 3, Who("e", "3"))
    await turn()
    assert asked[2:] == [[3]]


@pytest.mark.asyncio
async def test_equal_items_of_several_keys_are_asked_for_apart(tasks, turn):
    asked = []

    async def send(items):
        asked.append(items)

    batches = batcher(tasks)
    for item, key in ((1, "1"), (2, "2"), (True, "True"), (3, "3")):
        batches.add("g", Carrier(send), item, Who("a", key))
    await turn()
    assert [list(map(repr, items)) for items in asked] == [["1", "2"], ["True", "3"]]


@pytest.mark.asyncio
async def test_a_full_batch_departs_with_the_tick_too(tasks, turn):
    asked = []

    async def send(items):
        asked.append(items)

    batches = batcher(tasks, max_items=2)
    for item in range(5):
        batches.add("g", Carrier(send), item, Who("a", str(item)))
    await turn()
    assert asked == [[0, 1], [2, 3], [4]]


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", ["error", "cancelled from within", "task cancelled", "closed"])
async def test_every_item_hears_how_its_batch_ended_once(tasks, turn, failure):
    error = ValueError("down")

    async def send(items):
        await asyncio.sleep(0)
        if failure == "error":
            raise error
        if failure == "cancelled from within":
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    batches, carrier = batcher(tasks), Carrier(send)
    for item in range(3):
        batches.add("g", carrier, item, Who("a", str(item)))
    if failure == "closed":
        batches.close()
    await turn()
    for task in tasks:
        task.cancel()
    await turn()
    wanted = error if failure == "error" else None
    assert carrier.landed == [(Who("a", str(item)), None, wanted) for item in range(3)]


@pytest.mark.asyncio
async def test_a_batch_is_cancelled_when_nobody_wants_it_any_more(tasks, turn):
    running = []

    async def send(items):
        running.append(items)
        try:
            await asyncio.Event().wait()
        finally:
            running.clear()

    batches = batcher(tasks)
    one = batches.add("g", Carrier(send), 1, Who("a", "1"))
    two = batches.add("g", Carrier(send), 2, Who("a", "2"))
    await turn()
    one.leave()
    await turn()
    assert running
    two.leave()
    await turn()
    assert not running
    never = batches.add("g", Carrier(send), 3, Who("a", "3"))
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
