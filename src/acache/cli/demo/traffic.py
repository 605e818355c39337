"""Readers and writers with a seeded schedule. Knows a strategy only as something to read and invalidate."""

import asyncio
import random
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate

from acache.cli.demo.database import USERS, Database
from acache.cli.demo.record import Recorder
from acache.cli.demo.strategies import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Who asks for what, how often. All durations in seconds."""

    seed: int
    readers: int
    seconds: float
    ttl: float
    writes_per_second: float
    keys: int = 24
    skew: float = 1.1
    """The exponent of Zipf's law: the key of rank k is asked for in proportion to 1 / k^skew."""
    max_rate: float = 5_000
    """Reads per second that all readers together attempt at most."""
    pause: float = 0.1
    """What a reader waits between two reads, on average and at least."""

    def mean_pause(self) -> float:
        """Return a reader's mean pause: longer where many readers would only measure the event loop."""
        return max(self.pause, self.readers / self.max_rate)


class Population:
    """The hot users of a run and how often each is drawn."""

    def __init__(self, traffic: Traffic) -> None:
        """Draw the users from the traffic's seed."""
        self._users = random.Random(f"{traffic.seed}/users").sample(range(1, USERS + 1), traffic.keys)
        self._weights = list(accumulate(1 / rank**traffic.skew for rank in range(1, traffic.keys + 1)))

    def draw(self, rng: random.Random) -> int:
        """Return a user, the first ones far more often."""
        return self._users[bisect(self._weights, rng.random() * self._weights[-1])]


async def drive(traffic: Traffic, strategy: Strategy, database: Database, recorder: Recorder) -> None:
    """Run readers and a writer for the traffic's seconds, then cancel them; reads may be left unfinished.

    The same seed gives each reader the same keys and pauses, and the writer the same keys and times,
    whatever the strategy; one that answers sooner gets further."""
    population = Population(traffic)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_read(traffic, number, population, strategy, recorder))
            for number in range(traffic.readers)
        ]
        if traffic.writes_per_second:
            tasks.append(group.create_task(_write(traffic, population, strategy, database, recorder)))
        await asyncio.sleep(traffic.seconds)
        recorder.stop()
        for task in tasks:
            task.cancel()


async def _read(
    traffic: Traffic, number: int, population: Population, strategy: Strategy, recorder: Recorder
) -> None:
    rng = random.Random(f"{traffic.seed}/reader/{number}")
    pause = traffic.mean_pause()
    while True:
        await asyncio.sleep(rng.expovariate(1 / pause))
        read = recorder.read_begins(population.draw(rng))
        found = await strategy.read(read.key)
        recorder.read_ends(read, found.version)


async def _write(
    traffic: Traffic, population: Population, strategy: Strategy, database: Database, recorder: Recorder
) -> None:
    rng = random.Random(f"{traffic.seed}/writer")
    due = 0.0
    while True:
        due += rng.expovariate(traffic.writes_per_second)
        user, cents = population.draw(rng), rng.randint(100, 90_000)
        await asyncio.sleep(max(due - recorder.elapsed(), 0))
        version = await database.place_order(user, cents=cents)
        recorder.invalidation_begins(user)
        await strategy.invalidate(user)
        recorder.invalidation_returned(user, version)
