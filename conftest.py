"""What every test runs under: its marks, the kinds of event loop, a check that nothing is left behind."""

import asyncio
import gc
import re
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import FrameType

import pytest
import pytest_asyncio
from hypothesis import settings

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# A run that is repeated must say the same; new examples, and more, are searched for by `nox -s full`.
settings.register_profile("house", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=500)
settings.load_profile("house")


# --- kinds of event loop ----------------------------------------------------------------------------


def _debug() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    # pytest-asyncio's runner sets the debug flag after this returns, so the loop's first turn sets it.
    loop.call_soon(loop.set_debug, True)
    return loop


def _eager() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def _loops() -> dict[str, LoopFactory]:
    loops: dict[str, LoopFactory] = {"debug": _debug}
    if sys.version_info >= (3, 12):
        loops["eager"] = _eager
    if find_spec("uvloop"):
        from uvloop import new_event_loop

        loops["uvloop"] = new_event_loop
    return loops


LOOPS = _loops()

_every_frame = traceback.walk_stack


def _nearest_frames(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    """Yield where something was made: asyncio's debug mode keeps it of every future, task and callback.

    With all the frames of pytest that took a third of the time of these tests."""
    return islice(_every_frame(frame), 5)


traceback.walk_stack = _nearest_frames


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what the coverage floor does not lean on: search by seed, which is slow, and other loops."""
    if item.path.is_relative_to(Path(__file__).parent / "tests" / "scenarios"):
        item.add_marker("slow")
    given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if given.get("_asyncio_loop_factory", _debug) is not _debug:
        item.add_marker("other_loop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that no other process gives: the workers of a run could not share such a test."""
    unstable = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]", item.nodeid)]
    if unstable:
        raise pytest.UsageError(
            "name these parameters with pytest.param(..., id=...): " + ", ".join(unstable)
        )


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Run each async test of tests/ on every kind of loop, a backend's or a slow one on the plain one."""
    if item.get_closest_marker("every_loop"):
        return LOOPS
    unit = item.path.is_relative_to(Path(__file__).parent / "tests")
    if unit and not any(map(item.get_closest_marker, ("one_loop", "slow", "real"))):
        return LOOPS
    return {"debug": _debug}


# --- nothing left behind ----------------------------------------------------------------------------


def pytest_collection_finish() -> None:
    """Take what is loaded by now out of the garbage collector's sight: it costs every test otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> None:
    """Watch each async test that has a loop of its own; set up first, so torn down last."""
    marker = request.node.get_closest_marker("asyncio")
    if marker and marker.kwargs.get("loop_scope", "function") == "function":
        request.getfixturevalue("loop_left_clean")


@pytest_asyncio.fixture
async def loop_left_clean() -> AsyncIterator[None]:
    """Fail the test if it leaves a running task or an exception that nobody retrieved.

    An unclosed resource is reported by its finalizer, which pytest turns into a failure."""
    loop = asyncio.get_running_loop()
    unhandled: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        unhandled.append(f"{context['message']}: {context.get('exception')!r}")
        loop.default_exception_handler(context)

    loop.set_exception_handler(note)
    promotions = gc.get_count()[2]
    yield
    await asyncio.sleep(0)  # tasks that were cancelled a moment ago may end
    running = asyncio.all_tasks() - {asyncio.current_task()}
    if running:
        pytest.fail(f"tasks still running: {sorted(map(repr, running))}", pytrace=False)
    # What the test made is young, and cheap to collect, unless a collection has aged it meanwhile.
    gc.collect(1 if gc.get_count()[2] == promotions else 2)
    if unhandled:
        pytest.fail(f"nobody handled: {unhandled}", pytrace=False)
