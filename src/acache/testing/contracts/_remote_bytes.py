"""What every remote store does with bytes."""

import asyncio
from functools import partial
from typing import Final

from acache.protocols import Item
from acache.testing.contracts._clients import RemoteClients, law

HOSTILE_KEYS: Final = (
    "plain",
    "with space",
    "line\r\nbreak",
    "nul\0",
    "}{",
    "{",
    "a}b{c",
    "a:b:c",
    "*",
    "[a-z]?",
    "%s %d",
    "'\"\\",
    "ä€😀",
    "A",
    "a",
    "$5",
    "-1",
    "x" * 1000,
)
HOSTILE_DATA: Final = (
    b"",
    b"\0",
    b"\r\n",
    b"$-1\r\n",
    b"*0\r\n",
    b"-ERR\r\n",
    b"nil",
    b"\xff\xfe",
    bytes(256),
)


class RemoteBytes(RemoteClients):
    """The four methods of `RemoteStore`."""

    def item(self, text: str, data: bytes, ttl: float = 60.0) -> Item:
        """Return what to store under the complete name of *text*."""
        return Item(key=self.name(text), data=data, ttl=ttl)

    @law
    async def test_what_was_stored_is_returned_in_the_order_asked_for(self) -> None:
        """None stands where nothing is; a key may be asked for twice; every client sees the same."""
        await self.a.set_many([self.item("x", b"1"), self.item("y", b"2")])
        keys = [self.name(text) for text in ("y", "absent", "x", "y")]
        for client in (self.a, self.b):
            assert await client.get_many(keys) == [b"2", None, b"1", b"2"]

    @law
    async def test_storing_replaces_and_the_last_of_a_batch_wins(self) -> None:
        """An older value never comes back."""
        await self.a.set_many([self.item("x", b"1")])
        await self.b.set_many([self.item("x", b"2"), self.item("x", b"3")])
        assert await self.a.get_many([self.name("x")]) == [b"3"]

    @law
    async def test_deleting_takes_only_what_was_named(self) -> None:
        """Deleting what is not there does nothing."""
        await self.a.set_many([self.item("x", b"1"), self.item("y", b"2")])
        await self.b.delete_many([self.name("x"), self.name("absent"), self.name("x")])
        assert await self.a.get_many([self.name("x"), self.name("y")]) == [None, b"2"]

    @law
    async def test_empty_batches_do_nothing(self) -> None:
        """No names, no error."""
        assert await self.a.get_many([]) == []
        await self.a.set_many([])
        await self.a.delete_many([])

    @law
    async def test_any_text_is_a_key_of_its_own(self) -> None:
        """Spaces, line ends, braces and glob characters mean nothing to the store."""
        items = [self.item(text, str(number).encode()) for number, text in enumerate(HOSTILE_KEYS)]
        await self.a.set_many(items)
        assert await self.b.get_many([item.key for item in items]) == [item.data for item in items]
        await self.a.delete_many([item.key for item in items[::2]])
        left = [None if number % 2 == 0 else item.data for number, item in enumerate(items)]
        assert await self.b.get_many([item.key for item in items]) == left

    @law
    async def test_any_bytes_come_back_as_they_were(self) -> None:
        """Empty ones and those that look like a protocol too."""
        items = [self.item(str(number), data) for number, data in enumerate(HOSTILE_DATA)]
        await self.a.set_many(items)
        assert await self.b.get_many([item.key for item in items]) == list(HOSTILE_DATA)

    @law
    async def test_large_values_and_large_batches_fit(self) -> None:
        """A value of `largest` bytes, and two thousand keys at once."""
        large = bytes(range(256)) * (self.largest // 256)
        items = [self.item(str(number), b"%d" % number) for number in range(2000)]
        await self.a.set_many([self.item("large", large), *items])
        found = await self.b.get_many([self.name("large"), *(item.key for item in items)])
        assert found == [large, *(item.data for item in items)]

    @law
    async def test_what_was_stored_ends_with_its_time_to_live(self) -> None:
        """Not sooner; storing again begins a new life."""
        await self.a.set_many(
            [self.item("short", b"1", 2 * self.tick), self.item("long", b"1", 40 * self.tick)]
        )
        await self.a.set_many([self.item("again", b"1", 2 * self.tick)])
        await self.a.set_many([self.item("again", b"2", 40 * self.tick)])
        keys = [self.name(text) for text in ("short", "long", "again")]
        assert await self.b.get_many(keys) == [b"1", b"1", b"2"]
        await self.wait(3 * self.tick)
        assert await self.b.get_many(keys) == [None, b"1", b"2"]

    @law
    async def test_closing_twice_is_safe_and_other_clients_go_on(self) -> None:
        """A store closes what it opened, nothing else."""
        await self.a.set_many([self.item("x", b"1")])
        await self.a.aclose()
        await self.a.aclose()
        assert await self.b.get_many([self.name("x")]) == [b"1"]

    @law
    async def test_a_cancelled_call_harms_no_other(self) -> None:
        """Wherever it is cancelled, later and concurrent calls get their own answers."""
        items = [self.item(str(number), b"%d" % number) for number in range(10)]
        await self.a.set_many(items)
        for steps in range(12):
            for cancelled in (
                partial(self.a.get_many, [self.name("1"), self.name("2")]),
                partial(self.a.set_many, [self.item("victim", b"v")]),
                partial(self.a.delete_many, [self.name("victim")]),
            ):
                beside = [asyncio.create_task(self.a.get_many([item.key])) for item in items]
                task = asyncio.create_task(cancelled())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                answers = await asyncio.gather(*beside)
                assert answers == [[item.data] for item in items], f"cancelled after {steps} steps"
                await asyncio.wait([task])
        assert await self.a.get_many([item.key for item in items]) == [item.data for item in items]

    @law
    async def test_many_readers_at_once_each_get_their_own(self) -> None:
        """No limit of connections or requests is met by five hundred of them."""
        items = [self.item(str(number), b"%d" % number) for number in range(500)]
        await self.a.set_many(items)
        answers = await asyncio.gather(*(self.b.get_many([item.key]) for item in items))
        assert answers == [[item.data] for item in items]
