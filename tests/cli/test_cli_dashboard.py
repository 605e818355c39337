"""`acache dashboard`: a page over a busy shop, and errors that say what to do instead."""

import asyncio
import socket

import httpx
import pytest
from typer.testing import CliRunner

from acache.cli.app import app
from acache.cli.live import serve

run = CliRunner().invoke


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_demonstration_serves_a_busy_shop_and_ends_in_order(tmp_path):
    url = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(tmp_path, seed=1, host="127.0.0.1", port=0, seconds=4, ready=url.set_result)
    )
    async with (
        httpx.AsyncClient(base_url=await url, trust_env=False, timeout=30) as client,
        client.stream("GET", "events") as stream,
    ):
        told = ""
        async for line in stream.aiter_lines():
            told = line if line.startswith("data:") else told
            if "orders_of" in told and '"last seen"' in told:
                break
    assert "orders_of" in told
    await serving


def test_without_the_demonstration_it_says_how_an_app_shows_its_own():
    done = run(app, ["dashboard"])
    assert done.exit_code == 2
    assert "asgi_app(cache)" in done.output.replace("\n", " ")


def test_an_address_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(app, ["dashboard", "--demo", "--port", str(port)])
    assert done.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.output
    assert "Traceback" not in done.output
