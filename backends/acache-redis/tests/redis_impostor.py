"""Entries to store, a server that answers as it is told, and the time since."""

import asyncio
from contextlib import asynccontextmanager

from acache.protocols import Item

KEY, TAG, TOKEN = "shop:{k}", "shop:{t}", bytes(16)


def item(data=b"1", key=KEY, ttl=60):
    return Item(key=key, data=data, ttl=ttl)


@asynccontextmanager
async def impostor(answer):
    """Run a server that calls *answer(reader, writer)* for each connection; yield its URL."""

    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        try:
            await answer(reader, writer)
        except (OSError, asyncio.CancelledError):  # asyncio mishandles a cancelled task of a server
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        try:
            yield f"redis://user:s3cret@127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


def since(started):
    return asyncio.get_running_loop().time() - started
