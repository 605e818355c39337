"""Damaged envelopes, and hostile payloads under a valid signature. Nothing may be accepted, run or escape."""

import os
import pickle
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from acache._envelope import Sealer, Stored
from acache._packing import Packer
from acache.clock import SYSTEM_CLOCK
from acache.codecs import BUILTIN
from acache.errors import CodecError

KEY = b"a key of at least sixteen bytes!"
SIGNED = (False, True)
CANARY = "ACACHE_FUZZ_CANARY"  # set in the environment by whatever gets code to run


@dataclass(frozen=True)
class Row:
    """A value of some shape."""

    id: int
    name: str
    tags: tuple[str, ...] = ()


VALUES: tuple[tuple[object, object], ...] = (
    (7, int),
    ("text", str),
    ({"id": 1, "rows": [1, 2, 3], "deep": {"a": None}}, dict[str, Any]),
    (Row(1, "Ann", ("a", "b")), Row),
    ([Row(number, "x" * 40) for number in range(40)], list[Row]),
    (None, int | None),
    (b"bytes" * 300, bytes),
)


@dataclass(slots=True)
class Found:
    """What came of some attempts."""

    attempts: int = 0
    accepted: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    executed: int = 0

    def __iadd__(self, other: "Found") -> "Found":
        self.attempts += other.attempts
        self.accepted += other.accepted
        self.foreign += other.foreign
        self.executed += other.executed
        return self

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return self.attempts > 0 and not (self.accepted or self.foreign or self.executed)


class Bomb:
    """What a hostile pickle holds: it runs code when it is read."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.putenv, (CANARY, "1")


def _exploded() -> bool:
    """Say whether a bomb went off, which `os.environ` does not see."""
    return subprocess.run(["printenv", CANARY], check=False, stdout=subprocess.DEVNULL).returncode == 0


def _packers(namespace: str = "fuzz") -> list[tuple[Packer, Sealer, str, bool]]:
    made = []
    for name, make in BUILTIN.items():
        for signed in SIGNED:
            if name == "pickle" and not signed:
                continue  # refused where a cache is made
            sealer = Sealer(namespace, signing_keys=[KEY] if signed else ())
            made.append((Packer(make(), sealer, SYSTEM_CLOCK), sealer, name, signed))
    return made


# --- damaged ----------------------------------------------------------------------------------------


def _flip(data: bytes, rng: Random, _: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def _burst(data: bytes, rng: Random, _: bytes) -> bytes:
    place, size = rng.randrange(len(data)), rng.randrange(1, 9)
    return data[:place] + rng.randbytes(size) + data[place + size :]


def _cut(data: bytes, rng: Random, _: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _grow(data: bytes, rng: Random, _: bytes) -> bytes:
    return data + rng.randbytes(rng.randrange(1, 20))


def _swap(data: bytes, rng: Random, _: bytes) -> bytes:
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[:a] + data[b:] + data[a:b]


def _splice(data: bytes, rng: Random, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _header(data: bytes, rng: Random, other: bytes) -> bytes:
    return other[:8] + data[8:] if rng.random() < 0.5 else data[:4] + rng.randbytes(4) + data[8:]


def _resized(data: bytes, rng: Random, _: bytes) -> bytes:
    """Cut the body and let the header say so."""
    short = data[: rng.randrange(8, len(data))]
    return short[:4] + struct.pack("<I", max(0, len(short) - rng.choice((8, 12, 24)))) + short[8:]


def _noise(_data: bytes, rng: Random, _: bytes) -> bytes:
    return rng.randbytes(rng.randrange(64))


def _foreign(_data: bytes, rng: Random, _: bytes) -> bytes:
    return rng.choice(
        (b"", b"null", b'{"a": 1}', pickle.dumps(Bomb()), pickle.dumps([1]), b"\xac\xca", b"\x80")
    )


def _bomb(data: bytes, _: Random, other: bytes) -> bytes:
    """Put a pickle that runs code where the payload was."""
    del other
    return data[:8] + data[8:24] + pickle.dumps(Bomb())


DAMAGES = (_flip, _burst, _cut, _grow, _swap, _splice, _header, _resized, _noise, _foreign, _bomb)


def damaged(seed: int, count: int) -> Found:
    """Open *count* envelopes that are not what was stored; return what came of it."""
    rng, found = Random(f"{seed}/damaged"), Found()
    bases = []
    for packer, _, _, _ in _packers():
        stored = [(f"key:{number}", value, type) for number, (value, type) in enumerate(VALUES)]
        sealed = [(key, _sealed(packer, key, value, type), type) for key, value, type in stored]
        bases.append((packer, [entry for entry in sealed if entry[1] is not None]))
    os.unsetenv(CANARY)
    while found.attempts < count:
        packer, sealed = bases[found.attempts % len(bases)]
        key, data, type = rng.choice(sealed)
        _, other, _ = rng.choice(sealed)
        if rng.random() < 0.05:  # whole, but of another key
            broken, key = data, f"{key}{rng.randrange(100)}"
        else:
            broken = rng.choice(DAMAGES)(data, rng, other)
            if broken == data:
                continue
        found.attempts += 1
        _read(packer, key, broken, type, found)
    found.executed += _exploded()
    return found


def _sealed(packer: Packer, key: str, value: object, type: object) -> bytes | None:
    from acache._entry import Entry

    try:
        entry = Entry.of(value, fresh_until=SYSTEM_CLOCK.monotonic() + 60)
        return packer.pack(key, entry, type, space=bytes(16), versions={"t": bytes(16)})
    except CodecError:  # a codec that does not bring this value back
        return None


def _read(packer: Packer, key: str, data: bytes, type: object, found: Found) -> None:
    """Read as a cache does; only CodecError may come out."""
    try:
        packer.value(packer.open(key, data), type)
    except CodecError:
        return
    except BaseException as error:
        found.foreign[f"{error.__class__.__name__}: {str(error)[:80]}"] += 1
        return
    found.accepted += 1


# --- hostile, but signed ----------------------------------------------------------------------------


def _deep(rng: Random) -> bytes:
    return rng.choice((b"\x91", b"\x81\xa1a", b"[", b'{"a":')) * rng.choice((100, 5_000, 200_000))


def _huge_length(rng: Random) -> bytes:
    return rng.choice((b"\xdd", b"\xdf", b"\xc6", b"\xdb")) + b"\xff\xff\xff\xff" + rng.randbytes(8)


def _zstd_bomb(_: Random) -> bytes:
    import zstandard

    return b"\x01" + zstandard.ZstdCompressor().compress(bytes(1 << 27))


def _random(rng: Random) -> bytes:
    return rng.choice((b"", b"\x00", b"\x01")) + rng.randbytes(rng.randrange(200))


def _wrong_shape(rng: Random) -> bytes:
    value = rng.choice(
        ({"id": "x"}, {"id": 1 << 63, "name": "a"}, [[]], {"id": None}, -1, 1e308, "\ud7ff", {"": {}})
    )
    encode = rng.choice((msgspec.msgpack.encode, msgspec.json.encode))
    return rng.choice((b"", b"\x00")) + encode(value)


def _numbers(rng: Random) -> bytes:
    return rng.choice((b"1e999", b"-0", b"9" * 5_000, b"NaN", b"1" + b"0" * 400 + b".5", b'"\\ud800"'))


HOSTILE = (_deep, _huge_length, _random, _random, _random, _wrong_shape, _numbers)


def hostile(seed: int, count: int) -> Found:
    """Read *count* payloads that somebody with a signing key made up; a value of the type may come out."""
    rng, found = Random(f"{seed}/hostile"), Found()
    packers = [entry for entry in _packers() if entry[2] != "pickle"]  # whose signers are trusted to run code
    bomb = _zstd_bomb(rng)
    while found.attempts < count:
        packer, sealer, name, _ = packers[found.attempts % len(packers)]
        payload = bomb if rng.random() < 0.0005 else rng.choice(HOSTILE)(rng)
        value, type = rng.choice(VALUES)
        del value
        times = rng.choice((0.0, 1e300, -1e300, float("inf"), 1.0))
        stored = Stored(
            payload=payload,
            codec=name,
            born=times,
            fresh_until=times,
            expires=times,
            delta=rng.choice((0.0, 1e300)),
            version=rng.choice((None, "x" * 1000)),
            space=rng.randbytes(rng.randrange(20)),
            missing=rng.random() < 0.1,
            tags={"t": b""} if rng.random() < 0.5 else {},
        )
        found.attempts += 1
        try:
            opened = packer.open("key", sealer.seal("key", stored))
            packer.calm(opened, 1.0)
            packer.entry(opened, packer.value(opened, type), 1.0)
        except CodecError:
            continue
        except BaseException as error:
            found.foreign[f"{name}: {error.__class__.__name__}: {str(error)[:80]}"] += 1
    return found
