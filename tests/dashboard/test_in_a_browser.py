"""The dashboard as a person sees it, in headless Chromium: hostile keys, keyboard, phone, dark mode."""

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from uvicorn_served import served

from acache.cli.live import open_shop
from acache.dashboard import asgi_app

playwright = pytest.importorskip("playwright.async_api", reason="run `nox -s browser`")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [pytest.mark.browser, pytest.mark.one_loop, pytest.mark.asyncio]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
DESK = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}


@asynccontextmanager
async def at_a_url(app):
    async with served(app, timeout_graceful_shutdown=1) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest_asyncio.fixture
async def url(cache, clock):
    @cache.cached("user:{name}", ttl=60, tags=["user:{name}"])
    async def user(name: str) -> str:
        clock.advance(0.1)
        return name

    app = asgi_app(cache)
    await cache.set(HOSTILE, "secret", ttl=60, tags=[HOSTILE])
    for name in ("ada", "ada", "ada", "grace"):
        await user(name)
    await cache.invalidate("gone", tags=["user:grace", HOSTILE])
    await cache.set(HOSTILE, "secret", ttl=60, tags=["t"])
    async with at_a_url(app) as url:
        yield url


@asynccontextmanager
async def page_at(url, asked=None, **look):
    """An open page, and what it complained of."""
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(**look)
        complaints = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if asked is not None:
            page.on("request", lambda request: asked.append(request.url))
        await page.goto(url)
        await page.wait_for_selector("#functions tr")
        yield page
        assert complaints == []
        await browser.close()


async def test_figures_and_hostile_names_are_shown_as_text(url):
    async with page_at(url, **DESK) as page:
        rows = await page.locator("#functions tr").all_inner_texts()
        assert any("user" in row and "50.0 %" in row and "worth it" in row for row in rows)
        assert HOSTILE in await page.locator("#tags").inner_text()
        assert await page.title() == "acache"
        assert await page.locator("#tags img, #tags script, #answer img").count() == 0


async def test_a_key_is_explained_by_keyboard_alone(url):
    async with page_at(url, **DESK) as page:
        for _ in range(10):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.id") == "key":
                break
        await page.keyboard.type(HOSTILE)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#answer dd")
        told = await page.locator("#answer").inner_text()
        assert HOSTILE in told
        assert "fresh" in told
        assert "secret" not in told
        assert await page.title() == "acache"


@pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk", "phone"])
async def test_it_fits_the_screen_and_follows_the_scheme(url, look):
    async with page_at(url, **look) as page:
        width = look["viewport"]["width"]
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = int(background.removeprefix("rgb(").partition(",")[0]) < 128
        assert dark is (look["color_scheme"] == "dark")


@pytest.mark.skipif(
    "ACACHE_PICTURES" not in os.environ, reason="takes pictures for the documents when asked to"
)
async def test_pictures_of_a_busy_shop(tmp_path):
    pictures = Path(os.environ["ACACHE_PICTURES"])
    async with open_shop(tmp_path, seed=1) as app, at_a_url(app) as url:
        async with page_at(url, **DESK) as page:
            await page.fill("#key", "orders:1")
            await asyncio.sleep(45)
            await page.screenshot(path=pictures / "dashboard.png", full_page=True)
        async with page_at(url, **PHONE) as page:
            await asyncio.sleep(20)
            await page.screenshot(path=pictures / "dashboard-phone.png")


async def test_nothing_is_fetched_from_elsewhere(url):
    asked = []
    async with page_at(url, asked, **DESK) as page:
        await page.wait_for_selector("#functions tr")
    assert url in asked
    assert f"{url}events" in asked
    assert all(address.startswith((url, "data:")) for address in asked)
