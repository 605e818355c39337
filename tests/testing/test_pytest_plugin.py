"""The fixtures for people who test their own app, under every async plugin, as pytest finds them."""

from textwrap import dedent

import pytest

pytest_plugins = ["pytester"]

APP = """
    import asyncio
    from acache import Cache

    cache = Cache("memory://")

    @cache.cached("user:{user_id}", ttl=60)
    async def get_user(user_id: int):
        get_user.loads += 1
        await asyncio.sleep(0)
        return get_user.loads

    get_user.loads = 0
    """

TESTS = """
    import pytest
    import app

    {marks}

    @pytest.fixture(autouse=True)
    def own(acache_override):
        acache_override(app.cache)
        app.get_user.loads = 0

    {mark}
    async def test_each_test_begins_with_an_empty_cache():
        assert [await app.get_user(1), await app.get_user(1)] == [1, 1]
        await app.cache.set("k", 1, ttl=60)

    {mark}
    async def test_each_test_begins_with_an_empty_cache_also_the_second():
        assert await app.get_user(1) == 1
        assert await app.cache.get("k") is None
        assert app.cache.stats().hits == 0

    {mark}
    async def test_time_stands_still_until_it_is_moved(acache_clock):
        await app.get_user(1)
        acache_clock.advance(59)
        await app.get_user(1)
        assert app.get_user.loads == 1
        acache_clock.advance(2)
        await app.get_user(1)
        assert app.get_user.loads == 2

    {mark}
    async def test_a_cache_can_be_disabled(acache_disabled):
        assert acache_disabled(app.cache) is app.cache
        assert [await app.get_user(1), await app.get_user(1)] == [1, 2]

    {mark}
    async def test_other_options_are_those_of_override(acache_override):
        cache = acache_override(app.cache, store="memory://?max_entries=1")
        await app.get_user(1)
        await app.get_user(2)
        assert cache.stats().entries == 1

    def test_a_sync_test_may_use_them_too(acache_clock, acache_disabled):
        acache_disabled(app.cache)
        assert acache_clock.monotonic() == acache_clock.monotonic()
    """


SCOPE = ["-o", "asyncio_default_fixture_loop_scope=function"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mark", "marks", "options"),
    [
        ("@pytest.mark.asyncio", "", ["-p", "no:anyio", "--asyncio-mode=strict", *SCOPE]),
        ("", "", ["-p", "no:anyio", "--asyncio-mode=auto", *SCOPE]),
        (
            "@pytest.mark.anyio",
            "anyio_backend = pytest.fixture(lambda: 'asyncio')",
            ["-p", "no:asyncio"],
        ),
    ],
    ids=["pytest-asyncio strict", "pytest-asyncio auto", "anyio"],
)
def test_the_fixtures_work_under(pytester, monkeypatch, mark, marks, options):
    pytester.makeini("[pytest]")  # or, below this project's folder, pytest would take its configuration
    pytester.makepyfile(app=dedent(APP))
    pytester.makepyfile(dedent(TESTS).format(mark=mark, marks=marks))
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    report = pytester.runpytest_subprocess(
        *options, "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"
    )
    report.assert_outcomes(passed=6)


@pytest.mark.slow
def test_they_are_there_without_asking_and_say_what_they_do(pytester):
    pytester.makeini("[pytest]")
    report = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    report.stdout.fnmatch_lines(
        ["acache_clock *", "*stands still until the test moves it*", "acache_override *", "acache_disabled *"]
    )
