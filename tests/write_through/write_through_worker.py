"""One process that writes a table through a shared cache, and can be killed at a chosen instant.

Run with a JSON object of options by the fleet's launcher, whose worker this is with other orders."""

import asyncio
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "backends/acache-redis/tests/fleet"))

from fleet_worker import Worker, main

from acache import WriteThrough
from acache_postgres import PostgresTable
from acache_sqlite import SQLiteTable


class Doomed:
    """The table, but a save of the value that is waited for never comes back: the process is killed in it."""

    def __init__(self, table, told):
        self._table = table
        self._told = told
        self.last_words = None
        self.loads = 0

    async def load(self, keys):
        self.loads += 1
        return await self._table.load(keys)

    async def save(self, items, *, versions=None):
        saved = await self._table.save(items, versions=versions)
        if any(value["name"] == self.last_words for value in items.values()):
            self._told({"saved": len(items)})  # committed, and the fence stands
            await asyncio.Event().wait()
        return saved

    async def remove(self, keys, *, versions=None):
        removed = await self._table.remove(keys, versions=versions)
        if self.last_words == "removed":
            self._told({"saved": len(keys)})
            await asyncio.Event().wait()
        return removed


class WritingWorker(Worker):
    """Reads, writes and is killed."""

    def __init__(self, *, table, **options):
        super().__init__(**options)
        kind = PostgresTable if table.startswith("postgresql:") else SQLiteTable
        self.source = Doomed(kind(table, "users"), self.tell)
        self.users = WriteThrough(
            self.cache, self.source, key="user:{}", tags=["users"], type=dict, policy=self.policy
        )

    async def get(self, id):
        """Return the name that a read finds, and whether it took a query."""
        loads = self.source.loads
        row = await self.users.get(id)
        return {"name": row and row["name"], "loaded": self.source.loads > loads}

    async def put(self, id, name):
        """Write a row."""
        await self.users.put(id, {"id": id, "name": name})

    async def die_putting(self, ids, name):
        """Write rows, and hang once the database has them."""
        self.source.last_words = name
        await self.users.put_many({id: {"id": id, "name": name} for id in ids})

    async def die_removing(self, ids):
        """Remove rows, and hang once they are gone from the database."""
        self.source.last_words = "removed"
        await self.users.remove(*ids)

    async def put_for_ever(self, ids):
        """Write the rows again and again, telling each write that began; until it is killed."""
        number = 0
        while True:
            number += 1
            self.tell({"number": number})
            await self.users.put_many({id: {"id": id, "name": f"row {number}"} for id in ids})


if __name__ == "__main__":
    asyncio.run(main(WritingWorker))
