"""Journal files that were damaged: every write comes back as it was, or an error of ours does."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from random import Random

from acache.errors import JournalFailed
from acache.protocols import Write
from acache_sqlite import SQLiteJournal
from proofs._fuzz_bytes import Found

WRITES = [
    Write(
        key=f"row:{number % 7}",
        id=str(number % 7).encode(),
        payload=None if number % 5 == 0 else bytes([number]) * 50,
        tags=("t",),
        sequence=number + 1,
        at=1_000.0 + number,
    )
    for number in range(40)
]


async def _fill(folder: Path) -> None:
    journal = SQLiteJournal(folder)
    await journal.append(WRITES)
    await journal.aclose()


async def _recover(folder: Path) -> list[Write]:
    journal = SQLiteJournal(folder)
    try:
        return [write async for write in journal.recover()]
    finally:
        await journal.aclose()


def _damage(path: Path, rng: Random) -> None:
    data = bytearray(path.read_bytes())
    match rng.randrange(5):
        case 0:
            del data[rng.randrange(len(data)) :]
        case 1:
            data[rng.randrange(min(100, len(data)))] ^= 1 << rng.randrange(8)
        case 2:
            for _ in range(rng.randrange(1, 30)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 3:
            at = rng.randrange(len(data))
            data[at : at + 512] = rng.randbytes(512)
        case _:
            data[:] = rng.randbytes(rng.randrange(4096))
    path.write_bytes(data)


def journals(seed: int, count: int) -> Found:
    """Damage *count* journals, recover from each; what comes back must be what was written."""
    rng, found = Random(f"{seed}/journals"), Found()
    known = {write.sequence: write for write in WRITES}
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        asyncio.run(_fill(whole))
        files = [path.name for path in whole.iterdir() if path.stat().st_size]
        while found.attempts < count:
            folder = Path(place) / str(found.attempts)
            shutil.copytree(whole, folder)
            name = rng.choice(files)
            _damage(folder / name, rng)
            found.attempts += 1
            try:
                writes = asyncio.run(_recover(folder))
            except JournalFailed:
                writes = []
            except BaseException as error:
                found.foreign[f"{error.__class__.__name__}: {str(error)[:80]}"] += 1
                continue
            if any(known.get(write.sequence) != write for write in writes):
                found.accepted += 1
            kept = [path for path in folder.iterdir() if path.stat().st_size]
            if not kept and (whole / name).stat().st_size:
                found.foreign["a damaged file was deleted"] += 1
            shutil.rmtree(folder)
    return found
