"""What operations cost, counted, not timed: calls of our functions, steps of our coroutines, requests.

These figures are stable where a clock is not, so what creeps in is seen at once. If one changes on purpose,
write down the new one: `pytest tests/test_costs.py` prints what it counted."""

import asyncio
import inspect
import sys
from pathlib import Path

import pytest

import acache
from acache import Cache
from acache.testing.remote import MemoryRemote

OURS = str(Path(acache.__file__).parent)
pytestmark = [pytest.mark.asyncio, pytest.mark.one_loop]


class Counted:
    """Counts, while it is on, how often functions of ours are called and coroutines of ours go on."""

    def __init__(self):
        self.calls = self.steps = 0

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _note(self, frame, event, _):
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith((OURS, "<cached")):
            return
        if code.co_flags & inspect.CO_COROUTINE:
            self.steps += 1
        elif not code.co_name.startswith("<"):  # since 3.12 a comprehension is no call
            self.calls += 1


@pytest.fixture
def cache():
    return Cache("memory://")


@pytest.fixture
def forms(cache):
    """Every form of call, by name; each reads or writes what was loaded before, if it is no miss."""

    @cache.cached("one:{a}", ttl=60)
    async def one(a: int) -> int:
        return a

    @cache.cached("four:{a}:{b}:{c}:{d}", ttl=60, tags=["a:{a}"])
    async def four(a: int, b: int, c: int, d: int) -> int:
        return a + b + c + d

    class Repo:
        tenant = 7

        @cache.cached("repo:{self.tenant}:{a}", ttl=60)
        async def get(self, a: int) -> int:
            return a

    async def load():
        return 1

    repo, hundred = Repo(), [f"many:{n}" for n in range(100)]

    async def load_many(keys):
        return dict.fromkeys(keys, 1)

    return {
        "hit, one argument": lambda: one(1),
        "hit, four arguments by name, a tag": lambda: four(a=1, b=2, c=3, d=4),
        "hit, a method": lambda: repo.get(1),
        "hit, get_or_load": lambda: cache.get_or_load("direct", load, ttl=60),
        "hit, get": lambda: cache.get("direct"),
        "100 hits, get_or_load_many": lambda: cache.get_or_load_many(hundred, load_many, ttl=60),
        "set": lambda: cache.set("direct", 1, ttl=60),
    }


@pytest.mark.parametrize(
    ("form", "calls", "steps"),
    [
        ("hit, one argument", 0, 1),
        ("hit, four arguments by name, a tag", 0, 1),
        ("hit, a method", 1, 1),
        ("hit, get_or_load", 11, 2),
        ("hit, get", 9, 1),
        ("100 hits, get_or_load_many", 408, 4),
        ("set", 32, 9),
    ],
)
async def test_a_hit_makes_no_call_that_it_does_not_need(forms, form, calls, steps):
    for _ in range(2):
        await forms["set"]()
        await forms[form]()
    with Counted() as counted:
        await forms[form]()
    assert (counted.calls, counted.steps) == (calls, steps)


async def test_a_miss_takes_one_task_and_few_calls(cache):
    @cache.cached("one:{a}", ttl=60)
    async def one(a: int) -> int:
        return a

    async with cache:
        await one(1)
        before = len(asyncio.all_tasks())
        with Counted() as counted:
            coroutine = one(2)
            waits = coroutine.send(None)
            sys.setprofile(None)
            assert len(asyncio.all_tasks()) == before + 1
            sys.setprofile(counted._note)
            while not waits.done():
                await asyncio.sleep(0)
            with pytest.raises(StopIteration):
                coroutine.send(None)
        assert (counted.calls, counted.steps) == (55, 8)


# --- requests to a remote store ---------------------------------------------------------------------


@pytest.fixture
def remote():
    return MemoryRemote()


async def requests(remote, work):
    """Return the requests that *work* makes, by verb."""
    remote.requests.clear()
    await work()
    return dict(remote.requests)


async def test_remote_operations_make_the_requests_that_they_need(remote):
    async with Cache(remote) as cache:

        @cache.cached("plain:{a}", ttl=60)
        async def plain(a: int) -> int:
            return a

        @cache.cached("tagged:{a}", ttl=60, tags=["a:{a}", "all"])
        async def tagged(a: int) -> int:
            return a

        await plain(0)
        await tagged(0)
        counted = {
            "miss": await requests(remote, lambda: plain(1)),
            "hit": await requests(remote, lambda: plain(1)),
            "100 hits at once": await requests(
                remote, lambda: asyncio.gather(*(plain(1) for _ in range(100)))
            ),
            "miss, two tags": await requests(remote, lambda: tagged(1)),
            "hit, two tags": await requests(remote, lambda: tagged(1)),
            "set": await requests(remote, lambda: cache.set("set", 1, ttl=60)),
            "invalidate a key": await requests(remote, lambda: plain.invalidate(1)),
            "invalidate a tag": await requests(remote, lambda: cache.invalidate(tags=["all"])),
            "clear": await requests(remote, cache.clear),
        }
    loaded = {"peek": 1, "lease": 1, "versions": 1, "stamp": 1, "commit": 1}
    assert counted == {
        "miss": loaded,
        "hit": {"peek": 1},
        "100 hits at once": {"peek": 1},
        "miss, two tags": loaded,
        "hit, two tags": {"peek": 1},
        "set": {"versions": 1, "put": 1},
        "invalidate a key": {"drop": 1},
        "invalidate a tag": {"drop": 2},
        "clear": {"drop": 2},
    }
