"""Third-party stores and codecs: found by entry point once their distribution is installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from acache import Cache
from acache.errors import ConfigurationError, UnknownScheme

STORE = '''
"""A plugin: it imports only what plugins may."""
from acache.errors import ConfigurationError
from acache.protocols import Item


class DictStore:
    def __init__(self):
        self.data = {}

    async def get_many(self, keys):
        return [self.data.get(key) for key in keys]

    async def set_many(self, items):
        self.data.update({item.key: item.data for item in items})

    async def delete_many(self, keys):
        for key in keys:
            self.data.pop(key, None)

    async def aclose(self):
        pass


def from_url(url):
    if url != "dict://":
        raise ConfigurationError(f"dict:// takes nothing after it")
    return DictStore()


class ReprCodec:
    name = "repr"

    def encode(self, value):
        return repr(value).encode()

    def decode(self, data, type):
        import ast
        return ast.literal_eval(data.decode())
'''
METADATA = "Metadata-Version: 2.1\nName: acache-dict\nVersion: 1.0\n"
ENTRY_POINTS = "[acache.stores]\ndict = acache_dict:from_url\n[acache.codecs]\nrepr = acache_dict:ReprCodec\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
USE = """
import asyncio
from acache import Cache

cache = Cache("dict://", codec="repr")

@cache.cached("n:{n}", ttl=60)
async def square(n: int) -> int:
    return n * n

async def main():
    async with cache:
        print(await square(7), await square(7), square.stats().loads, await cache.get("n:7"))

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_plugin_installed_into_a_scratch_environment_is_found_and_used(tmp_path):
    wheel = tmp_path / "acache_dict-1.0-py3-none-any.whl"
    info = "acache_dict-1.0.dist-info"
    files = {
        "acache_dict.py": STORE,
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": ENTRY_POINTS,
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    run = {"check": True, "capture_output": True, "text": True, "timeout": 120}
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], **run)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", str(wheel)], **run)
    # The scratch environment sees the library under test, and what it needs, through a path file.
    here = [path for path in sys.path if path.endswith("site-packages")] + [str(Path(library()).parents[1])]
    site = next((tmp_path / "venv").glob("lib/*/site-packages"))
    (site / "acache_under_test.pth").write_text("\n".join(here))
    done = subprocess.run([python, "-c", USE], **run)
    assert done.stdout.split() == ["49", "49", "1", "49"]


def library() -> str:
    import acache

    return acache.__file__


@pytest.mark.parametrize(
    ("url", "install"),
    [("redis+nothing://x", "installed are"), ("nosuch://x", "memory"), ("plain text", "scheme")],
)
def test_an_unknown_scheme_says_what_is_known_or_what_to_install(url, install):
    with pytest.raises(UnknownScheme, match=install):
        Cache(url)


def test_the_scheme_of_a_known_adapter_names_its_distribution(monkeypatch):
    monkeypatch.setattr("acache._registry._found", lambda group: {})
    with pytest.raises(UnknownScheme, match="install acache-redis"):
        Cache("redis://localhost")


def test_an_unknown_codec_names_those_that_are_known():
    with pytest.raises(ConfigurationError, match="nosuch"):
        Cache("memory://", codec="nosuch")
