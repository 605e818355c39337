"""Behaviours that matter in production, each a question that a library answers by running it."""

import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.peers.libraries import Cached, Function

Make = Callable[[Function], Cached]
CALLERS = 20


class Loader:
    """A load with a gate: counts its runs, returns what the source holds when it begins."""

    def __init__(self) -> None:
        self.value: object = "old"
        self.error: Exception | None = None
        self.runs = 0
        self.gate = asyncio.Event()

    async def __call__(self, _key: object) -> object:
        self.runs += 1
        value = self.value
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return value


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def stampede(make: Make) -> tuple[bool, str]:
    """Loads for 20 concurrent callers of a cold key."""
    load = Loader()
    cached = make(load)
    callers = [asyncio.create_task(call(cached, "k")) for _ in range(CALLERS)]
    await turns()
    load.gate.set()
    await asyncio.gather(*callers)
    return load.runs == 1, str(load.runs)


async def cancelled_leader(make: Make) -> tuple[bool, str]:
    """Callers who still get their value after the first of 20 is cancelled, and the loads it took."""
    load = Loader()
    cached = make(load)
    callers = [asyncio.create_task(call(cached, "k")) for _ in range(CALLERS)]
    await turns()
    callers[0].cancel()
    await turns()
    load.gate.set()
    results = await asyncio.gather(*callers[1:], return_exceptions=True)
    good = sum(result == "old" for result in results)
    return good == CALLERS - 1 and load.runs == 1, f"{good} of {CALLERS - 1}, {load.runs} loads"


async def invalidated_while_loading(make: Make) -> tuple[bool, str]:
    """What a read gets that starts after an invalidation which met a running load."""
    load = Loader()
    cached = make(load)
    first = asyncio.create_task(call(cached, "k"))
    await turns()
    load.value = "new"
    await cached.invalidate("k")
    load.gate.set()
    await asyncio.gather(first, return_exceptions=True)
    got = await call(cached, "k")
    return got == "new", "new" if got == "new" else "stale"


async def joined_after_invalidation(make: Make) -> tuple[bool, str]:
    """What a read gets that starts after the invalidation, while the load from before still runs."""
    load = Loader()
    cached = make(load)
    first = asyncio.create_task(call(cached, "k"))
    await turns()
    load.value = "new"
    await cached.invalidate("k")
    second = asyncio.create_task(call(cached, "k"))
    await turns()
    load.gate.set()
    got = await second
    await asyncio.gather(first, return_exceptions=True)
    return got == "new", "new" if got == "new" else "stale"


async def none_is_a_value(make: Make) -> tuple[bool, str]:
    """Loads for three reads of a function that returns None."""
    load = Loader()
    load.value = None
    load.gate.set()
    cached = make(load)
    for _ in range(3):
        await call(cached, "k")
    return load.runs == 1, str(load.runs)


async def keys_of_types(make: Make) -> tuple[bool, str]:
    """Whether 1 and "1" are two keys where nothing says what type the argument has."""
    load = Loader()
    load.gate.set()
    cached = make(load)
    await call(cached, 1)
    await call(cached, "1")
    return load.runs == 2, "two" if load.runs == 2 else "one"


async def errors_are_shared(make: Make) -> tuple[bool, str]:
    """Loads for 20 concurrent callers of a load that fails, and whether the next call loads again."""
    load = Loader()
    load.error = ValueError("down")
    cached = make(load)
    callers = [asyncio.create_task(call(cached, "k")) for _ in range(CALLERS)]
    await turns()
    load.gate.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*callers, return_exceptions=True)
    runs = load.runs
    load.error = None
    again = await call(cached, "k") == "old"
    return runs == 1 and again, f"{runs}{'' if again else ', and the error is kept'}"


async def still_a_coroutine_function(make: Make) -> tuple[bool, str]:
    """Whether frameworks still see an `async def`, with its parameter."""
    cached = make(Loader())
    kept = inspect.iscoroutinefunction(cached.call) and list(inspect.signature(cached.call).parameters) == [
        "key"
    ]
    return kept, "yes" if kept else "no"


async def waits_for_itself(make: Make) -> tuple[bool, str]:
    """What a load gets that asks for its own key: an error, or a wait without end."""
    load = Loader()
    load.gate.set()

    async def recursive(key: object) -> object:
        return await call(cached, key)

    cached = make(recursive)
    try:
        async with asyncio.timeout(1):
            await call(cached, "k")
    except TimeoutError:
        return False, "hangs"
    except Exception as error:  # noqa: BLE001 - whatever a library says
        return True, type(error).__name__
    return False, "returns"


async def call(cached: Cached, key: object) -> object:
    return await cached.call(key)


BEHAVIOURS: dict[str, Callable[[Make], Awaitable[tuple[bool, str]]]] = {
    "loads for 20 callers of a cold key": stampede,
    "the first of 20 callers is cancelled: the others get their value": cancelled_leader,
    "invalidated during a load: the next read is": invalidated_while_loading,
    "invalidated during a load, which still runs: a new read is": joined_after_invalidation,
    "loads for 3 reads of `None`": none_is_a_value,
    '`1` and `"1"`, untyped: keys': keys_of_types,
    "loads for 20 callers of a load that fails": errors_are_shared,
    "a load that asks for its own key": waits_for_itself,
    "still a coroutine function of its parameters": still_a_coroutine_function,
}


async def ask(behaviour: Callable[[Make], Awaitable[tuple[bool, str]]], make: Make) -> tuple[bool, str]:
    """Run one, quietly: what a library leaves behind unretrieved is its own affair."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    try:
        async with asyncio.timeout(60):
            return await behaviour(make)
    except TimeoutError:
        return False, "hangs"
    except Exception as error:  # noqa: BLE001 - whatever a library raises is its answer
        return False, type(error).__name__
    finally:
        gc.collect()


def answers(libraries: dict[str, Any]) -> dict[str, dict[str, tuple[bool, str]]]:
    return {
        question: {name: asyncio.run(ask(behaviour, make)) for name, make in libraries.items()}
        for question, behaviour in BEHAVIOURS.items()
    }
