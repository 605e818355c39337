"""A background worker: jobs in one loop share a cache and its loads; SIGTERM ends it in order.

    python examples/frameworks/worker.py

Reads job ids from standard input, a line each, and says what it made of them."""

import asyncio
import signal
import sys

from acache import Cache

cache = Cache("memory://?max_entries=1000", namespace="worker")


@cache.cached("customer:{customer}", ttl=60, max_load_time=5)
async def customer(customer: int) -> str:
    await asyncio.sleep(0.05)  # a query
    return f"customer {customer}"


async def work(job: int) -> None:
    print(f"job {job}: {await customer(job % 3)}", flush=True)


async def jobs() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    lines = await jobs()
    async with cache, asyncio.TaskGroup() as group:
        stopped = group.create_task(stopping.wait())
        while not stopping.is_set():
            line = group.create_task(lines.readline())
            await asyncio.wait([line, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not line.done() or not line.result():
                line.cancel()
                break
            group.create_task(work(int(line.result())))
        stopped.cancel()
    print(f"{cache.stats().loads} loads", flush=True)  # work that was begun is done by now


if __name__ == "__main__":
    asyncio.run(main())
