"""Planted bugs that the kills must catch: each breaks one rule of write-behind."""

import asyncio
from collections.abc import Callable

from acache._flusher import Flusher
from acache._overlay import Overlay
from acache.errors import JournalFailed, SourceRefused, SourceUnavailable
from acache_redis import RedisJournal
from acache_sqlite import SQLiteJournal, _journal_folder
from acache_sqlite._journal_folder import JournalFolder


def acknowledge_before_journal(patch) -> None:
    """A put returns while the journal still writes."""
    append = SQLiteJournal.append
    running = set()

    async def early(self, writes) -> None:
        async def late() -> None:
            await asyncio.sleep(0.002)
            await append(self, writes)

        task = asyncio.ensure_future(late())
        running.add(task)
        task.add_done_callback(running.discard)

    patch.setattr(SQLiteJournal, "append", early)


def range_acknowledgement(patch) -> None:
    """A flushed batch acknowledges everything up to its highest number, of any key."""

    async def acknowledge(self, flushed) -> None:
        highest = max(flushed.values())
        await self._commits.run(
            lambda cursor: cursor.execute("DELETE FROM pending WHERE sequence <= ?", (highest,))
        )

    patch.setattr(SQLiteJournal, "acknowledge", acknowledge)


def acknowledge_before_save(patch) -> None:
    """The journal forgets a batch before the source has it."""
    send = Flusher._send

    async def sent(self, batch):
        await self._supply._journal.acknowledge({each.write.key: each.write.sequence for each in batch})
        return await send(self, batch)

    patch.setattr(Flusher, "_send", sent)


def orphans_are_left(patch) -> None:
    """Nobody takes over the files of processes that were killed."""
    patch.setattr(JournalFolder, "_adopt_all", lambda self, connection, own: None)


def an_orphan_goes_before_its_copy_is_durable(patch) -> None:
    """An adopted file is deleted, its records are not copied."""
    patch.setattr(_journal_folder, "_adopt", lambda connection, file: file.unlink())


def overlay_left_by_any_number(patch) -> None:
    """A flush takes a key off the overlay although something newer was put meanwhile."""

    def leave(self, standing, now) -> None:
        self._standing.pop(standing.write.key, None)

    patch.setattr(Overlay, "leave", leave)


def no_version_guard(patch) -> None:
    """The source is not told the numbers of writes."""
    patch.setattr(Flusher, "_versions", lambda self, batch, ids: {})


def an_outage_is_a_refusal(patch) -> None:
    """A source that is away buries the writes."""
    send = Flusher._send

    async def sent(self, batch):
        try:
            return await send(self, batch)
        except SourceUnavailable as error:
            raise SourceRefused("away") from error

    patch.setattr(Flusher, "_send", sent)


def a_claim_acknowledges_all(patch) -> None:
    """A flushed batch acknowledges everything that any process has written by then."""
    settle = RedisJournal.settle

    async def settled(self, flushed, token):
        highest = max(flushed.values())
        await self.acknowledge({write.key: highest async for write in self.recover()})
        return await settle(self, flushed, token)

    patch.setattr(RedisJournal, "settle", settled)


def a_full_disk_is_ignored(patch) -> None:
    """What the journal refused is acknowledged all the same."""
    append = SQLiteJournal.append

    async def deaf(self, writes) -> None:
        try:
            await append(self, writes)
        except JournalFailed:
            pass

    patch.setattr(SQLiteJournal, "append", deaf)


MUTANTS: dict[str, tuple[Callable, str]] = {
    plant.__name__: (plant, scenario)
    for plant, scenario in (
        (acknowledge_before_journal, "one process"),
        (range_acknowledgement, "one process"),
        (acknowledge_before_save, "one process"),
        (orphans_are_left, "one process"),
        (an_orphan_goes_before_its_copy_is_durable, "one process"),
        (overlay_left_by_any_number, "one process"),
        (no_version_guard, "four processes, versions"),
        (a_claim_acknowledges_all, "four processes, one journal"),
        (an_outage_is_a_refusal, "PostgreSQL killed"),
        (a_full_disk_is_ignored, "full disk"),
    )
}
"""By name: what plants it, and the scenario that catches it."""
