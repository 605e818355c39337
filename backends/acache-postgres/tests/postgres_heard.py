"""What is heard of a database's changes: a cache of names only, and how to listen with it."""

import asyncio
import random

from acache import Cache
from acache_postgres import PostgresChanges

USERS = "CREATE TABLE users (id int PRIMARY KEY, name text, team text)"


class Heard:
    """A cache of which only the names that are invalidated matter."""

    def __init__(self):
        self.keys, self.tags = set(), set()
        self.cleared = self.calls = 0
        self.real = Cache()

    def key(self, template, *args, **named):
        return self.real.key(template, *args, **named)

    tag = key

    async def invalidate(self, *keys, tags=()):
        self.calls += 1
        self.keys |= set(keys)
        self.tags |= set(tags)

    async def clear(self):
        self.cleared += 1

    def forget(self):
        self.__init__()
        return self


async def until(true, seconds=15):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def listening(url, heard, tables=None, **options):
    return PostgresChanges(url, heard, tables, check_interval=0.2, rng=random.Random(1), **options)
