"""Values to bytes and back. Knows no store, no clock and no event loop.

A codec is any object with `name`, `encode(value)` and `decode(data, type)` (`acache.protocols.Codec`).
Three more are used where it has them: `decoder(type)`, `decode` for one type; `check_type(type)`, which
refuses an annotation at decoration time; `needs_signature`, True if reading what a stranger wrote is
dangerous.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from acache.codecs._ask import AnyCodec, check_signing, check_type, copier, decoder
from acache.codecs._same import plain, same
from acache.codecs.json import JSONCodec
from acache.codecs.msgpack import MsgpackCodec
from acache.codecs.pickle import PickleCodec
from acache.codecs.pydantic import PydanticCodec
from acache.codecs.zstd import ZstdCodec

__all__ = [
    "BUILTIN",
    "AnyCodec",
    "JSONCodec",
    "MsgpackCodec",
    "PickleCodec",
    "PydanticCodec",
    "ZstdCodec",
    "check_signing",
    "check_type",
    "copier",
    "decoder",
    "plain",
    "same",
]

BUILTIN: Final[Mapping[str, Callable[[], AnyCodec]]] = MappingProxyType(
    {
        "msgpack": MsgpackCodec,
        "json": JSONCodec,
        "pickle": PickleCodec,
        "pydantic": PydanticCodec,
        "msgpack+zstd": lambda: ZstdCodec(MsgpackCodec()),
        "json+zstd": lambda: ZstdCodec(JSONCodec()),
    }
)
"""What `codec="…"` means without a plugin: each makes a codec of that name."""
