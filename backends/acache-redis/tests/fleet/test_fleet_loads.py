"""One load in a fleet of real processes; a loader that sleeps past its lease stores nothing."""

import asyncio
import subprocess
import sys
from textwrap import dedent

import pytest
from fleet_process import everywhere, fleet, process
from valkey_server import environment

pytestmark = [pytest.mark.real, pytest.mark.asyncio]


@everywhere
async def test_p2_eight_processes_with_a_hundred_readers_each_load_a_cold_key_once(server):
    async with fleet(8, server.url) as workers:
        for number in range(3):
            order = {"key": f"cold{number}", "readers": 100, "seconds": 0.1}
            answers = await asyncio.gather(*(worker.ask("stampede", **order) for worker in workers))
            assert sum(answer["loads"] for answer in answers) == 1
            assert [answer["sevens"] for answer in answers] == [100] * 8


async def test_a_lease_holder_that_sleeps_past_its_lease_is_overtaken_and_refused(server, register):
    versions = register(1)
    options = {"register": versions.path, "claim": 0.6, "namespace": "overtaken"}
    async with process(server.url, **options) as sleeper, process(server.url, **options) as other:
        slow = asyncio.create_task(sleeper.ask("read", key=0, gate="g"))
        await sleeper.ask("gated", gate="g")
        sleeper.pause()
        new = versions.commit(0)
        answer = await other.ask("read", key=0, timeout=5)
        assert answer == {"value": new, "loaded": 1}

        sleeper.resume()
        await sleeper.ask("open", gate="g")
        assert (await slow)["value"] == new - 1, "its own callers get what it loaded"
        told = await sleeper.ask("told")
        assert told["reasons"] == {"the lease was lost, or the key changed meanwhile": 1}
        assert await sleeper.ask("read", key=0) == {"value": new, "loaded": 0}
        assert await other.ask("read", key=0) == {"value": new, "loaded": 0}


async def test_a_lease_holder_that_dies_leaves_the_key_to_another_when_its_lease_ends(server, register):
    versions = register(1)
    options = {"register": versions.path, "claim": 0.6, "namespace": "died"}
    async with process(server.url, **options) as victim, process(server.url, **options) as other:
        lost = asyncio.create_task(victim.ask("read", key=0, gate="g"))
        await victim.ask("gated", gate="g")
        await victim.kill()
        new = versions.commit(0)
        assert await other.ask("read", key=0, timeout=5) == {"value": new, "loaded": 1}
        with pytest.raises(RuntimeError, match="the process ended"):
            await lost


async def test_prefork_children_use_the_cache_that_their_parent_used(server):
    program = """
        import asyncio, gc, os, sys
        from acache import Cache

        cache = Cache(sys.argv[1], near=True, namespace="prefork")
        loads = 0

        @cache.cached("page:{number}", ttl=300)
        async def page(number: int) -> int:
            global loads
            loads += 1
            return os.getpid()

        async def parent():
            return await page(1)

        async def child(first):
            assert await page(1) == first and loads == 1, "what the parent stored is found"
            mine = await page(os.getpid())
            await page.invalidate(os.getpid())
            assert await page(os.getpid()) == mine == os.getpid()
            assert loads == 3
            gc.collect()  # the parent's tasks are not the child's to end
            return cache._engine.process.ids()

        loop = asyncio.new_event_loop()
        first = loop.run_until_complete(parent())
        children = []
        for _ in range(4):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(writing, asyncio.run(child(first)))
                os._exit(0)
            children.append((pid, reading))
        assert [os.waitpid(pid, 0)[1] for pid, _ in children] == [0] * 4
        assert len({os.read(reading, 16) for _, reading in children}) == 4
        assert loop.run_until_complete(parent()) == first
        loop.run_until_complete(cache.aclose())
        loop.close()
        print(loads)
        """
    command = [sys.executable, "-W", "error", "-c", dedent(program), f"{server.url}?timeout=20"]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, env=environment()
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1\n")
