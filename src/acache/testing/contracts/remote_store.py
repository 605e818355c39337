"""What a remote store promises, as a suite that a plugin's author subclasses.

    class TestMyStore(RemoteStoreContract):
        feed = False                       # what the store cannot do is declared, not left out

        def connect(self) -> MyStore:
            return MyStore("my://localhost")

Any test runner that finds plain methods will do; a pytest fixture can put the server's address on
the instance. See `RemoteClients` for what else a subclass may say.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

from acache.protocols import Feed
from acache.testing.contracts._clients import feed_law
from acache.testing.contracts._remote_leases import A, B, RemoteLeases

__all__ = ["RemoteStoreContract"]


class RemoteStoreContract(RemoteLeases):
    """Bytes, claims where `leases` is declared, and a feed where `feed` is."""

    @asynccontextmanager
    async def listening(self, client: Feed) -> AsyncGenerator[list[object]]:
        """Listen on *client* once its subscription stands; messages, gaps and pings come as a list.

        A gap is None, a ping is its send time.
        """
        heard: list[object] = []
        async with client.listen(heard=heard.append, gap=partial(heard.append, None), alive=heard.append):
            await self.until(lambda: None in heard)
            yield heard

    @feed_law
    async def test_the_store_offers_the_feed_that_it_declares(self) -> None:
        """The core asks once, with isinstance."""
        assert isinstance(self.a, Feed)

    @feed_law
    async def test_every_listener_hears_every_message_in_order(self) -> None:
        """The one who caused it too, after the gap that every subscription begins with."""
        async with self.listening(self.a) as first, self.listening(self.b) as second:
            for number in range(50):
                await self.a.drop([self.name("k")], [], message=b"%d" % number)
            for heard in (first, second):
                await self.until(lambda heard=heard: b"49" in heard)  # type: ignore[misc]
                assert _messages(heard) == [b"%d" % number for number in range(50)]
                assert heard.index(None) < heard.index(b"0")

    @feed_law
    async def test_each_verb_publishes_its_message_with_its_last_change(self) -> None:
        """What a listener reads when it hears of a change is the change."""
        key, tag = self.name("k"), self.name("t")
        a = self.a
        verbs: list[tuple[Callable[[bytes], object], bytes | None]] = [
            (lambda m: a.put([self.item("k", b"put")], message=m), b"put"),
            (lambda m: a.drop([self.name("x"), key], [], message=m), None),
            (lambda m: a.put([self.item("x", b"1"), self.item("k", b"again")], message=m), b"again"),
            (lambda m: a.drop([key], [tag, self.namespace], message=m), None),
            (lambda m: a.fence([key], [tag], A, ttl=30, message=m), None),
            (lambda m: a.commit(self.item("k", b"committed"), A, message=m), b"committed"),
            (lambda m: a.fence([key], [], A, ttl=30, message=m), None),
            (lambda m: a.release([key], [tag], A, message=m), None),
            (lambda m: a.drop([], [tag], message=m), None),
            (lambda m: a.release([], [], A, message=m), None),
        ]
        async with self.listening(self.b) as heard:
            for number, (verb, left) in enumerate(verbs):
                message = b"message %d" % number
                await verb(message)  # type: ignore[misc]
                await self.until(lambda message=message: message in heard)  # type: ignore[misc]
                assert await self.b.get_many([key]) == [left]
            assert len(_messages(heard)) == len(verbs)

    @feed_law
    async def test_what_was_not_stored_is_not_announced(self) -> None:
        """Nor is an entry that stands from a commit before."""
        async with self.listening(self.b) as heard:
            await self.a.commit(self.item("k", b"1"), A, message=b"never elected")
            await self.a.fence([self.name("k")], [], A, ttl=30, message=None)
            await self.a.fence([self.name("k")], [], B, ttl=30, message=None)
            await self.a.commit(self.item("k", b"1"), A, message=b"tainted")
            await self.a.commit(self.item("k", b"1"), B, message=b"tainted")
            await self.a.lease(self.name("k"), A, ttl=30, seen=None)
            await self.a.commit(self.item("k", b"1"), A, message=b"stored")
            await self.a.commit(self.item("k", b"1"), A, message=b"stored before")
            await self.a.drop([], [], message=b"end")
            await self.until(lambda: b"end" in heard)
            assert _messages(heard) == [b"stored", b"end"]

    @feed_law
    async def test_messages_may_hold_any_bytes(self) -> None:
        """Large ones too: a message may carry a value."""
        messages = [b"", b"\r\n\0", bytes(range(256)) * 100]
        async with self.listening(self.b) as heard:
            for message in messages:
                await self.a.drop([self.name("k")], [], message=message)
            await self.until(lambda: len(_messages(heard)) == len(messages))
            assert _messages(heard) == messages

    @feed_law
    async def test_pings_say_when_they_were_sent(self) -> None:
        """Their times never go back."""
        async with self.listening(self.b) as heard:
            await self.until(lambda: len(_pings(heard)) > 1)
            assert _pings(heard) == sorted(_pings(heard))

    @feed_law
    async def test_nothing_is_heard_after_the_end(self) -> None:
        """Leaving ends the task and the connection; one may listen again."""
        before = asyncio.all_tasks()
        async with self.listening(self.b) as heard:
            pass
        assert asyncio.all_tasks() == before
        heard.clear()
        async with self.listening(self.b) as again:
            await self.a.drop([self.name("k")], [], message=b"1")
            await self.until(lambda: b"1" in again)
        assert heard == []

    @feed_law
    async def test_a_connection_that_breaks_comes_back_with_a_gap(self) -> None:
        """Whatever was said meanwhile; what is said after the gap is heard."""
        async with self.listening(self.b) as heard:
            heard.clear()
            await self.sever()
            await self.until(lambda: None in heard)
            await self.a.drop([self.name("k")], [], message=b"after")
            await self.until(lambda: b"after" in heard)
            assert heard.index(None) < heard.index(b"after")


def _messages(heard: list[object]) -> list[bytes]:
    return [one for one in heard if isinstance(one, bytes)]


def _pings(heard: list[object]) -> list[float]:
    return [one for one in heard if isinstance(one, float)]
