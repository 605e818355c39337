"""Asks sentinels where the primary of a service is. Knows nothing of the store."""

import asyncio
from collections.abc import Sequence
from typing import Final, final

from acache_redis._dial import Dialer
from acache_redis._link import Link
from acache_redis._resp import Refused, Reply

PATIENCE: Final = 0.25  # of the timeout: a sentinel that hangs must leave time for the connection


@final
class Sentinels:
    """The sentinels that a URL names."""

    def __init__(self, dialers: Sequence[Dialer], service: str, *, timeout: float) -> None:
        self._dialers = dialers
        self._service = service
        self._timeout = timeout

    async def primary(self) -> tuple[str, int]:
        """Return the host and port of the primary. Raises ConnectionError, without secrets.

        All sentinels are asked: one that was cut off from the others may not have heard of a
        fail-over, so the answer with the highest epoch counts."""
        answers = await asyncio.gather(*map(self._ask, self._dialers), return_exceptions=True)
        known = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not known:
            said = "; ".join(
                f"{dialer.name.partition(',')[0]}: {answer}"
                for dialer, answer in zip(self._dialers, answers, strict=True)
            )
            raise ConnectionError(f"no sentinel knows the primary of {self._service!r} ({said})")
        _, host, port = max(known)
        return host, port

    async def _ask(self, dialer: Dialer) -> tuple[int, str, int]:
        """Return the epoch of the service, and where a sentinel says that the primary is."""
        link = Link(dialer)
        until = asyncio.get_running_loop().time() + self._timeout * PATIENCE
        try:
            [reply] = await link.exchange([(b"SENTINEL", b"MASTER", self._service.encode())], deadline=until)
            return _primary(reply)
        except Exception as error:  # noqa: BLE001 - the border: whatever a foreign server causes
            raise dialer.bare(error) from None
        finally:
            await link.close()


def _primary(reply: Reply) -> tuple[int, str, int]:
    if isinstance(reply, Refused):
        raise reply
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    return int(fields[b"config-epoch"]), fields[b"ip"].decode(), int(fields[b"port"])
