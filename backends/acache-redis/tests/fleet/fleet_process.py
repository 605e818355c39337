"""Processes of a fleet, as its tests see them: started, ordered about, stopped, killed, always ended."""

import asyncio
import itertools
import json
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from valkey_server import environment

everywhere = pytest.mark.parametrize(
    "server",
    ["valkey", *(pytest.param(kind, marks=pytest.mark.scale) for kind in ("cluster", "sentinel"))],
    indirect=True,
    scope="module",
)
WORKER = Path(__file__).with_name("fleet_worker.py")


class Process:
    """A worker in a process of its own."""

    def __init__(self, child):
        self._child = child
        self._numbers = itertools.count()
        self._answers = {}
        self.told = asyncio.Queue()  # lines that answer no order
        self._reading = asyncio.create_task(self._read())

    async def ask(self, do, timeout=60, **arguments):
        """Return the answer to an order."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._child.stdin.write(json.dumps({"order": number, "do": do, **arguments}).encode() + b"\n")
        async with asyncio.timeout(timeout):
            return await answer

    def pause(self):
        """Stop it where it is."""
        os.kill(self._child.pid, signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        os.kill(self._child.pid, signal.SIGCONT)

    async def kill(self):
        """End it with no chance to do anything about it."""
        self._child.kill()
        await self._child.wait()

    async def _read(self):
        while line := await self._child.stdout.readline():
            fact = json.loads(line)
            if "order" in fact:
                self._answers.pop(fact["order"]).set_result(fact["answer"])
            else:
                self.told.put_nowait(fact)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(RuntimeError("the process ended"))
                answer.exception()

    async def end(self):
        """Let it end by itself if it still runs, kill it if it does not; raise if it complained."""
        killed = self._child.returncode is not None
        if not killed:
            self.resume()
            self._child.stdin.close()
            try:
                async with asyncio.timeout(20):
                    await self._child.wait()
            except TimeoutError:
                await self.kill()
                raise
        await self._reading
        complaints = (await self._child.stderr.read()).decode()
        if not killed and (self._child.returncode or complaints):
            raise RuntimeError(f"a worker ended with {self._child.returncode}:\n{complaints}")


@asynccontextmanager
async def process(url, *, worker=WORKER, **options):
    """Start a worker and yield it once it obeys."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(worker), json.dumps({"url": url, **options})),
        stdin=-1,
        stdout=-1,
        stderr=-1,
        limit=2**24,
        env=environment(),
    )
    started = Process(child)
    try:
        async with asyncio.timeout(30):
            await started.told.get()
        yield started
    finally:
        await started.end()


@asynccontextmanager
async def fleet(count, url, **options):
    """Start so many workers at once."""
    async with AsyncExitStack() as stack:
        yield await asyncio.gather(
            *(stack.enter_async_context(process(url, **options)) for _ in range(count))
        )
