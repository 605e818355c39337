"""Deadlines: what takes too long is cancelled, by one timer for all, and nobody else is."""

import asyncio
from contextvars import copy_context

import pytest

from acache._deadlines import Deadline, Deadlines
from acache.testing.simloop import SimLoop


class Watched(SimLoop):
    """A loop in virtual time that counts the timers which are set."""

    def __init__(self):
        super().__init__()
        self.timers = 0

    def call_at(self, when, callback, *args, context=None):
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


def simulated(scenario):
    """Run *scenario* with the deadlines of a loop whose time is virtual."""
    with asyncio.Runner(loop_factory=Watched) as runner:
        loop = runner.get_loop()
        return runner.run(scenario(Deadlines(loop, copy_context()), loop))


async def work(deadlines, limit, seconds):
    """Work for *seconds* within *limit*; return when it ended."""
    with Deadline(deadlines, limit):
        await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    "limits",
    [[5, 5, 5], [1, 2, 3], [3, 2, 1], [3, 1, 2, 1, 3], [0, 1, 0]],
    ids=["equal", "growing", "shrinking", "mixed", "none at all"],
)
def test_each_is_cancelled_when_its_own_time_is_up(limits):
    async def scenario(deadlines, loop):
        start = loop.time()

        async def ends(limit):
            with pytest.raises(TimeoutError):
                await work(deadlines, limit, 1_000)
            return loop.time() - start

        found = await asyncio.gather(*map(ends, limits))
        assert found == pytest.approx(limits, abs=1e-3)
        assert not deadlines._lines

    simulated(scenario)


def test_who_began_later_has_as_much_time_as_who_began_first():
    async def scenario(deadlines, loop):
        start = loop.time()
        first = asyncio.create_task(work(deadlines, 10, 1_000))
        await asyncio.sleep(4)
        second = asyncio.create_task(work(deadlines, 10, 9))
        third = asyncio.create_task(work(deadlines, 10, 11))
        results = await asyncio.gather(first, second, third, return_exceptions=True)
        assert [type(each) for each in results] == [TimeoutError, float, TimeoutError]
        assert results[1] - start == pytest.approx(13)
        assert loop.time() - start == pytest.approx(14)

    simulated(scenario)


def test_a_thousand_that_end_in_time_share_a_timer_and_leave_nothing():
    async def scenario(deadlines, loop):
        for _ in range(1_000):
            with Deadline(deadlines, 60):
                pass
        assert (loop.timers, len(deadlines._lines)) == (1, 0)
        await asyncio.sleep(61)
        assert loop.timers == 2  # the sleep's: what finds nobody waiting is not set again

    simulated(scenario)


def test_without_a_limit_it_takes_as_long_as_it_takes():
    async def scenario(deadlines, loop):
        start = loop.time()
        assert await work(deadlines, None, 1e6) - start == pytest.approx(1e6)
        assert loop.timers == 1  # the sleep's

    simulated(scenario)


def test_a_cancellation_by_others_stays_one():
    async def scenario(deadlines, loop):
        task = asyncio.create_task(work(deadlines, 60, 1_000))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not deadlines._lines

    simulated(scenario)


def test_a_cancellation_by_others_at_the_last_moment_is_not_taken_for_a_timeout():
    async def scenario(deadlines, loop):
        async def cancelled_too():
            with Deadline(deadlines, 1):
                loop.call_at(loop.time() + 1, task.cancel)
                await asyncio.sleep(1_000)

        task = asyncio.create_task(cancelled_too())
        with pytest.raises(asyncio.CancelledError):
            await task

    simulated(scenario)


def test_an_error_that_the_cancellation_became_comes_out_as_it_is():
    async def scenario(deadlines, loop):
        with pytest.raises(KeyError), Deadline(deadlines, 1) as deadline:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                raise KeyError from None
        assert deadline.expired
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(1)  # nothing of the cancellation is left

    simulated(scenario)


def test_closed_it_has_expired_what_was_left_and_has_no_timer_in_the_loop():
    async def scenario(deadlines, loop):
        with pytest.raises(TimeoutError), Deadline(deadlines, 60):
            deadlines.close()
            await asyncio.sleep(0)
        assert all(handle.cancelled() for handle in loop._scheduled)

    simulated(scenario)
