"""`acache journal`: what it shows of a folder of journals, what it mends, what it refuses."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import aclosing

import pytest
from typer.testing import CliRunner

from acache.cli.app import app
from acache.errors import ConfigurationError
from acache.protocols import Write
from acache_sqlite import SQLiteJournal


def acache(*arguments):
    """Call the command line in this process."""
    return CliRunner().invoke(app, ["journal", *map(str, arguments)])


def answer(*arguments):
    """Return what it prints as JSON."""
    done = acache(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def write(key, sequence, *, age=0.0, payload=b"secret value"):
    return Write(key=key, id=b"\x01", payload=payload, tags=(), sequence=sequence, at=time.time() - age)


async def fill(journal, *writes, dead=()):
    await journal.append(writes)
    for each in dead:
        await journal.append([each])
        await journal.bury(each, "SourceRefused: value too long")


@pytest.fixture
def folder(tmp_path):
    """A journal whose process has ended: two writes of one key, a removal, two dead letters."""

    async def make():
        async with aclosing(SQLiteJournal(tmp_path)) as journal:
            writes = write("a", 1, age=7300), write("a", 2, age=60), write("b", 3, payload=None)
            await fill(journal, *writes, dead=[write("c", 4), write("d", 5)])

    asyncio.run(make())
    return tmp_path


def test_it_counts_what_is_pending_and_says_how_old_it_is(folder):
    figures = answer("list", folder)
    assert (figures["pending"], figures["keys"], figures["removals"], figures["dead"]) == (3, 2, 1, 2)
    assert figures["oldest_age"] == pytest.approx(7300, abs=60)
    assert figures["newest_age"] == pytest.approx(0, abs=60)
    assert [(each["key"], each["sequence"]) for each in figures["writes"]] == [("a", 1), ("a", 2), ("b", 3)]
    shown = acache("list", folder).output
    assert "2 keys, 3 writes" in shown
    assert "2 h" in shown
    assert "dead: 2 letters" in shown
    assert "2 more" in acache("list", folder, "--limit", "1").output


def test_it_never_shows_a_value(folder):
    for verb in ("list", "dead"):
        for form in ([], ["--json"]):
            assert "secret" not in acache(verb, folder, *form).output


def test_it_shows_dead_letters_with_their_errors(folder):
    letters = answer("dead", folder)
    assert [(each["key"], each["attempts"], each["error"]) for each in letters] == [
        ("c", 1, "SourceRefused: value too long"),
        ("d", 1, "SourceRefused: value too long"),
    ]
    assert letters[0]["id"] in acache("dead", folder).output


def test_a_dead_letter_is_requeued_or_discarded_by_its_id(folder):
    first, second = [each["id"] for each in answer("dead", folder)]
    assert answer("requeue", folder, first) == {"requeued": [first], "refused": {}}
    assert answer("discard", folder, second) == {"discarded": [second], "refused": {}}
    figures = answer("list", folder)
    assert (figures["pending"], figures["dead"]) == (4, 0)

    async def recovered():
        async with aclosing(SQLiteJournal(folder)) as journal:
            return [(each.key, each.sequence) async for each in journal.recover()]

    assert ("c", 4) in asyncio.run(recovered())


def test_all_dead_letters_go_at_once_after_a_question(folder):
    refused = CliRunner().invoke(app, ["journal", "discard", str(folder), "--all"], input="n\n")
    assert refused.exit_code == 1
    assert len(answer("dead", folder)) == 2
    assert "discarded: 2" in acache("discard", folder, "--all", "--yes").output
    assert answer("dead", folder) == []
    assert "requeued: 0" in acache("requeue", folder, "--all").output


def test_an_id_that_is_not_there_stops_no_other(folder):
    [first, _] = [each["id"] for each in answer("dead", folder)]
    done = acache("requeue", folder, "9:nobody", first)
    assert done.exit_code == 1
    assert "requeued: 1" in done.stdout
    assert "9:nobody: there is no such dead letter" in done.stderr


def test_it_looks_at_a_process_that_runs_and_does_not_disturb_it(folder):
    async def run():
        async with aclosing(SQLiteJournal(folder)) as journal, aclosing(SQLiteJournal(folder)) as other:
            await fill(other, write("e", 10), dead=[write("f", 11)])
            await journal.append([write("g", 12)])
            figures = await asyncio.to_thread(answer, "list", folder)
            assert (figures["keys"], figures["dead"]) == (4, 3)
            assert (await asyncio.to_thread(answer, "requeue", folder, "--all"))["refused"] == {}
            await journal.append([write("h", 13)])
            await other.append([write("i", 14)])
            return {each.key async for each in other.recover()}

    assert asyncio.run(run()) >= {"e", "f", "i"}
    assert answer("list", folder)["keys"] == 9


def test_a_letter_whose_key_went_on_is_refused_with_the_reason(folder):
    async def go_on():
        async with aclosing(SQLiteJournal(folder)) as journal:
            await journal.append([write("c", 20)])
            await journal.acknowledge({"c": 20})

    asyncio.run(go_on())
    done = acache("requeue", folder, "--all")
    assert done.exit_code == 1
    assert "4:c: a newer write of this key has been flushed" in done.stderr


@pytest.mark.real
def test_it_reads_what_a_killed_process_left(tmp_path):
    script = """
import asyncio, sys
from acache.protocols import Write
from acache_sqlite import SQLiteJournal
async def main():
    journal = SQLiteJournal(sys.argv[1])
    await journal.append([Write(key="k", id=b"", payload=b"", tags=(), sequence=1, at=0.0)])
    print("ready", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    child = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout.readline() == "ready\n"
        assert answer("list", tmp_path)["pending"] == 1
        os.kill(child.pid, signal.SIGKILL)
    assert answer("list", tmp_path)["pending"] == 1


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["list", "dead"])
def test_a_place_without_a_journal_is_said_and_nothing_is_made_there(tmp_path, verb):
    for place in (tmp_path, tmp_path / "missing"):
        done = acache(verb, place)
        assert done.exit_code == 1
        assert done.stderr == f"acache: {place}: there is no journal here\n"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(folder):
    [file] = folder.glob("*.db")
    file.write_bytes(b"no database" * 1000)
    done = acache("list", folder)
    assert done.exit_code == 1
    assert str(file) in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_a_log_that_would_be_cut_short_is_said_and_kept(tmp_path):
    async def make():
        async with aclosing(SQLiteJournal(tmp_path / "living")) as journal:
            for number in range(1, 4):
                await journal.append([write("a", number)])
            (tmp_path / "dead").mkdir()
            for file in (tmp_path / "living").iterdir():
                (tmp_path / "dead" / file.name).write_bytes(file.read_bytes())

    asyncio.run(make())
    [log] = (tmp_path / "dead").glob("*-wal")
    data = bytearray(log.read_bytes())
    data[32 + 24 + 100] ^= 1  # in the first frame
    log.write_bytes(data)
    done = acache("list", tmp_path / "dead")
    assert done.exit_code == 1
    assert "write-ahead log is damaged" in done.stderr
    assert log.read_bytes() == bytes(data)


def test_a_newer_format_is_left_alone(folder):
    [file] = folder.glob("*.db")
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert "format 99" in acache("list", folder).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["requeue", "."], "--all"),
        (["requeue", ".", "1:a", "--all"], "--all"),
        (["discard", "."], "--all"),
        (["list", ".", "--name", "x"], "--name"),
        (["list", ".", "--limit", "-1"], "limit"),
        (["list"], "PATH-or-URL"),
    ],
)
def test_a_wrong_call_is_a_usage_error(arguments, said):
    done = acache(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_an_unknown_scheme_is_said_without_its_password():
    done = acache("list", "nats://user:secret@localhost")
    assert done.exit_code == 1
    assert "no journal serves the scheme 'nats'" in done.stderr
    assert "secret" not in done.output


def test_an_error_of_a_journals_own_is_a_line(monkeypatch):
    def broken(place, **options):
        raise ConfigurationError(f"name={options['name']!r} is none")

    monkeypatch.setattr("acache._registry._found", lambda group: {"some": Entry(broken)})
    done = acache("list", "some://place", "--name", "odd")
    assert (done.exit_code, done.stderr) == (1, "acache: name='odd' is none\n")


class Entry:
    def __init__(self, factory):
        self.factory = factory

    def load(self):
        return self.factory
