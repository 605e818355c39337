"""`acache inspect` and `acache invalidate` over a real server that a cache has used."""

import asyncio
import json
import sys
from importlib import util
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from acache import Cache
from acache.cli.app import app
from acache_redis import RedisStore

pytestmark = pytest.mark.real
LAUNCHER = Path(__file__).parents[2] / "backends/acache-redis/tests/valkey_server.py"


def acache(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def server():
    spec = util.spec_from_file_location("cli_valkey_server", LAUNCHER)
    launcher = sys.modules[spec.name] = util.module_from_spec(spec)
    spec.loader.exec_module(launcher)
    with launcher.valkey() as server:
        yield server


@pytest.fixture(autouse=True)
def empty(server):
    with Redis.from_url(server.url) as redis:
        redis.flushall()


def with_cache(server, use, **options):
    async def run():
        async with Cache(RedisStore(server.url, timeout=20), namespace="shop", **options) as cache:
            return await use(cache)

    return asyncio.run(run())


async def store(cache):
    await cache.set("user:42", {"name": "s3cret"}, ttl=60, tags=["user:42", "users"])


async def names(cache):
    return [key for key in ("user:42", "user:43") if await cache.get(key) is not None]


def inspected(server, *arguments):
    result = acache("inspect", server.url, "user:42", "--namespace", "shop", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_a_stored_key_is_shown_without_its_value(server):
    with_cache(server, store)
    result = acache("inspect", server.url, "user:42", "--namespace", "shop")
    assert result.exit_code == 0
    assert "remote: an entry" in result.output
    assert "tags: user:42, users" in result.output
    assert "s3cret" not in result.output
    found = inspected(server)
    assert found.items() >= {"key": "user:42", "remote": "an entry", "verdict": "fresh"}.items()
    assert 0 < found["fresh_for"] <= 60
    assert found["codec"] == "msgpack"


def test_a_key_that_is_not_there_is_nothing(server):
    found = inspected(server)
    assert (found["remote"], found["verdict"], found["age"]) == ("nothing", "miss", None)


def test_it_says_which_tags_were_invalidated_and_what_was_cleared(server):
    with_cache(server, store)
    with_cache(server, lambda cache: cache.invalidate(tags=["users"]))
    assert inspected(server)["outdated"] == ["users"]
    with_cache(server, lambda cache: cache.clear())
    assert inspected(server)["cleared"] is True


def test_it_says_that_somebody_loads_or_writes(server):
    async def look_while_writing(cache):
        async with cache.writing("user:42"):
            return await asyncio.to_thread(inspected, server)

    async def look_while_loading(cache):
        async def load():
            return await asyncio.to_thread(inspected, server)

        return await cache.get_or_load("user:42", load, ttl=60, cache_if=lambda _: False)

    assert with_cache(server, look_while_writing)["writers"] == 1
    found = with_cache(server, look_while_loading)
    assert len(bytes.fromhex(found["holder"])) == 16
    assert 0 < found["held_for"] <= 10


def test_a_signed_entry_is_shown_to_who_has_the_key(server, tmp_path):
    key = bytes(range(32))
    with_cache(server, store, signing_keys=[key])
    assert inspected(server)["remote"].startswith("refused")
    (tmp_path / "key").write_bytes(key)
    assert inspected(server, "--signing-key-file", tmp_path / "key")["remote"] == "an entry"


def test_keys_and_tags_are_dropped_in_their_namespace(server):
    async def store_both(cache):
        await store(cache)
        await cache.set("user:43", {}, ttl=60, tags=["user:43"])

    with_cache(server, store_both)
    assert acache("invalidate", server.url, "user:42", "user:43").exit_code == 0
    assert with_cache(server, names) == ["user:42", "user:43"], "of another namespace"
    done = acache("invalidate", server.url, "--tag", "users", "--namespace", "shop")
    assert done.output == "invalidated in 'shop': tag users\n"
    assert with_cache(server, names) == ["user:43"]
    done = acache("invalidate", server.url, "user:42", "user:43", "--namespace", "shop", "--json")
    assert json.loads(done.output) == {"namespace": "shop", "keys": ["user:42", "user:43"], "tags": []}
    assert with_cache(server, names) == []


def test_a_running_process_hears_of_it(server):
    async def use(cache):
        async with asyncio.timeout(20):
            while cache._engine.process.near.trusted_until < 0:
                await asyncio.sleep(0.01)
            await store(cache)
            while not await cache.get("user:42"):
                pass
            near = cache._engine.process.near.store
            assert near.lookup("user:42") is not None
            await asyncio.to_thread(acache, "invalidate", server.url, "--tag", "users", "--namespace", "shop")
            while near.lookup("user:42") is not None:
                await asyncio.sleep(0.005)

    with_cache(server, use, near=True)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["inspect"], 2, "URL"),
        (["inspect", "redis://:s3cret@127.0.0.1:1/0"], 2, "KEY"),
        (["invalidate", "redis://:s3cret@127.0.0.1:1/0"], 2, "name a KEY or a --tag"),
        (["inspect", "memory://", "k"], 2, "lives in one process"),
        (["inspect", "frobnicate://:s3cret@host", "k"], 2, "no store serves the scheme"),
        (["inspect", "redis://:s3cret@host:port", "k"], 2, "has no valid host and port"),
        (["inspect", "redis://:s3cret@127.0.0.1:1/0", ""], 2, "key"),
        (["inspect", "redis://:s3cret@127.0.0.1:1/0", "k", "--namespace", "a b"], 2, "namespace"),
        (["inspect", "redis://:s3cret@127.0.0.1:1/0", "k"], 1, "127.0.0.1:1, database 0: ConnectionError"),
        (["invalidate", "redis://:s3cret@127.0.0.1:1/0", "k"], 1, "127.0.0.1:1, database 0: ConnectionError"),
    ],
)
def test_a_wrong_call_is_2_and_a_server_that_is_away_1_and_no_password_is_shown(arguments, status, said):
    result = acache(*arguments)
    assert result.exit_code == status, result.output
    assert said in result.output
    assert "s3cret" not in result.output
    assert "Traceback" not in result.output
