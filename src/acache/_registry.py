"""Find what a name stands for, through entry points: stores and journals by URL scheme, codecs by name."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from acache.errors import ConfigurationError, UnknownScheme
from acache.protocols import JournalView, LocalStore, RemoteStore

KNOWN_ELSEWHERE: Final = {
    "redis": "acache-redis",
    "rediss": "acache-redis",
    "unix": "acache-redis",
    "redis+cluster": "acache-redis",
    "rediss+cluster": "acache-redis",
    "redis+sentinel": "acache-redis",
    "rediss+sentinel": "acache-redis",
    "file": "acache-sqlite",  # of a journal: a path
}

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")  # what is none may hold a password


@cache
def _found(group: str) -> dict[str, Any]:
    from importlib.metadata import entry_points  # with the standard library's mail and zip

    return {entry.name: entry for entry in entry_points(group=group)}


def open_store(url: str) -> LocalStore | RemoteStore:
    """Return the store that *url* names; nothing is connected yet.

    Raises UnknownScheme, naming the distribution to install where one is known."""
    found = _SCHEME.match(url)  # urlsplit would remember a password
    scheme = "" if found is None else found[0]
    del found
    try:
        factory: Callable[[str], LocalStore | RemoteStore] = _factory("store", scheme)
        return factory(url)
    finally:
        del url  # it may hold a password, and reporters of errors show the variables of a frame


def open_journal(place: str, **options: Any) -> JournalView:
    """Return the journal at a path or URL, for whoever looks after it; nothing is opened yet.

    *options* are those of the journal. Raises UnknownScheme like `open_store`."""
    scheme = place.partition("://")[0] if "://" in place else "file"
    try:
        factory: Callable[..., JournalView] = _factory("journal", scheme)
        return factory(place, **options)
    finally:
        del place


def _factory(kind: str, scheme: str) -> Any:
    factories = _found(f"acache.{kind}s")
    if not scheme:
        raise UnknownScheme(f'a {kind} is named by a URL, such as "memory://": this text has no scheme')
    if scheme not in factories:
        install = KNOWN_ELSEWHERE.get(scheme)
        remedy = (
            f"install {install}" if install else f"installed are {', '.join(sorted(factories)) or 'none'}"
        )
        raise UnknownScheme(f"no {kind} serves the scheme {scheme!r}: {remedy}")
    return factories[scheme].load()


def find_codec(name: str) -> Any:
    """Return the codec class or factory of this name that a plugin registered."""
    codecs = _found("acache.codecs")
    if name not in codecs:
        raise ConfigurationError(
            f"no codec is named {name!r}: installed are {', '.join(sorted(codecs)) or 'none'}"
        )
    return codecs[name].load()
