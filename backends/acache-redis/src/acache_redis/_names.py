"""The names under which things are kept in Redis. Pure.

An entry and its claims hash to one slot of a cluster, and so do a tag's version and its claims: the
braces that the core puts around keys and tags see to it. The name of a namespace's version has no
braces and is hashed whole, so its claims carry that whole name in braces of their own.
"""

from collections.abc import Sequence
from typing import Final

Pair = tuple[bytes, bytes]
"""What is changed in one atomic step: an entry or a version, and the claims that stand on it."""

PREFIX: Final = "acache"
JOURNAL_PARTS: Final = (
    "writes",
    "places",
    "queue",
    "claims",
    "owners",
    "counts",
    "dead",
    "graves",
    "tries",
    "marks",
)


def entry_of(key: str) -> bytes:
    """Return where the entry of a complete key is."""
    return _bytes(f"{PREFIX}:e:{key}")


def version_of(tag: str) -> bytes:
    """Return where the version of a complete tag, or of a bare namespace, is."""
    return _bytes(f"{PREFIX}:t:{tag}" if ":" in tag else f"{PREFIX}:n:{tag}")


def is_namespace(name: bytes) -> bool:
    """Tell whether *name* is the version of a namespace, which each of its entries has to match."""
    return name.startswith(b"acache:n:")


def entries_of(keys: Sequence[str]) -> list[bytes]:
    """Return where the entry of each complete key is: what every read asks, without a call for each."""
    return [f"{PREFIX}:e:{key}".encode("utf-8", "surrogatepass") for key in keys]


def stamp_of(namespace: str) -> bytes:
    """Return where the invalidation stamp of a namespace is."""
    return _bytes(f"{PREFIX}:s:{namespace}")


def key_pair(key: str) -> Pair:
    """Return where the entry of a complete key and its claims are."""
    return entry_of(key), _bytes(f"{PREFIX}:c:{key}")


def tag_pair(tag: str) -> Pair:
    """Return where the version of a complete tag, or of a bare namespace, and its claims are."""
    version = version_of(tag)
    return version, _bytes(f"{PREFIX}:tc:{tag}") if ":" in tag else b"%b:nc:{%b}" % (_bytes(PREFIX), version)


def channel_of(database: int) -> bytes:
    """Return the channel of the feed; channels are shared by all databases of a server, stores are not."""
    return _bytes(f"{PREFIX}:feed:{database}")


def journal_keys(name: str) -> tuple[bytes, ...]:
    """Return where the parts of a journal are, in the order in which its scripts take them: one slot."""
    return tuple(_bytes(f"{PREFIX}:j:{{{name}}}:{part}") for part in JOURNAL_PARTS)


def journal_request(name: str, token: bytes) -> bytes:
    """Return where a journal remembers what it answered to a request."""
    return _bytes(f"{PREFIX}:j:{{{name}}}:request:{token.hex()}")


def _bytes(name: str) -> bytes:
    # A lone surrogate is a legal character of a key, and the next one must not collide with it.
    return name.encode("utf-8", "surrogatepass")
