"""`acache journal` with the URL of a server."""

import asyncio
import json
from contextlib import aclosing

import pytest
from typer.testing import CliRunner

from acache.cli.app import app
from acache.testing.contracts.journal import write
from acache_redis import RedisJournal

pytestmark = pytest.mark.real


def acache(verb, url, *arguments):
    return CliRunner().invoke(app, ["journal", verb, url, *arguments])


def test_a_shared_journal_is_shown_and_mended(server):
    async def fill():
        async with aclosing(RedisJournal(server.url, name="orders")) as journal:
            await journal.append_next([write("a", 0), write("b", 0)])
            [a, _] = await journal.claim(2, b"flusher", ttl=60)
            await journal.bury(a, "SourceRefused: too long")

    asyncio.run(fill())
    shown = json.loads(acache("list", server.url, "--name", "orders", "--json").stdout)
    assert (shown["pending"], shown["dead"]) == (1, 1)
    assert "SourceRefused: too long" in acache("dead", server.url, "--name", "orders").stdout
    assert "requeued: 1" in acache("requeue", server.url, "--name", "orders", "--all").stdout
    assert json.loads(acache("list", server.url, "--name", "orders", "--json").stdout)["pending"] == 2
    assert "pending: nothing" in acache("list", server.url).stdout


def test_a_server_that_is_away_is_a_line_without_its_password(server):
    done = acache("list", "redis://someone:secret@127.0.0.1:1?timeout=0.5")
    assert done.exit_code == 1
    assert done.stderr.startswith("acache: ")
    assert "secret" not in done.output


def test_a_senseless_name_is_said(server):
    done = acache("list", server.url, "--name", "a b")
    assert done.exit_code == 1
    assert "name='a b'" in done.stderr
