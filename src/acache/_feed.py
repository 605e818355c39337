"""What other processes say: near copies go, running loads become void, waiters wake.

Nothing here is retried or acknowledged. A message that was lost is a gap, and a gap counts as a
message about everything; a feed that is silent for `max_staleness` makes near untrusted."""

import asyncio
from collections.abc import Sequence
from typing import Final

from acache._message import DONE, DROP, STORE, Message, MessageError, pack, unpack
from acache._process import Process, log
from acache._remote import SPACE, Remote

INLINE: Final = 8 * 1024  # bytes of an envelope that travel with the message of its store
RECONNECT: Final = 0.5  # seconds before a feed that failed altogether is entered again


class News:
    """A wait for what happens to one key."""

    __slots__ = ("data", "event", "holder", "mark")

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.event = asyncio.Event()
        self.holder: bytes | None = None
        self.data: bytes | None = None
        self.mark = 0  # of the near ledger when `data` came


class Hearing:
    """One subscription of this process, and those who wait for it."""

    __slots__ = ("_feed_task", "_max_staleness", "_origin", "_process", "_remote", "_waiting")

    def __init__(self, process: Process, remote: Remote, *, max_staleness: float) -> None:
        """Listen to *remote* once a loop runs."""
        self._process = process
        self._remote = remote
        self._max_staleness = max_staleness
        self._origin = process.ids()
        self._waiting: dict[str, list[News]] = {}
        self._feed_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen on the current loop; near is not trusted before the first answered ping."""
        self._waiting.clear()
        self._feed_task = None
        self._process.near.trusted_until = -1.0
        self._origin = self._process.ids()
        if self._remote.feed is not None:
            self._feed_task = self._process.background.start(self._listen())

    async def _listen(self) -> None:
        feed = self._remote.feed
        assert feed is not None  # noqa: S101 - asked above
        while True:
            try:
                async with feed.listen(heard=self.heard, gap=self.gap, alive=self.alive):
                    await asyncio.get_running_loop().create_future()
            except Exception as error:  # noqa: BLE001 - a plugin's mistake must not end the listening
                log.warning("the feed failed (%s) and is entered again", type(error).__name__)
                self.gap()
                await asyncio.sleep(RECONNECT)

    # --- callbacks of the feed ---

    def alive(self, sent: float) -> None:
        """Trust near until *max_staleness* after a ping was sent that has been answered.

        Counting from the answer would trust for ever a feed that is always late."""
        clock = self._process.clock.monotonic()
        until = sent + (clock - asyncio.get_running_loop().time()) + self._max_staleness
        self._process.near.trusted_until = max(self._process.near.trusted_until, until)

    @property
    def lag(self) -> float | None:
        """Seconds since the time up to which everything has been heard; None before the first answer."""
        until = self._process.near.trusted_until
        if until < 0:
            return None
        return max(0.0, self._process.clock.monotonic() - (until - self._max_staleness))

    def gap(self) -> None:
        """Take a (re)connection as a message about everything."""
        self._process.forget_near()
        for key in list(self._waiting):
            self._wake(key, None)

    def heard(self, data: bytes) -> None:
        """Do what a message says."""
        try:
            message = unpack(data)
        except MessageError:
            self.gap()
            return
        own = message.origin == self._origin
        keys = self._ours(message.keys)
        if message.kind is DROP and not own:
            tags = self._ours(message.tags)
            if self._remote.namespace in message.tags:
                self._process.forget_everything()
            else:
                self._process.forget(keys, tags)
        elif message.kind is STORE and not own:
            self._process.near.stored_elsewhere(keys)
        for key in keys:
            self._wake(key, message)

    def _ours(self, names: Sequence[str]) -> list[str]:
        prefix = f"{self._remote.namespace}:"
        return [name[len(prefix) :] for name in names if name.startswith(prefix)]

    # --- waiting ---

    def expect(self, key: str) -> News:
        """Begin to listen for what happens to *key*; pair with `done`. Register before asking."""
        news = News()
        self._waiting.setdefault(key, []).append(news)
        return news

    def done(self, key: str, news: News) -> None:
        """Stop listening."""
        waiting = self._waiting.get(key)
        if waiting is not None and news in waiting:
            waiting.remove(news)
            if not waiting:
                del self._waiting[key]

    def _wake(self, key: str, message: Message | None) -> None:
        for news in self._waiting.pop(key, ()):
            if message is not None and message.kind is STORE:
                news.holder, news.data = message.holder, message.data
                news.mark = self._process.near.ledger.mark
            news.event.set()

    # --- messages of ours ---

    def say_drop(self, keys: Sequence[str] = (), tags: Sequence[str] = ()) -> bytes:
        """Return the message that *keys* and *tags* were dropped."""
        return pack(Message(origin=self._origin, kind=DROP, keys=self._full(keys), tags=self._full(tags)))

    def say_store(self, key: str, token: bytes, data: bytes) -> bytes:
        """Return the message that a load was stored, with the bytes if they are few."""
        inline = data if len(data) <= INLINE else None
        return pack(
            Message(origin=self._origin, kind=STORE, keys=self._full((key,)), holder=token, data=inline)
        )

    def say_done(self, key: str, token: bytes) -> bytes:
        """Return the message that a lease ended and nothing was stored."""
        return pack(Message(origin=self._origin, kind=DONE, keys=self._full((key,)), holder=token))

    def _full(self, words: Sequence[str]) -> tuple[str, ...]:
        namespace = self._remote.namespace
        return tuple(f"{namespace}:{word}" if word != SPACE else namespace for word in words)
